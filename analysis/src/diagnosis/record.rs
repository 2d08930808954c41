//! What a run recorded about both halves.

use std::collections::BTreeMap;

use growthpath_trace::{HeadRow, MaturityRow, ProbeRow, RelianceRow, Row, Run, SettlingRow, Status};

use super::curves::{Curves, HalfCurve, RelianceCurve};
use super::path::HeadPaths;
use crate::compare::{Probes, run_name};
use crate::error::{AnalysisError, Result};
use crate::maturity::main_lag;
use crate::source::AttentionSource;
use crate::sum::CompensatedSum;

/// Everything that a diagnosis reads, at full length.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// Sharpness of heads: of the telemetry where there is any, of the probes otherwise.
    pub sharpness: HalfCurve,
    pub sharpness_source: AttentionSource,
    /// Maturity of layers, by lag.
    pub maturity: BTreeMap<u32, HalfCurve>,
    /// The lag that counts.
    pub lag: Option<u32>,
    pub reliance: RelianceCurve,
    pub final_cosine: HalfCurve,
    /// Measured spread at probes.
    pub spread: HalfCurve,
    /// Sharpness at probes.
    pub probe_sharpness: HalfCurve,
    /// Paths of the upper half's heads.
    pub paths: HeadPaths,
    /// Steps that the run is to take.
    pub total: u32,
    /// Last probe.
    pub last: u32,
    /// Whether the run ended because it was no longer finite.
    pub diverged: bool,
}

impl Record {
    /// Reads a run.
    pub fn read(run: &Run) -> Result<Self> {
        let (depth, heads) = (usize::from(run.info().layers), usize::from(run.info().heads));
        if depth < 2 {
            return Err(AnalysisError::NothingToAnalyse {
                run: run_name(run),
                what: format!("a model of {depth} layer has no two halves; diagnose a deeper one"),
            });
        }
        let mut record = Self { paths: HeadPaths::new(heads), ..Self::default() };
        for probe in Probes::all(run)? {
            record.add_probe(&probe?, depth / 2 * heads);
        }
        record.diverged = run.info().status == Status::Diverged;
        record.total = run.info().steps_planned.max(record.last).max(1);
        record.maturity = layer_curves(run, depth, |r: &MaturityRow| (r.lag, r.step, r.layer, r.maturity))?;
        let asked = main_lag(run).filter(|lag| record.maturity.contains_key(lag));
        // Without a word in the configuration: the middle one.
        record.lag = asked.or_else(|| record.maturity.keys().nth(record.maturity.len() / 2).copied());
        let settling = layer_curves(run, depth, |r: &SettlingRow| (0, r.step, r.layer, r.final_cosine))?;
        record.final_cosine = settling.into_values().next().unwrap_or_default();
        record.reliance = reliance(run)?;
        record.sharpness = record.probe_sharpness.clone();
        if let Some(sharpness) = telemetry(run, depth, heads)? {
            (record.sharpness, record.sharpness_source) = (sharpness, AttentionSource::Telemetry);
        }
        Ok(record)
    }

    /// The lower half's rows come first.
    fn add_probe(&mut self, rows: &[ProbeRow], split: usize) {
        let Some(step) = rows.first().map(|r| r.step) else { return };
        let (lower, upper) = rows.split_at(split);
        let both = |value: fn(&ProbeRow) -> f64| (mean(lower, value), mean(upper, value));
        let (low, up) = both(|r| r.sharpness);
        self.probe_sharpness.push(step, low, up);
        let (low, up) = both(|r| r.spread);
        self.spread.push(step, low, up);
        self.paths.push(step, upper);
        self.last = step;
    }

    /// Whether the run was recorded to its end.
    pub fn is_complete(&self) -> bool {
        self.last >= self.total
    }

    /// The curves to show.
    pub fn curves(&self) -> Curves {
        let maturity = self.lag.and_then(|lag| self.maturity.get(&lag));
        Curves {
            sharpness_source: self.sharpness_source,
            sharpness: self.sharpness.thinned(),
            maturity_lag: self.lag,
            maturity: maturity.map(HalfCurve::thinned).unwrap_or_default(),
            reliance: self.reliance.clone(),
            final_cosine: self.final_cosine.clone(),
            spread: self.spread.thinned(),
        }
    }
}

/// Mean over rows; NaN as soon as one is, so that a mean never changes its members over time.
fn mean<R>(rows: &[R], value: impl Fn(&R) -> f64) -> f64 {
    rows.iter().map(value).collect::<CompensatedSum>().value() / rows.len() as f64
}

/// Means over the layers of each half, by lag; steps that lack a layer are left out. `cell` gives (lag, step, layer,
/// value) of a row.
fn layer_curves<R: Row>(
    run: &Run,
    depth: usize,
    cell: impl Fn(&R) -> (u32, u32, u16, f64),
) -> Result<BTreeMap<u32, HalfCurve>> {
    let mut curves: BTreeMap<u32, HalfCurve> = BTreeMap::new();
    // Rows come by step, then layer, then lag.
    let mut open: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    let mut now = 0;
    for batch in run.stream::<R>(..) {
        for (lag, step, layer, value) in batch?.iter().map(&cell) {
            if step != now {
                (now, open) = (step, BTreeMap::new());
            }
            let layers = open.entry(lag).or_default();
            if layers.len() == usize::from(layer) {
                layers.push(value);
            }
            if layers.len() == depth && usize::from(layer) + 1 == depth {
                let (lower, upper) = layers.split_at(depth / 2);
                let (lower, upper) = (mean(lower, |v| *v), mean(upper, |v| *v));
                curves.entry(lag).or_default().push(step, lower, upper);
            }
        }
    }
    Ok(curves)
}

/// [`RelianceRow::scope`] of a half, and its `layer` for the upper one.
const HALF: u8 = 2;
const UPPER: u16 = 1;

fn reliance(run: &Run) -> Result<RelianceCurve> {
    let mut curve = RelianceCurve::default();
    for batch in run.stream::<RelianceRow>(..) {
        for r in batch?.iter().filter(|r| (r.scope, r.layer) == (HALF, UPPER)) {
            curve.steps.push(r.step);
            curve.delta.push(r.delta);
            curve.stderr.push(r.stderr);
            curve.sequences.push(r.sequences);
        }
    }
    Ok(curve)
}

/// Sharpness from the telemetry of every recorded step, a mean over the training batch; `None` where the table lacks
/// the column, or where it is undefined throughout (no row has eight keys).
fn telemetry(run: &Run, depth: usize, heads: usize) -> Result<Option<HalfCurve>> {
    const COLUMN: &str = "sharpness";
    if !HeadRow::COLUMNS.iter().any(|c| c.name == COLUMN) {
        return Ok(None);
    }
    let mut curve = HalfCurve::default();
    let mut rows: Vec<f64> = Vec::with_capacity(depth * heads);
    let mut now = None;
    for batch in run.stream_columns::<HeadRow>(&[COLUMN], ..)? {
        let batch = batch?;
        for (&step, &value) in batch.steps.iter().zip(&batch.values[0]) {
            if now != Some(step) {
                rows.clear();
                now = Some(step);
            }
            rows.push(value);
            // Keys are sorted and unique: as many rows as heads are all of them, the lower half first.
            if rows.len() == depth * heads {
                let (lower, upper) = rows.split_at(depth / 2 * heads);
                curve.push(step, mean(lower, |v| *v), mean(upper, |v| *v));
            }
        }
    }
    Ok(Some(curve).filter(|c| c.upper.iter().any(|v| v.is_finite())))
}
