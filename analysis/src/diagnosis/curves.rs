//! The curves that a diagnosis reads, one point a probe.

use growthpath_trace::{MaturityRow, ProbeRow, RelianceRow, Run};
use serde::Serialize;

use crate::compare::{Probes, run_name};
use crate::error::{AnalysisError, Result};
use crate::sum::CompensatedSum;

/// Half-of-the-model means over training, one entry a probe in every list; NaN where undefined.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Curves {
    /// Steps done at the probe.
    pub steps: Vec<u32>,
    /// Mean sharpness of the upper half's heads.
    pub upper_sharpness: Vec<f64>,
    /// Mean sharpness of the lower half's heads.
    pub lower_sharpness: Vec<f64>,
    /// Mean maturity of the upper half's layers.
    pub upper_maturity: Vec<f64>,
    /// Mean maturity of the lower half's layers; undefined until one lag has passed.
    pub lower_maturity: Vec<f64>,
    /// Mean measured spread of the upper half's heads.
    pub upper_spread: Vec<f64>,
    /// Mean measured spread of the lower half's heads.
    pub lower_spread: Vec<f64>,
    /// Reliance of the upper half, nats a token: the measurement used at this probe (the nearest in steps, of
    /// the latest one up to it and the first one after it that comes before the next probe).
    pub upper_reliance: Vec<f64>,
    /// Its standard error.
    pub upper_reliance_stderr: Vec<f64>,
}

/// What the recommendation reads beside the curves: means over the upper half's heads, one entry a probe.
/// Interval entries describe the interval that ends at the probe; NaN at the first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct UpperPath {
    /// Mean of `ln a^`.
    pub ln_spread: Vec<f64>,
    /// Mean of `x c0`, x the step `eta u e` over the spread that it starts from (5.4).
    pub along: Vec<f64>,
    /// Mean of `x^2`.
    pub step2: Vec<f64>,
}

/// Reads a run's curves, one probe at a time.
pub(super) fn read(run: &Run) -> Result<(Curves, UpperPath)> {
    let (depth, heads) = (usize::from(run.info().layers), usize::from(run.info().heads));
    if depth < 2 {
        return Err(AnalysisError::NothingToAnalyse {
            run: run_name(run),
            what: format!("a model of {depth} layer has no two halves; diagnose a deeper one"),
        });
    }
    let (mut curves, mut path) = (Curves::default(), UpperPath::default());
    for probe in Probes::all(run)? {
        let probe = probe?;
        // The lower half's rows come first.
        let (lower, upper) = probe.split_at(depth / 2 * heads);
        curves.steps.extend(probe.first().map(|r| r.step));
        curves.upper_sharpness.push(mean(upper, |r| r.sharpness));
        curves.lower_sharpness.push(mean(lower, |r| r.sharpness));
        curves.upper_spread.push(mean(upper, |r| r.spread));
        curves.lower_spread.push(mean(lower, |r| r.spread));
        path.ln_spread.push(mean(upper, |r| r.a_hat.ln()));
        let step = |r: &ProbeRow| if r.dm_i == 0.0 { 0.0 } else { r.dm_i * r.e / r.a_hat_prev };
        path.along.push(mean(upper, |r| if r.dm_i == 0.0 { 0.0 } else { step(r) * r.c0 }));
        path.step2.push(mean(upper, |r| step(r).powi(2)));
    }
    add_maturity(run, depth, &mut curves)?;
    add_reliance(run, &mut curves)?;
    Ok((curves, path))
}

/// Mean over rows; NaN as soon as one is, so that a mean never changes its members over time.
fn mean<R>(rows: &[R], value: impl Fn(&R) -> f64) -> f64 {
    rows.iter().map(value).collect::<CompensatedSum>().value() / rows.len() as f64
}

/// Maturity of both halves at the probes that have it for every layer.
fn add_maturity(run: &Run, depth: usize, curves: &mut Curves) -> Result<()> {
    let count = curves.steps.len();
    curves.upper_maturity = vec![f64::NAN; count];
    curves.lower_maturity = vec![f64::NAN; count];
    let lag = crate::maturity::main_lag(run);
    let mut probe: Vec<MaturityRow> = Vec::with_capacity(depth);
    for batch in run.stream::<MaturityRow>(..) {
        for row in batch?.into_iter().filter(|r| Some(r.lag) == lag) {
            if probe.first().is_some_and(|first| first.step != row.step) {
                probe.clear();
            }
            probe.push(row);
            // Keys are sorted and unique: as many rows as layers are all the layers, in order.
            if probe.len() == depth
                && let Ok(at) = curves.steps.binary_search(&row.step)
            {
                let (lower, upper) = probe.split_at(depth / 2);
                curves.lower_maturity[at] = mean(lower, |r| r.maturity);
                curves.upper_maturity[at] = mean(upper, |r| r.maturity);
            }
        }
    }
    Ok(())
}

/// [`RelianceRow::scope`] of a half, and its `layer` for the upper one.
const HALF: u8 = 2;
const UPPER: u16 = 1;

fn add_reliance(run: &Run, curves: &mut Curves) -> Result<()> {
    let mut measured: Vec<(u32, f64, f64)> = Vec::new();
    for batch in run.stream::<RelianceRow>(..) {
        let halves = batch?.into_iter().filter(|r| (r.scope, r.layer) == (HALF, UPPER));
        measured.extend(halves.map(|r| (r.step, r.delta, r.stderr)));
    }
    let next_probe = curves.steps.iter().skip(1).map(Some).chain([None]);
    let used = curves.steps.iter().zip(next_probe).map(|(&step, next)| {
        let after = measured.partition_point(|m| m.0 <= step);
        let earlier = after.checked_sub(1).map(|i| measured[i]);
        let later = measured.get(after).copied().filter(|m| next.is_none_or(|n| m.0 < *n));
        let best = match (earlier, later) {
            // Ties go to what was known at the probe.
            (Some(e), Some(l)) if l.0 - step < step - e.0 => Some(l),
            (earlier, later) => earlier.or(later),
        };
        best.map_or((f64::NAN, f64::NAN), |m| (m.1, m.2))
    });
    (curves.upper_reliance, curves.upper_reliance_stderr) = used.unzip();
    Ok(())
}
