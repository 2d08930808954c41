//! When the upper half commits and the lower half settles.

use serde::Serialize;

use super::curves::Curves;
use super::thresholds::Thresholds;

/// Which came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The upper half committed before the lower half had settled.
    Premature,
    /// The lower half settled no later than the upper half committed.
    SettlesFirst,
    /// The lower half settled and the upper half never committed.
    NeverCommits,
    /// The upper half committed and the lower half never settled: premature, by an unknown amount.
    NeverSettles,
    /// Neither happened.
    Neither,
    /// Commitment cannot be dated: reliance, or its standard error, was not recorded.
    RelianceNotMeasured,
}

/// Probes (as positions in the curves) at which things happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// The upper half's mean sharpness passes its threshold.
    pub sharp: Option<usize>,
    /// Sharp and relied upon: t_c.
    pub commitment: Option<usize>,
    /// The lower half's mean maturity is above its threshold from here to the end: t_m.
    pub maturity: Option<usize>,
    /// Whether any probe has a reliance with a standard error.
    pub reliance_known: bool,
}

impl Times {
    /// Reads them off the curves. Comparisons with NaN are false: an undefined value passes no threshold.
    pub fn new(curves: &Curves, thresholds: &Thresholds) -> Self {
        let sharp = |i: &usize| curves.upper_sharpness[*i] > thresholds.sharpness;
        let reliance = |i: usize| (curves.upper_reliance[i], curves.upper_reliance_stderr[i]);
        let relied = |i: &usize| {
            let (delta, error) = reliance(*i);
            delta > thresholds.reliance_sigmas * error
        };
        let probes = || 0..curves.steps.len();
        let settled = |m: &f64| *m > thresholds.maturity;
        let unsettled = curves.lower_maturity.iter().rposition(|m| !settled(m));
        let since = unsettled.map_or(0, |last| last + 1);
        Self {
            sharp: probes().find(sharp),
            commitment: probes().find(|i| sharp(i) && relied(i)),
            maturity: Some(since).filter(|i| *i < curves.steps.len()),
            reliance_known: probes().any(|i| !(reliance(i).0.is_nan() || reliance(i).1.is_nan())),
        }
    }

    /// Which came first.
    pub fn verdict(&self) -> Verdict {
        match (self.commitment, self.maturity) {
            _ if !self.reliance_known => Verdict::RelianceNotMeasured,
            (Some(c), Some(m)) if m > c => Verdict::Premature,
            (Some(_), Some(_)) => Verdict::SettlesFirst,
            (None, Some(_)) => Verdict::NeverCommits,
            (Some(_), None) => Verdict::NeverSettles,
            (None, None) => Verdict::Neither,
        }
    }
}

/// `(t_m - t_c) / total`, where both exist.
pub(super) fn prematurity(times: &Times, steps: &[u32], total: u32) -> Option<f64> {
    let (c, m) = times.commitment.zip(times.maturity)?;
    Some((f64::from(steps[m]) - f64::from(steps[c])) / f64::from(total))
}

/// What happened, in one sentence.
pub(super) fn sentence(times: &Times, steps: &[u32], total: u32, thresholds: &Thresholds) -> String {
    let at = |i: Option<usize>| i.map_or(0, |i| steps[i]);
    let (sharp, commits, settles) = (at(times.sharp), at(times.commitment), at(times.maturity));
    let lead = percent((f64::from(settles) - f64::from(commits)).abs() / f64::from(total));
    let settling = match times.maturity {
        Some(_) => format!("lower half settles at step {settles}"),
        None => "lower half never settles".to_owned(),
    };
    match times.verdict() {
        Verdict::Premature => {
            format!("upper half commits at step {commits}, {settling}: premature by {lead} of training")
        }
        Verdict::SettlesFirst if settles == commits => {
            format!(
                "lower half settles and upper half commits at the same probe, step {settles}: not premature"
            )
        }
        Verdict::SettlesFirst => format!(
            "{settling}, upper half commits at step {commits}: not premature, the lower half leads by {lead} of training"
        ),
        Verdict::NeverSettles => {
            let last = steps.last().copied().unwrap_or(commits);
            let least = percent(f64::from(last - commits) / f64::from(total));
            format!(
                "upper half commits at step {commits}, {settling}: premature by at least {least} of training"
            )
        }
        verdict @ (Verdict::NeverCommits | Verdict::Neither) => {
            let why = match times.sharp {
                None => format!("its sharpness never passes {}", thresholds.sharpness),
                Some(_) => format!(
                    "its sharpness passes {} at step {sharp}, but never while its reliance exceeds zero by {} standard errors",
                    thresholds.sharpness, thresholds.reliance_sigmas
                ),
            };
            let end =
                if verdict == Verdict::NeverCommits { "not premature" } else { "prematurity is undefined" };
            format!("upper half never commits ({why}), {settling}: {end}")
        }
        Verdict::RelianceNotMeasured => {
            let sharpness = match times.sharp {
                Some(_) => format!("its sharpness passes {} at step {sharp}", thresholds.sharpness),
                None => format!("its sharpness never passes {}", thresholds.sharpness),
            };
            format!(
                "the upper half's reliance was not measured with a standard error, so its commitment cannot be dated ({sharpness}); {settling}"
            )
        }
    }
}

/// A fraction as a percentage: whole, or with a decimal where it is below 1 %.
pub(super) fn percent(fraction: f64) -> String {
    let value = 100.0 * fraction;
    if value == 0.0 || value >= 0.95 { format!("{value:.0} %") } else { format!("{value:.1} %") }
}
