//! How much the upper half's Q/K would have had to be slowed, and how well that is known.

use serde::Serialize;

use super::bracket::Interval;
use super::path::HeadPaths;
use super::record::Record;
use super::thresholds::Thresholds;
use super::times::Times;
use super::verdict::{Verdict, percent};
use crate::maturity::lag_steps;

/// Longest hold that is recommended, as a fraction of training: where an adaptive release is forced.
pub const LONGEST_HOLD: f64 = 0.12;

/// Lag of maturity where a record has none, as a fraction of training: the default of a run.
const DEFAULT_LAG: f64 = 0.02;

/// Smallest multiplier that is tried.
const SMALLEST: f64 = 0.01;

/// Multipliers tried between [`SMALLEST`] and 1 before the boundary is refined by bisection.
const TRIED: u32 = 400;

/// A multiplier on the step size of the upper half's W_Q and W_K, and how long to hold it.
///
/// Obtained from this run's own paths by the recursion (5.4), head by head: over each probe interval eta is multiplied
/// by m; u, e, c0 and what the features do, R, stay as measured. At m = 1 it gives back the record. Spreads are
/// geometric means over the half's heads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// The largest multiplier that keeps the predicted spread at or under `spread_limit` until `until_step`;
    /// where none does, the one that keeps its peak lowest.
    pub multiplier: f64,
    /// Whether the limit is kept.
    pub feasible: bool,
    /// Fraction of training to hold it: the latest step for t_m over all steps, at most [`LONGEST_HOLD`].
    pub hold_fraction: f64,
    /// Whether the lower half settles only after the longest hold.
    pub hold_capped: bool,
    /// Last probe within the hold.
    pub until_step: u32,
    /// Predicted spread at which the sharpness passed its threshold, interpolated between probes.
    pub spread_limit: f64,
    /// Predicted spread of the run as it was, at `until_step`.
    pub spread_without: f64,
    /// Predicted spread with the multiplier, at `until_step`.
    pub spread_with: f64,
    /// Where the measured spread with the multiplier is expected at `until_step`.
    ///
    /// One path takes the steps as measured, another has them follow the spread by [`Recommendation::elasticity`],
    /// what this run's heads show. The interval holds both within a lag of maturity before and after `until_step`,
    /// for the features act at times of their own (less than a lag where m is above 1/2), and beyond them what the predicted spread missed of the measured
    /// one, [`Recommendation::missed`]. On six pairs of runs (docs/measurements.md) it held the measured spread at 53
    /// of 54 probes; without the lag, at 35.
    pub spread_interval: Interval,
    /// By which power of the spread the steps `u e` of this run's heads grew, within layers and intervals; NaN (null)
    /// where that cannot be told (a single head a layer).
    pub elasticity: f64,
    /// Smallest and largest `ln a - ln a^` until `until_step`, means over heads: the recursion replayed against the
    /// measured spreads.
    pub missed: Interval,
    /// What is taken for granted.
    pub assumptions: &'static str,
    /// The reasoning in one sentence.
    pub sentence: String,
}

const ASSUMPTIONS: &str = "the features act as they did in this run, though the lower layers train beside a slower upper half; so do u, e and c0 of each head, but for the elasticity in the interval; the multiplier applies to the step sizes that this run had";

/// A recommendation unless the upper half did not commit prematurely; where there is none, the reason if it is not
/// the verdict itself.
pub(super) fn recommend(
    record: &Record,
    times: &Times,
    thresholds: &Thresholds,
) -> Result<Option<Recommendation>, String> {
    if times.verdict() == Verdict::NotPremature {
        return Ok(None);
    }
    let (paths, steps, total) = (&record.paths, &record.paths.steps, record.total);
    let sharpness = &record.probe_sharpness.upper;
    let Some(sharp) = sharpness.iter().position(|s| *s > thresholds.sharpness) else {
        return Err("no recommendation: the upper half is not sharp at any probe".to_owned());
    };
    let longest = LONGEST_HOLD * f64::from(total);
    let settles = times.maturity.high.filter(|&m| f64::from(m) <= longest);
    let end = settles.map_or(longest, f64::from);
    let Some(until) = steps.partition_point(|&s| f64::from(s) <= end).checked_sub(1) else {
        return Err(format!("no recommendation: no probe within the first {}", percent(LONGEST_HOLD)));
    };
    let limit = limit_at(sharpness, paths, sharp, thresholds.sharpness);
    let peak = |m: f64| paths.slowed(until, m, 0.0).into_iter().fold(f64::NEG_INFINITY, maximum);
    if !(limit.is_finite() && peak(1.0).is_finite()) {
        return Err("no recommendation: the predicted spread or its path is undefined at a probe".to_owned());
    }
    // At m = 1 the recursion gives back the recorded path but for rounding.
    let kept = |m: f64| peak(m) <= limit + 1e-9;
    if kept(1.0) {
        return Err(format!(
            "no recommendation: the upper half's predicted spread stays under {:.3} until step {}, the last probe within the longest hold considered",
            limit.exp(),
            steps[until]
        ));
    }
    let (multiplier, feasible) = largest(kept).map_or_else(|| (lowest(peak), false), |m| (m, true));
    // Features act at a time of their own: a slowed run may see it a lag earlier or later, less where it is hardly
    // slowed, for at m = 1 it is this run.
    let lag = record.lag.unwrap_or_else(|| lag_steps(DEFAULT_LAG, total));
    let slack = f64::from(lag) * (2.0 * (1.0 - multiplier)).min(1.0);
    let mut r = predict(paths, until, multiplier, slack);
    r.feasible = feasible;
    r.spread_limit = limit.exp();
    r.hold_fraction = settles.map_or(LONGEST_HOLD, |s| f64::from(s) / f64::from(total));
    r.hold_capped = settles.is_none();
    r.sentence = sentence(&r, thresholds);
    Ok(Some(r))
}

/// What a multiplier would do until a probe; `slack` in steps.
fn predict(paths: &HeadPaths, until: usize, multiplier: f64, slack: f64) -> Recommendation {
    let elasticity = paths.elasticity(until).mean;
    let last = paths.steps.len() - 1;
    let taken = paths.slowed(last, multiplier, 0.0);
    // Beyond one for one the recursion would not be trusted to converge; no run came near.
    let followed =
        elasticity.is_finite().then(|| paths.slowed(last, multiplier, elasticity.clamp(-1.0, 1.0)));
    let ends = followed.iter().chain([&taken]).map(|path| around(&paths.steps, path, until, slack));
    let reach = ends.fold(Interval { low: f64::INFINITY, high: f64::NEG_INFINITY }, hull);
    let missed = (0..=until).map(|i| paths.missed(i)).filter(|v| v.is_finite());
    let missed = missed.fold(Interval { low: 0.0, high: 0.0 }, |m, v| hull(m, Interval { low: v, high: v }));
    Recommendation {
        multiplier,
        feasible: false,
        hold_fraction: f64::NAN,
        hold_capped: false,
        until_step: paths.steps[until],
        spread_limit: f64::NAN,
        spread_without: paths.predicted(until).exp(),
        spread_with: taken[until].exp(),
        spread_interval: Interval {
            low: (reach.low + missed.low).exp(),
            high: (reach.high + missed.high).exp(),
        },
        elasticity,
        missed,
        assumptions: ASSUMPTIONS,
        sentence: String::new(),
    }
}

fn hull(a: Interval, b: Interval) -> Interval {
    Interval { low: a.low.min(b.low), high: a.high.max(b.high) }
}

/// Smallest and largest value of a path within `slack` steps of a probe, straight between probes.
fn around(steps: &[u32], path: &[f64], probe: usize, slack: f64) -> Interval {
    let step = |i: usize| f64::from(steps[i]);
    let (from, to) = (step(probe) - slack, step(probe) + slack);
    let inside = (0..steps.len()).filter(|i| (from..=to).contains(&step(*i))).map(|i| path[i]);
    let at = |t: f64| {
        let after = steps.partition_point(|s| f64::from(*s) < t);
        let (before, after) = (after.checked_sub(1)?, Some(after).filter(|i| *i < steps.len())?);
        let part = (t - step(before)) / (step(after) - step(before));
        Some(path[before] + part * (path[after] - path[before]))
    };
    // What is undefined later on says nothing.
    let values = inside.chain(at(from)).chain(at(to)).filter(|v| !v.is_nan());
    values
        .fold(Interval { low: path[probe], high: path[probe] }, |r, v| hull(r, Interval { low: v, high: v }))
}

fn sentence(r: &Recommendation, thresholds: &Thresholds) -> String {
    let when = if r.hold_capped {
        format!("at the end of the longest hold (step {}), before the lower half settles", r.until_step)
    } else {
        format!("when the lower half settles (step {})", r.until_step)
    };
    let Interval { low, high } = r.spread_interval;
    let with = format!("{:.3} ({low:.3}..{high:.3})", r.spread_with);
    let (m, hold, limit) = (r.multiplier, percent(r.hold_fraction), r.spread_limit);
    if r.feasible {
        format!(
            "multiply the upper half's Q/K step size by {m:.2} for the first {hold}: its predicted spread would be {with} in place of {:.3} {when}, and never above {limit:.3}, at which its sharpness passed {}",
            r.spread_without, thresholds.sharpness
        )
    } else {
        format!(
            "no multiplier keeps the upper half's predicted spread under {limit:.3}, at which its sharpness passed {}: the feature path alone carries it further; {m:.2} for the first {hold} holds it lowest, at {with} in place of {:.3} {when}",
            thresholds.sharpness, r.spread_without
        )
    }
}

/// The larger; NaN when either is, unlike `f64::max`.
fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// `ln a^` at which the sharpness passed its threshold. While attention is near uniform the entropy falls
/// short of its maximum in proportion to the logits' variance, so `a^2` is interpolated, between the probe
/// before and the first sharp one.
fn limit_at(sharpness: &[f64], paths: &HeadPaths, sharp: usize, threshold: f64) -> f64 {
    let at = |i: usize| (sharpness[i], (2.0 * paths.predicted(i)).exp());
    let (s1, a1) = at(sharp);
    match sharp.checked_sub(1).map(at) {
        // The probe before is not sharp: s0 <= threshold < s1.
        Some((s0, a0)) if s0.is_finite() => 0.5 * (a0 + (a1 - a0) * (threshold - s0) / (s1 - s0)).ln(),
        _ => 0.5 * a1.ln(),
    }
}

fn tried() -> impl Iterator<Item = f64> {
    (0..=TRIED).rev().map(|i| SMALLEST + (1.0 - SMALLEST) * f64::from(i) / f64::from(TRIED))
}

/// The largest multiplier that keeps the limit, to 1e-6, knowing that 1 does not.
fn largest(kept: impl Fn(f64) -> bool) -> Option<f64> {
    let mut high = 1.0;
    for m in tried() {
        if kept(m) {
            let mut low = m;
            while high - low > 1e-6 {
                let middle = 0.5 * (low + high);
                if kept(middle) { low = middle } else { high = middle }
            }
            return Some(low);
        }
        high = m;
    }
    None
}

/// The multiplier tried with the lowest peak; the largest of equals.
fn lowest(peak: impl Fn(f64) -> f64) -> f64 {
    let better = |(m, p): (f64, f64), (n, q): (f64, f64)| if q < p { (n, q) } else { (m, p) };
    tried().map(|m| (m, peak(m))).reduce(better).map_or(1.0, |(m, _)| m)
}
