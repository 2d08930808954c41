//! Premature specialization (section 8): did the upper half commit before the lower half had settled, by how
//! much, and what would have held it back.

mod curves;
mod recommend;
#[cfg(test)]
mod tests;
mod thresholds;
mod timing;

use growthpath_trace::Run;
use serde::Serialize;

pub use curves::Curves;
pub use recommend::{LONGEST_HOLD, Recommendation};
pub use thresholds::Thresholds;
pub use timing::Verdict;

use crate::compare::run_name;
use crate::error::Result;
use timing::Times;

/// The times under other thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sensitivity {
    /// These thresholds.
    #[serde(flatten)]
    pub thresholds: Thresholds,
    /// t_c under them.
    pub commitment_step: Option<u32>,
    /// t_m under them.
    pub maturity_step: Option<u32>,
    /// `(t_m - t_c) / total_steps` under them.
    pub prematurity: Option<f64>,
    /// Which came first under them.
    pub verdict: Verdict,
}

/// What [`diagnosis`] found. Undefined numbers are `null` in JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The run's label, or its directory.
    pub label: String,
    /// Steps that the run is to take, the unit of prematurity.
    pub total_steps: u32,
    /// Which came first.
    pub verdict: Verdict,
    /// First probe at which the upper half's mean sharpness is above its threshold.
    pub sharpness_step: Option<u32>,
    /// t_c: first probe at which it is, while the upper half's reliance exceeds zero by the asked standard
    /// errors.
    pub commitment_step: Option<u32>,
    /// t_m: first probe from which the lower half's mean maturity is above its threshold to the end.
    pub maturity_step: Option<u32>,
    /// `(t_m - t_c) / total_steps`; positive when premature, none without both times.
    pub prematurity: Option<f64>,
    /// The thresholds used.
    pub thresholds: Thresholds,
    /// The finding in plain words.
    pub sentence: String,
    /// What would have held the upper half back; none when it was not premature.
    pub recommendation: Option<Recommendation>,
    /// What to keep in mind.
    pub notes: Vec<String>,
    /// The same under thresholds halved and doubled, see [`Sensitivity`]; 27 settings.
    pub sensitivity: Vec<Sensitivity>,
    /// The curves that it rests on.
    pub curves: Curves,
}

/// Dates the upper half's commitment and the lower half's maturity (section 8).
///
/// Times are those of probes: a finer schedule dates them more finely. Maturity looks back by a lag, so t_m
/// can be late by up to one lag, and never comes before the first.
///
/// # Errors
/// [`crate::AnalysisError::Threshold`]; [`crate::AnalysisError::NothingToAnalyse`] when the run has no probe
/// rows or fewer than two layers; [`crate::AnalysisError::BrokenProbe`]; [`crate::AnalysisError::Trace`].
pub fn diagnosis(run: &Run, thresholds: &Thresholds) -> Result<Diagnosis> {
    thresholds.validate()?;
    let (curves, path) = curves::read(run)?;
    let last = curves.steps.last().copied().unwrap_or(0);
    let total = run.info().steps_planned.max(last).max(1);
    let times = Times::new(&curves, thresholds);
    let mut notes = notes(run, &curves, last, total);
    let recommendation =
        recommend::recommend(&curves, &path, &times, total, thresholds).unwrap_or_else(|reason| {
            notes.push(reason);
            None
        });
    if let Some(r) = recommendation.as_ref().filter(|r| r.hold_capped) {
        notes.push(format!(
            "the recommended hold is capped at {} of training, before the lower half settles; predicted spreads are those at step {}",
            timing::percent(LONGEST_HOLD),
            r.until_step
        ));
    }
    let step = |i: Option<usize>| i.map(|i| curves.steps[i]);
    let sensitivity: Vec<Sensitivity> = thresholds
        .grid()
        .map(|thresholds| {
            let times = Times::new(&curves, &thresholds);
            Sensitivity {
                thresholds,
                commitment_step: step(times.commitment),
                maturity_step: step(times.maturity),
                prematurity: timing::prematurity(&times, &curves.steps, total),
                verdict: times.verdict(),
            }
        })
        .collect();
    notes.extend(fragile(times.verdict(), &sensitivity));
    Ok(Diagnosis {
        label: run_name(run),
        total_steps: total,
        verdict: times.verdict(),
        sharpness_step: step(times.sharp),
        commitment_step: step(times.commitment),
        maturity_step: step(times.maturity),
        prematurity: timing::prematurity(&times, &curves.steps, total),
        thresholds: *thresholds,
        sentence: timing::sentence(&times, &curves.steps, total, thresholds),
        recommendation,
        notes,
        sensitivity,
        curves,
    })
}

fn notes(run: &Run, curves: &Curves, last: u32, total: u32) -> Vec<String> {
    let mut notes = Vec::new();
    if last < total {
        notes.push(format!("the record ends at step {last} of {total}: \"stays settled\" means until there"));
    }
    if curves.lower_maturity.iter().all(|m| m.is_nan()) {
        notes.push(
            "the lower half's maturity is nowhere defined: no probe lies a lag after another".to_owned(),
        );
    }
    let intervention = run.info().config.get("intervention").filter(|i| !i.is_null());
    if let Some(target) = intervention.map(|i| i.get("target").and_then(|t| t.as_str()).unwrap_or("yes")) {
        notes.push(format!("this run was itself slowed (intervention: {target})"));
    }
    notes
}

/// A note where neighbouring thresholds give another verdict.
fn fragile(verdict: Verdict, sensitivity: &[Sensitivity]) -> Option<String> {
    let count = |wanted: &[Verdict]| sensitivity.iter().filter(|s| wanted.contains(&s.verdict)).count();
    let (same, all) = (count(&[verdict]), sensitivity.len());
    (same < all).then(|| {
        let premature = count(&[Verdict::Premature, Verdict::NeverSettles]);
        format!(
            "the verdict depends on the thresholds: halved or doubled, they give the same one in {same} of {all} settings, and a premature upper half in {premature}"
        )
    })
}
