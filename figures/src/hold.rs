//! When an intervention slowed what no step's row tells: rows record the multiplier of queries and keys alone, so the
//! hold of values and outputs is what the run's configuration says, and for an adaptive one what its maturity decided.

use growthpath_analysis::read::{Hold, Series};
use growthpath_trace::{MaturityRow, Run};
use serde_json::Value;

/// Part of training at which an adaptive hold ends at the latest.
const FORCED_RELEASE: f64 = 0.12;

/// The hold of a recorded intervention as it must have gone, cut to the window of `series`; none where there is no
/// intervention, or it slowed nothing in the window.
pub fn planned(run: &Run, series: &Series) -> Option<Hold> {
    let intervention = run.info().config.get("intervention").filter(|i| !i.is_null())?;
    let number = |key: &str| intervention.get(key).and_then(Value::as_f64);
    let (multiplier, ramp) = (number("multiplier")?, number("ramp")?);
    if multiplier >= 1.0 {
        return None;
    }
    let steps = f64::from(run.info().steps_planned);
    let at = |fraction: f64| (fraction * steps).round() as u32;
    let hold = intervention.get("hold")?;
    let release = match hold.get("fraction").and_then(Value::as_f64) {
        Some(fraction) => at(fraction),
        None => {
            let adaptive = hold.get("adaptive")?;
            let settled =
                settled(run, series, adaptive.get("threshold")?.as_f64()?, adaptive.get("probes")?.as_u64()?);
            settled.map_or(at(FORCED_RELEASE), |s| s.min(at(FORCED_RELEASE)))
        }
    };
    let window = series.window;
    let (start, end) = (window.start, release.saturating_add(at(ramp)).min(window.end));
    (start < end).then(|| Hold { multiplier, start, release: release.clamp(start, end), end })
}

/// The first step at which the lower half's maturity had stayed above `threshold` for so many measurements.
fn settled(run: &Run, series: &Series, threshold: f64, probes: u64) -> Option<u32> {
    let (lag, lower) = (series.maturity.lag?, (series.layers / 2).max(1));
    let rows: Vec<MaturityRow> = run.read::<MaturityRow>(..).ok()?;
    let mine: Vec<&MaturityRow> =
        rows.iter().filter(|r| r.lag == lag && usize::from(r.layer) < lower).collect();
    let mut in_a_row = 0;
    mine.chunk_by(|a, b| a.step == b.step)
        .find(|at| {
            let mean = at.iter().map(|r| r.maturity).sum::<f64>() / at.len() as f64;
            in_a_row = if mean >= threshold { in_a_row + 1 } else { 0 };
            in_a_row >= probes
        })
        .map(|at| at[0].step)
}
