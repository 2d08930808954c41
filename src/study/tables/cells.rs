//! Cells that several tables share.

use growthpath_analysis::arms::{ArmMetric, Unit};
use growthpath_analysis::compare::{SeedMetric, SeedSummary};
use growthpath_analysis::diagnosis::{Bracket, Interval};
use growthpath_analysis::statistics::{ConfidenceInterval, Sign};
use growthpath_trace::fixed;

use crate::tables::number;

/// `4.472 [4.460, 4.484]`; the mean alone where there is no interval, `-` without a mean.
pub fn estimate(mean: f64, interval: &ConfidenceInterval) -> String {
    if !mean.is_finite() {
        "-".to_owned()
    } else if interval.low.is_finite() && needed(mean, interval) > MOST_DECIMALS {
        format!("{} [{}, {}]", number(mean), number(interval.low), number(interval.high))
    } else if interval.low.is_finite() && interval.high.is_finite() {
        let digits = needed(mean, interval).max(1) as usize;
        let show = |v: f64| fixed(v, digits);
        format!("{} [{}, {}]", show(mean), show(interval.low), show(interval.high))
    } else {
        number(mean)
    }
}

/// Largest ratio of an interval's ends with which the mean of a positive quantity still says something.
pub const RESOLVED: f64 = 100.0;

/// Whether the interval of a ratio or of a positive quantity tells its size.
pub fn resolved(interval: &ConfidenceInterval) -> bool {
    interval.high <= RESOLVED * interval.low
}

/// What a cell says in place of an interval that these seeds do not give.
pub fn unresolved(count: usize) -> String {
    format!("not resolved at n = {count}")
}

/// A geometric mean; where its interval spans factors, too few seeds are behind it to say anything but that.
pub fn geometric(mean: f64, interval: &ConfidenceInterval, count: usize) -> String {
    let known = interval.low.is_finite() || interval.high.is_finite();
    if known && mean.is_finite() && !resolved(interval) {
        return format!("{} ({})", number(mean), unresolved(count));
    }
    // Where the ends differ by a factor, decimals that suit the upper one leave nothing of the lower one.
    if interval.high > SPREAD * interval.low {
        return format!(
            "{} [{}, {}]",
            two_figures(mean),
            two_figures(interval.low),
            two_figures(interval.high)
        );
    }
    estimate(mean, interval)
}

/// Ratio of an interval's ends from which each is written with figures of its own.
const SPREAD: f64 = 3.0;

/// Two significant figures.
fn two_figures(v: f64) -> String {
    let size = v.abs().log10().floor();
    match (-4.0..4.0).contains(&size) {
        true => format!("{v:.*}", (1.0 - size).max(0.0) as usize),
        false => format!("{v:.1e}"),
    }
}

/// What rounding leaves of a difference that is none, in ln or nats: the runs of a pair begin with the same weights.
pub const ROUNDING: f64 = 1e-6;

/// Decimals beyond which numbers are written with an exponent.
const MOST_DECIMALS: i32 = 5;

/// Decimals with which an interval's width has two significant figures.
fn needed(mean: f64, interval: &ConfidenceInterval) -> i32 {
    let width = interval.high - interval.low;
    let scale = if width > 0.0 { width } else { mean.abs().max(1e-4) / 1e3 };
    1 - scale.log10().floor() as i32
}

/// An arm's metric.
pub fn metric(m: Option<&ArmMetric>) -> String {
    m.map_or_else(
        || "-".to_owned(),
        |m| match m.unit {
            Unit::Positive => geometric(m.mean, &m.interval, m.count),
            Unit::Loss | Unit::Ln | Unit::One => estimate(m.mean, &m.interval),
        },
    )
}

/// A difference between arms.
pub fn difference(m: Option<&SeedMetric>) -> String {
    let Some(m) = m else { return "-".to_owned() };
    match m.values.iter().any(|v| v.is_nan() || v.abs() > ROUNDING) || m.values.is_empty() {
        true => estimate(m.estimate.mean, &m.interval),
        false => "0".to_owned(),
    }
}

/// A metric of a pair's half by name.
pub fn of<'a>(half: Option<&'a SeedSummary>, name: &str) -> Option<&'a SeedMetric> {
    half.and_then(|h| h.get(name))
}

/// What an interval says of a difference: `above`, `below`, `noise`.
pub fn reading(m: &SeedMetric) -> &'static str {
    match m.sign {
        _ if m.estimate.count < 2 => "needs 2 seeds",
        Some(Sign::Positive) => "above",
        Some(Sign::Negative) => "below",
        _ => "noise",
    }
}

/// A p value: `0.031`, `<0.001`, `-`.
pub fn p(value: f64) -> String {
    match value {
        v if v.is_nan() => "-".to_owned(),
        v if v < 0.001 => "<0.001".to_owned(),
        v => format!("{v:.3}"),
    }
}

/// `51..73`, `74`, `-`.
pub fn bracket(b: Option<Bracket>) -> String {
    b.map_or_else(
        || "-".to_owned(),
        |b| if b.is_exact() { b.high.to_string() } else { format!("{}..{}", b.low, b.high) },
    )
}

/// A fraction of training between two ends as percent: `4..9 %`, `>= 20 %`, `<= -3 %`.
pub fn share(i: Option<Interval>) -> String {
    let Some(i) = i else { return "-".to_owned() };
    let percent = |v: f64| fixed(100.0 * v, 1);
    match (i.low.is_finite(), i.high.is_finite()) {
        (true, true) if percent(i.low) == percent(i.high) => format!("{} %", percent(i.low)),
        (true, true) => format!("{}..{} %", percent(i.low), percent(i.high)),
        (true, false) => format!(">= {} %", percent(i.low)),
        (false, true) => format!("<= {} %", percent(i.high)),
        (false, false) => "open".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_have_the_digits_that_their_interval_earns() {
        let i = |low, high| ConfidenceInterval { low, high };
        assert_eq!(estimate(4.4723, &i(4.4601, 4.4848)), "4.472 [4.460, 4.485]");
        assert_eq!(estimate(-0.5, &i(-3.0, 2.0)), "-0.5 [-3.0, 2.0]");
        assert_eq!(estimate(6.1e-5, &i(6.0e-5, 6.2e-5)), "6.10e-5 [6.00e-5, 6.20e-5]");
        assert_eq!(estimate(2.5, &i(f64::NAN, f64::NAN)), "2.500");
        assert_eq!(estimate(f64::NAN, &i(f64::NAN, f64::NAN)), "-");
        assert_eq!(estimate(2.18e-4, &i(-0.007_07, 0.007_51)), "0.000 [-0.007, 0.008]");
        assert_eq!(estimate(-0.0004, &i(-0.021, 0.0201)), "0.000 [-0.021, 0.020]");
        assert_eq!(geometric(3.6e-3, &i(1e-9, 1.9e8), 2), "0.00360 (not resolved at n = 2)");
        assert_eq!(geometric(2.0, &i(0.0, f64::INFINITY), 2), "2.000 (not resolved at n = 2)");
        assert_eq!(geometric(2.0, &i(1.0, 4.0), 5), "2.0 [1.0, 4.0]");
        assert_eq!(geometric(0.04, &i(0.0042, 0.38), 5), "0.040 [0.0042, 0.38]");
        assert_eq!(geometric(10.3, &i(1.5, 72.5), 3), "10 [1.5, 72]");
        assert_eq!(geometric(5.5e-12, &i(1e-12, 3e-11), 3), "5.5e-12 [1.0e-12, 3.0e-11]");
        assert_eq!(geometric(2.5, &i(2.4, 2.6), 3), "2.50 [2.40, 2.60]");
        assert_eq!(geometric(2.0, &i(f64::NAN, f64::NAN), 1), "2.000");
        assert_eq!(p(0.0004), "<0.001");
        assert_eq!(p(f64::NAN), "-");
        assert_eq!(share(Some(Interval { low: 0.2, high: f64::INFINITY })), ">= 20.0 %");
    }
}
