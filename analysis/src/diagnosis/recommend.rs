//! How much the upper half's Q/K would have had to be slowed.

use serde::Serialize;

use super::curves::{Curves, UpperPath};
use super::thresholds::Thresholds;
use super::timing::{Times, Verdict, percent};

/// Longest hold that is recommended, as a fraction of training: where an adaptive release is forced.
pub const LONGEST_HOLD: f64 = 0.12;

/// Smallest multiplier that is tried.
const SMALLEST: f64 = 0.01;

/// Multipliers tried between [`SMALLEST`] and 1 before the boundary is refined by bisection.
const TRIED: u32 = 400;

/// A multiplier on the step size of the upper half's W_Q and W_K, and how long to hold it.
///
/// Obtained from this run's own path by the recursion (5.4): over each probe interval the upper half's predicted log
/// spread moved by `1/2 ln(1 + 2 x c0 + x^2)`, the part of the weights, x the step `eta u e` over the spread, and by a
/// remainder, what the features did. With the step size multiplied by m, x is multiplied by m and by the measured
/// over the slowed spread. The remainder stays as measured, as do u, e and c0. Means run over the half's heads,
/// spreads are geometric means of a^.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// The largest multiplier that keeps the predicted spread at or under `spread_limit` until `until_step`;
    /// where none does, the one that keeps its peak lowest.
    pub multiplier: f64,
    /// Whether the limit is kept.
    pub feasible: bool,
    /// Fraction of training to hold it: `t_m / steps`, at most [`LONGEST_HOLD`].
    pub hold_fraction: f64,
    /// Whether the lower half settles only after the longest hold.
    pub hold_capped: bool,
    /// Last probe within the hold: t_m unless capped.
    pub until_step: u32,
    /// Predicted spread at which the sharpness passed its threshold, interpolated between probes.
    pub spread_limit: f64,
    /// Predicted spread of the run as it was, at `until_step`.
    pub spread_without: f64,
    /// Predicted spread with the multiplier, at `until_step`.
    pub spread_with: f64,
    /// What is taken for granted.
    pub assumptions: &'static str,
    /// The reasoning in one sentence.
    pub sentence: String,
}

const ASSUMPTIONS: &str = "the feature path and the factors u, e and c stay as measured; means over the upper half's heads; the multiplier applies to the step sizes that this run had";

/// A recommendation where the upper half committed prematurely; otherwise none, with the reason if it is not
/// the verdict itself.
pub(super) fn recommend(
    curves: &Curves,
    path: &UpperPath,
    times: &Times,
    total: u32,
    thresholds: &Thresholds,
) -> Result<Option<Recommendation>, String> {
    if !matches!(times.verdict(), Verdict::Premature | Verdict::NeverSettles) {
        return Ok(None);
    }
    let Some(sharp) = times.sharp else { return Ok(None) };
    let steps = &curves.steps;
    let longest = LONGEST_HOLD * f64::from(total);
    let settles = times.maturity.filter(|&m| f64::from(steps[m]) <= longest);
    let within = steps.partition_point(|&s| f64::from(s) <= longest);
    let Some(until) = settles.or_else(|| within.checked_sub(1)) else {
        return Err(format!("no recommendation: no probe within the first {}", percent(LONGEST_HOLD)));
    };
    let limit = limit_at(curves, path, sharp, thresholds.sharpness);
    let slowed = |m: f64| trajectory(path, until, m);
    let peak = |m: f64| slowed(m).into_iter().fold(f64::NEG_INFINITY, maximum);
    if !(limit.is_finite() && peak(1.0).is_finite()) {
        return Err("no recommendation: the predicted spread or rate is undefined at a probe".to_owned());
    }
    // At m = 1 the recursion gives back the recorded path but for rounding.
    let kept = |m: f64| peak(m) <= limit + 1e-9;
    if kept(1.0) {
        return Err(format!(
            "no recommendation: the upper half's predicted spread stays under {:.3} until step {}, the longest hold considered",
            limit.exp(),
            steps[until]
        ));
    }
    let (multiplier, feasible) = largest(kept).map_or_else(|| (lowest(peak), false), |m| (m, true));
    let (without, with) = (path.ln_spread[until].exp(), slowed(multiplier)[until].exp());
    let hold_fraction =
        if settles.is_some() { f64::from(steps[until]) / f64::from(total) } else { LONGEST_HOLD };
    let until_step = steps[until];
    let when = match settles {
        Some(_) => format!("when the lower half settles (step {until_step})"),
        None => format!("at the end of the longest hold (step {until_step}), before the lower half settles"),
    };
    let sentence = if feasible {
        format!(
            "multiply the upper half's Q/K step size by {multiplier:.2} for the first {}: its predicted spread would be {with:.3} in place of {without:.3} {when}, and never above {:.3}, at which its sharpness passed {}",
            percent(hold_fraction),
            limit.exp(),
            thresholds.sharpness
        )
    } else {
        format!(
            "no multiplier keeps the upper half's predicted spread under {:.3}, at which its sharpness passed {}: the feature path alone carries it further; {multiplier:.2} for the first {} holds it lowest, at {with:.3} in place of {without:.3} {when}",
            limit.exp(),
            thresholds.sharpness,
            percent(hold_fraction)
        )
    };
    Ok(Some(Recommendation {
        multiplier,
        feasible,
        hold_fraction,
        hold_capped: settles.is_none(),
        until_step,
        spread_limit: limit.exp(),
        spread_without: without,
        spread_with: with,
        assumptions: ASSUMPTIONS,
        sentence,
    }))
}

/// The larger; NaN when either is, unlike `f64::max`.
fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// `ln a^` at which the sharpness passed its threshold. While attention is near uniform the entropy falls
/// short of its maximum in proportion to the logits' variance, so `a^2` is interpolated, between the probe
/// before and the first sharp one.
fn limit_at(curves: &Curves, path: &UpperPath, sharp: usize, threshold: f64) -> f64 {
    let at = |i: usize| (curves.upper_sharpness[i], (2.0 * path.ln_spread[i]).exp());
    let (s1, a1) = at(sharp);
    match sharp.checked_sub(1).map(at) {
        // The probe before is not sharp: s0 <= threshold < s1.
        Some((s0, a0)) if s0.is_finite() => 0.5 * (a0 + (a1 - a0) * (threshold - s0) / (s1 - s0)).ln(),
        _ => 0.5 * a1.ln(),
    }
}

/// Squared growth that the weights alone bring over an interval (5.4); `x` is the multiplier times measured spread
/// over slowed spread.
fn weights_only(path: &UpperPath, i: usize, x: f64) -> f64 {
    maximum(1.0 + 2.0 * x * path.along[i] + x * x * path.step2[i], FLOOR)
}

/// Smallest squared growth of an interval: below, the spread has all but vanished.
const FLOOR: f64 = 1e-12;

/// `ln a^` at the probes up to `until` with the step size multiplied by `m` throughout.
pub(super) fn trajectory(path: &UpperPath, until: usize, m: f64) -> Vec<f64> {
    let mut slowed = Vec::with_capacity(until + 1);
    let mut now = path.ln_spread[0];
    slowed.push(now);
    for i in 1..=until {
        let measured = path.ln_spread[i - 1];
        let feature = path.ln_spread[i] - measured - 0.5 * weights_only(path, i, 1.0).ln();
        let x = m * (measured - now).exp();
        now += feature + 0.5 * weights_only(path, i, x).ln();
        slowed.push(now);
    }
    slowed
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
