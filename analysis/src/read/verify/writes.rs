//! Checks of `steps`, `writes` and `shares`.

use growthpath_trace::{ProbeRow, Run, ShareRow, StepRange, StepRow, WriteRow};

use super::tally::{Check, FAINT, Place, TINY, excess, largest, outside};
use crate::error::Result;
use crate::read::each_row;
use crate::read::euler::stores_bf16;
use crate::read::grid::Grid;
use crate::read::running::Mean;

pub(super) fn check_steps(run: &Run) -> (Vec<Check>, Result<()>) {
    let mut check =
        Check::new("clip_scale", "", "0 < clip_scale <= 1: how far outside", 1e-6, "one float32 quotient");
    let clip = run.info().config.get("clip").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
    let read = each_row::<StepRow>(run, StepRange::ALL, |row| {
        // A limit so small that the quotient leaves float32.
        let underflows = clip > 0.0 && clip / f64::from(row.grad_norm) < f64::from(f32::MIN_POSITIVE);
        let residual = match row.clip_scale {
            s if s < 0.0 || (s == 0.0 && !underflows) => 1.0,
            s => outside(s.into(), 0.0, 1.0),
        };
        check.add(residual, Place::step(row.step));
    });
    (vec![check], read)
}

const MEAN_REASON: &str =
    "means over tokens of float32 vectors: a sum of d products rounds by at most d/2 times 1e-7";

/// The sum of stream and write is rounded when it is stored.
const BF16_REASON: &str =
    "the stream is stored as bf16, which rounds an element by at most 2^-9 and its square by 2^-8";

pub(super) fn check_writes(run: &Run, grid: Grid) -> (Vec<Check>, Result<()>) {
    let (limit, reason) = if stores_bf16(run) { (1.0 / 256.0, BF16_REASON) } else { (1e-4, MEAN_REASON) };
    let mut norm = Check::new(
        "stream_norm",
        "",
        "h2_after = h2_before + 2 dot + energy, relative to the terms",
        limit,
        reason,
    );
    let mut chain = Check::new(
        "stream_chain",
        "",
        "h2_before of a write = h2_after of the write below, relative",
        1e-4,
        MEAN_REASON,
    );
    let mut common = Check::new(
        "common_mode",
        "",
        "common <= energy, hidden_common <= hidden_ms, dot^2 <= energy h2_before",
        1e-4,
        MEAN_REASON,
    );
    // Rows come in the order of the writes: (step, layer, site).
    let mut below: Option<(u32, u64, f64)> = None;
    let read = each_row::<WriteRow>(run, StepRange::ALL, |row| {
        let at = Place::layer(row.step, row.layer);
        let [energy, dot, before, after] = [row.energy, row.dot, row.h2_before, row.h2_after].map(f64::from);
        let scale = before + energy + 2.0 * dot.abs();
        let difference = (after - (before + 2.0 * dot + energy)).abs();
        norm.add(if difference == 0.0 { 0.0 } else { difference / (scale + FAINT) }, at);
        common.add(
            largest(&[
                excess(row.common.into(), energy + FAINT),
                // Added, not f64::max, which would hide NaN.
                excess(row.hidden_common.into(), f64::from(row.hidden_ms) + FAINT),
                excess(dot * dot, (energy + FAINT) * (before + FAINT)),
            ]),
            at,
        );
        let place = 2 * u64::from(row.layer) + u64::from(row.site);
        if let Some((step, last, h2)) = below
            && (step, last + 1) == (row.step, place)
        {
            chain.add(if h2 == before { 0.0 } else { (before - h2).abs() / (h2.max(before) + FAINT) }, at);
        }
        below = grid.layer(row.layer).map(|_| (row.step, place, after));
    });
    (vec![norm, chain, common], read)
}

/// Sums of one (step, layer) group of `shares`.
#[derive(Default)]
struct Group {
    key: Option<(u32, u16)>,
    /// Sum and sum of sizes, for stream, energy and drift shares; NaN rows left out.
    sums: [(Mean, Mean); 3],
}

pub(super) fn check_shares(run: &Run, grid: Grid) -> (Vec<Check>, Result<()>) {
    let checks = [
        Check::new(
            "stream_shares",
            "(2.3)",
            "sum over writes of stream_share = 1, relative to the sum of their sizes",
            1e-4,
            "the stream is a float32 sum of its writes",
        ),
        Check::new(
            "energy_shares",
            "(5.3)",
            "sum over writes of energy_share = 1, relative to the sum of their sizes",
            1e-6,
            "float64, linear in the writes; 1e-6 allows for a large float32 constant part",
        ),
        Check::new(
            "drift_shares",
            "(4.3)",
            "sum over writes of drift_share = mean over heads of gamma_f_hat, relative to the sum of their sizes",
            1e-6,
            "float64; the features' part is a difference of nearly equal squares",
        ),
    ];
    let mut walk = ShareWalk { checks, group: Group::default(), feature: FeaturePath::new(run, grid) };
    let read = each_row::<ShareRow>(run, StepRange::ALL, |row| walk.row(row));
    walk.close();
    let read = read.and(walk.feature.failure.take().map_or(Ok(()), Err));
    (walk.checks.into(), read)
}

struct ShareWalk<'a> {
    checks: [Check; 3],
    group: Group,
    feature: FeaturePath<'a>,
}

impl ShareWalk<'_> {
    fn row(&mut self, row: &ShareRow) {
        let key = Some((row.step, row.layer));
        if self.group.key != key {
            self.close();
            self.group = Group { key, ..Group::default() };
        }
        let shares = [row.stream_share, row.energy_share, row.drift_share];
        for ((sum, size), share) in self.group.sums.iter_mut().zip(shares) {
            sum.add(share);
            size.add(share.abs());
        }
    }

    /// Checks the group just read.
    fn close(&mut self) {
        let Some((step, layer)) = self.group.key.take() else { return };
        let at = Place::layer(step, layer);
        let (growth, tiny) = self.feature.mean(step, layer);
        // Nothing to share where the weights' change has no digits.
        let wanted = if tiny { [1.0, f64::NAN, f64::NAN] } else { [1.0, 1.0, growth] };
        for ((check, (sum, size)), wanted) in self.checks.iter_mut().zip(&self.group.sums).zip(wanted) {
            let difference = (sum.total() - wanted).abs();
            // Shares of one, and growths in ln: differences of float64 sums of that size round by this much at least.
            let rounding = 1e-12;
            check.add(
                if difference <= rounding { 0.0 } else { difference / size.total().max(wanted.abs()) },
                at,
            );
        }
    }
}

/// Mean over heads of `gamma_f_hat`, read alongside `shares`: both tables come in (step, layer) order.
struct FeaturePath<'a> {
    rows: Box<dyn Iterator<Item = growthpath_trace::Result<ProbeRow>> + 'a>,
    next: Option<ProbeRow>,
    failure: Option<crate::AnalysisError>,
    grid: Grid,
}

impl<'a> FeaturePath<'a> {
    fn new(run: &'a Run, grid: Grid) -> Self {
        let rows = run.stream::<ProbeRow>(..).flat_map(|batch| -> Box<dyn Iterator<Item = _>> {
            match batch {
                Ok(rows) => Box::new(rows.into_iter().map(Ok)),
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        });
        Self { rows: Box::new(rows), next: None, failure: None, grid }
    }

    fn advance(&mut self) -> Option<ProbeRow> {
        match self.rows.next()? {
            Ok(row) => Some(row),
            Err(error) => {
                self.failure = Some(error.into());
                None
            }
        }
    }

    /// The mean of a (step, layer), NaN if `probe` lacks any of its heads, and whether a predicted spread is [`TINY`].
    fn mean(&mut self, step: u32, layer: u16) -> (f64, bool) {
        let (mut mean, mut heads, mut tiny) = (Mean::default(), 0, false);
        while let Some(row) = self.next.take().or_else(|| self.advance()) {
            let key = (row.step, row.layer);
            if key > (step, layer) {
                self.next = Some(row);
                break;
            }
            if key == (step, layer) {
                mean.add(row.gamma_f_hat);
                heads += 1;
                tiny |= row.a_hat_prev < TINY;
            }
        }
        (if heads == self.grid.heads { mean.value() } else { f64::NAN }, tiny)
    }
}
