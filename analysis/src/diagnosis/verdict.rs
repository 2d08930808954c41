//! Which came first, in a word and in a sentence.

use growthpath_trace::fixed;
use serde::{Deserialize, Serialize};

use super::bracket::{Interval, prematurity};
use super::record::Record;
use super::thresholds::Thresholds;
use super::times::Times;

/// Whether the upper half committed before the lower half had settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It did, whatever the brackets leave open.
    #[serde(rename = "premature")]
    Premature,
    /// It did not: it committed later, at the same step, or never.
    #[serde(rename = "not premature")]
    NotPremature,
    /// The record does not tell; [`super::Diagnosis::mend`] says what would.
    #[serde(rename = "undecided")]
    Undecided,
}

/// As in JSON.
impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Premature => "premature",
            Self::NotPremature => "not premature",
            Self::Undecided => "undecided",
        })
    }
}

impl Times {
    /// Whether the upper half committed first. That the lower half was not settled at some step is certain when it is
    /// measured; that it stays settled is not before the run's end.
    pub fn verdict(&self) -> Verdict {
        if self.commitment.before(&self.maturity) {
            Verdict::Premature
        } else if !self.complete {
            Verdict::Undecided
        } else if self.sharp.high.is_none() || self.maturity.not_after(&self.commitment) {
            Verdict::NotPremature
        } else {
            Verdict::Undecided
        }
    }
}

/// What happened, in one sentence.
pub(super) fn sentence(
    record: &Record,
    times: &Times,
    thresholds: &Thresholds,
    mend: Option<&str>,
) -> String {
    let (commits, settles) = (commits(record, times, thresholds), settles(record, times, thresholds));
    let gap = prematurity(&times.commitment, &times.maturity, record.total);
    match times.verdict() {
        Verdict::Premature => {
            let by = gap.map_or_else(String::new, |g| format!(" by {} of training", range(g)));
            format!("{commits}, {settles}: premature{by}")
        }
        Verdict::NotPremature if times.sharp.high.is_none() => format!("{commits}, {settles}: not premature"),
        Verdict::NotPremature => {
            let lead =
                gap.map(|g| Interval { low: (-g.high).max(0.0), high: -g.low }).filter(|g| g.high > 0.0);
            let by = lead.map_or_else(
                || " (both at the same step)".to_owned(),
                |g| format!(", the lower half leads by {} of training", range(g)),
            );
            format!("{settles}, {commits}: not premature{by}")
        }
        Verdict::Undecided => {
            let mend = mend.map_or_else(String::new, |m| format!(": {m}"));
            format!("{commits}, {settles}; undecided{mend}")
        }
    }
}

/// `at step 38` or `in steps 30..38`.
fn when(bracket: super::Bracket) -> String {
    if bracket.is_exact() { format!("at {bracket}") } else { format!("in {bracket}") }
}

fn commits(record: &Record, times: &Times, thresholds: &Thresholds) -> String {
    if let Some(bracket) = times.commitment.bracket() {
        return format!("upper half commits {}", when(bracket));
    }
    let Some(sharp) = times.sharp.bracket() else {
        return format!("upper half never commits (its sharpness never passes {})", thresholds.sharpness);
    };
    let measured = record.reliance.stderr.iter().any(|e| e.is_finite());
    let why = if measured {
        format!(
            "from then on its reliance never exceeds zero at {} confidence",
            percent(thresholds.confidence)
        )
    } else {
        "its reliance was not measured from then on, with a standard error".to_owned()
    };
    format!(
        "upper half is not seen to commit (its sharpness passes {} {}; {why})",
        thresholds.sharpness,
        when(sharp)
    )
}

fn settles(record: &Record, times: &Times, thresholds: &Thresholds) -> String {
    let measured = record.lag.and_then(|lag| record.maturity.get(&lag));
    let last = measured.and_then(|c| Some((*c.steps.last()?, *c.lower.last()?)));
    match (times.maturity.bracket(), last) {
        (Some(bracket), _) => format!("lower half settles {}", when(bracket)),
        (None, None) => "lower half's maturity was not measured".to_owned(),
        // Comparisons with NaN are false: an undefined value is not settled.
        (None, Some((step, value))) if step < record.total && value > thresholds.maturity => format!(
            "lower half is not seen to settle for good (its maturity was last measured at step {step} of {})",
            record.total
        ),
        (None, Some((step, _))) if step < record.total => {
            format!("lower half is not settled at step {step}, where its maturity was last measured")
        }
        (None, Some(_)) => "lower half never settles for good".to_owned(),
    }
}

/// `4 % to 9 %`, `at least 4 %`, `4 %`.
fn range(fractions: Interval) -> String {
    let (low, high) = (percent(fractions.low), percent(fractions.high));
    if fractions.high.is_infinite() {
        format!("at least {low}")
    } else if low == high {
        low
    } else {
        format!("{low} to {high}")
    }
}

/// A fraction as a percentage: whole, or with a decimal where it is below 1 % or has one.
pub(super) fn percent(fraction: f64) -> String {
    let value = 100.0 * fraction;
    let tenths = (10.0 * value).round();
    if value == 0.0 || (value >= 0.95 && (value < 90.0 || tenths % 10.0 == 0.0)) {
        format!("{} %", fixed(value, 0))
    } else {
        format!("{} %", fixed(value, 1))
    }
}
