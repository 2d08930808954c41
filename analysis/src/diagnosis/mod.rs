//! Premature specialization (section 8): did the upper half commit before the lower half had settled, by how
//! much, and what would have held it back.
//!
//! Times are brackets: what lies between two measurements stays open, and where that leaves the order of both times
//! open, so does the verdict.

mod bracket;
mod curves;
mod mend;
mod path;
mod recommend;
mod record;
mod settling;
pub(crate) mod student;
#[cfg(test)]
mod tests;
mod thresholds;
mod times;
mod verdict;

use growthpath_trace::Run;
use serde::Serialize;

pub use bracket::{Bracket, Interval};
pub use curves::{Curves, HalfCurve, RelianceCurve};
pub use recommend::{LONGEST_HOLD, Recommendation};
pub use settling::Settling;
pub use thresholds::Thresholds;
pub use verdict::Verdict;

use crate::compare::run_name;
use crate::error::Result;
use record::Record;
use times::Times;

/// The times under other thresholds, or another lag.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sensitivity {
    /// These thresholds.
    #[serde(flatten)]
    pub thresholds: Thresholds,
    /// Lag of maturity in steps; none if it was not measured.
    pub lag: Option<u32>,
    /// t_c under them.
    pub commitment: Option<Bracket>,
    /// t_m under them.
    pub maturity: Option<Bracket>,
    /// `(t_m - t_c) / total_steps` under them.
    pub prematurity: Option<Interval>,
    /// Which came first under them.
    pub verdict: Verdict,
}

impl Sensitivity {
    fn new(record: &Record, thresholds: Thresholds, lag: Option<u32>) -> Self {
        let times = Times::new(record, &thresholds, lag);
        Self {
            thresholds,
            lag,
            commitment: times.commitment.bracket(),
            maturity: times.maturity.bracket(),
            prematurity: bracket::prematurity(&times.commitment, &times.maturity, record.total),
            verdict: times.verdict(),
        }
    }
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
    /// First recorded step at which the upper half's mean sharpness is above its threshold; in the telemetry, and
    /// stays there for five recorded steps.
    pub sharpness_step: Option<u32>,
    /// t_c: the upper half is sharp and relied upon.
    pub commitment: Option<Bracket>,
    /// t_m: from here on the lower half's mean maturity is above its threshold to the end of the record, as far as it was
    /// measured.
    pub maturity: Option<Bracket>,
    /// `(t_m - t_c) / total_steps`; positive when premature, none where neither time came.
    pub prematurity: Option<Interval>,
    /// The thresholds used.
    pub thresholds: Thresholds,
    /// The finding in plain words.
    pub sentence: String,
    /// What would decide an undecided verdict.
    pub mend: Option<String>,
    /// In hindsight: when the lower half's key moments came to resemble their final ones.
    pub settling: Option<Settling>,
    /// What would have held the upper half back; none where it was not premature.
    pub recommendation: Option<Recommendation>,
    /// Whether the record is too short for the verdict to say much.
    #[serde(skip)]
    pub short: bool,
    /// What to keep in mind.
    pub notes: Vec<String>,
    /// The same under thresholds halved and doubled, for the lag and its half and double as far as they were recorded:
    /// up to 81 settings.
    pub sensitivity: Vec<Sensitivity>,
    /// The curves that it rests on.
    pub curves: Curves,
}

impl Diagnosis {
    /// The finding in plain words, with the warning that a short record carries.
    pub fn headline(&self) -> String {
        let short = if self.short { " (too few steps to say)" } else { "" };
        format!("{}{short}", self.sentence)
    }
}

/// Dates the upper half's commitment and the lower half's maturity (section 8).
///
/// Sharpness is known at every recorded step (from the telemetry; where there is none, at probes), maturity at the
/// steps that the run measured it, reliance at its own. Maturity looks back by a lag, so t_m can be late by up to one
/// lag, and never comes before the first.
///
/// # Errors
/// [`crate::AnalysisError::Threshold`]; [`crate::AnalysisError::NothingToAnalyse`] when the run has no probe
/// rows or fewer than two layers; [`crate::AnalysisError::BrokenProbe`]; [`crate::AnalysisError::Trace`].
pub fn diagnosis(run: &Run, thresholds: &Thresholds) -> Result<Diagnosis> {
    thresholds.validate()?;
    let record = Record::read(run)?;
    let times = Times::new(&record, thresholds, record.lag);
    let mut notes = notes(run, &record);
    notes.extend(unseen(&record, &times));
    let recommendation = recommend::recommend(&record, &times, thresholds).unwrap_or_else(|reason| {
        notes.push(reason);
        None
    });
    if let Some(r) = recommendation.as_ref().filter(|r| r.hold_capped) {
        notes.push(format!(
            "the recommended hold is capped at {} of training, before the lower half settles; predicted spreads are those at step {}",
            verdict::percent(LONGEST_HOLD),
            r.until_step
        ));
    }
    let settings = lags(&record).into_iter().flat_map(|lag| thresholds.grid().map(move |t| (t, lag)));
    let sensitivity: Vec<Sensitivity> =
        settings.map(|(thresholds, lag)| Sensitivity::new(&record, thresholds, lag)).collect();
    notes.extend(fragile(times.verdict(), &sensitivity));
    let mend = mend::mend(&record, &times, thresholds);
    Ok(Diagnosis {
        label: run_name(run),
        total_steps: record.total,
        verdict: times.verdict(),
        sharpness_step: times.sharp.high,
        commitment: times.commitment.bracket(),
        maturity: times.maturity.bracket(),
        prematurity: bracket::prematurity(&times.commitment, &times.maturity, record.total),
        thresholds: *thresholds,
        sentence: verdict::sentence(&record, &times, thresholds, mend.as_deref()),
        mend,
        settling: settling::settling(&record, thresholds.maturity),
        recommendation,
        short: record.last < FEW,
        notes,
        sensitivity,
        curves: record.curves(),
    })
}

/// Steps below which a verdict carries a warning.
const FEW: u32 = 100;

/// Half the lag, the lag and twice the lag, as far as they were recorded.
fn lags(record: &Record) -> Vec<Option<u32>> {
    let near = |lag: u32| move |l: &u32| [lag.div_ceil(2), lag, lag.saturating_mul(2)].contains(l);
    let found: Vec<Option<u32>> = match record.lag {
        Some(lag) => record.maturity.keys().copied().filter(near(lag)).map(Some).collect(),
        None => Vec::new(),
    };
    if found.is_empty() { vec![None] } else { found }
}

fn notes(run: &Run, record: &Record) -> Vec<String> {
    let mut notes = Vec::new();
    if record.last < FEW {
        notes.push(format!(
            "{} too few to say: at fewer than {FEW} a time is a handful of steps wide, and most of the growth is still to come",
            if record.last == 1 { "one step is".to_owned() } else { format!("{} steps are", record.last) }
        ));
    }
    if !record.is_complete() {
        let ends =
            if record.diverged { "the run diverged; its last probe is of" } else { "the record ends at" };
        notes.push(format!(
            "{ends} step {} of {}: \"stays settled\" means until there",
            record.last, record.total
        ));
    }
    if record.maturity.is_empty() {
        notes.push(
            "the lower half's maturity is nowhere defined: no two of its moments lie a lag apart".to_owned(),
        );
    }
    let intervention = run.info().config.get("intervention").filter(|i| !i.is_null());
    if let Some(target) = intervention.map(|i| i.get("target").and_then(|t| t.as_str()).unwrap_or("yes")) {
        notes.push(format!("this run was itself slowed (intervention: {target})"));
    }
    notes
}

/// A note where the lower half might have been unsettled again without being seen: a value over a lag tells of that lag.
fn unseen(record: &Record, times: &Times) -> Option<String> {
    let (lag, high) = (record.lag?, times.maturity.high?);
    let steps = &record.maturity.get(&lag)?.steps;
    let after: Vec<u32> = steps.iter().copied().filter(|s| *s >= high).chain([record.last]).collect();
    let widest = after.windows(2).map(|w| w[1].saturating_sub(w[0])).max()?;
    (widest > lag).then(|| {
        format!(
            "from step {high} on the lower half's maturity was measured up to {widest} steps apart, over {lag} each: what it did in between was not seen"
        )
    })
}

/// A note where neighbouring thresholds or lags give another verdict.
fn fragile(verdict: Verdict, sensitivity: &[Sensitivity]) -> Option<String> {
    let count = |wanted: Verdict| sensitivity.iter().filter(|s| s.verdict == wanted).count();
    let (same, all) = (count(verdict), sensitivity.len());
    (same < all).then(|| {
        format!(
            "the verdict depends on the thresholds and the lag: halved or doubled, they give the same one in {same} of {all} settings (premature in {}, not premature in {}, undecided in {})",
            count(Verdict::Premature),
            count(Verdict::NotPremature),
            count(Verdict::Undecided)
        )
    })
}
