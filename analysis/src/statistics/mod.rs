//! Summary statistics over seeds, steps, sequences and sizes. Entries that are NaN count as missing.

mod paired;
mod power_law;
mod resampling;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

pub use paired::{holm, paired_t};
pub use power_law::{PowerLaw, power_law};
pub use resampling::{HALVES, MOST_SIGNS, SignFlip, half_sample_error, sign_flip};

use crate::error::{AnalysisError, Result, shape};
use crate::sum::CompensatedSum;

/// Confidence of an interval where nobody chose another.
pub const CONFIDENCE: f64 = 0.95;

/// Mean with its uncertainty over independent runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Values that were not NaN.
    pub count: usize,
    /// Their mean; NaN without values.
    pub mean: f64,
    /// Standard deviation with n-1; NaN below two values.
    pub deviation: f64,
    /// Standard error of the mean; NaN below two values.
    pub error: f64,
}

/// An interval that covers its quantity with the asked confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ConfidenceInterval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What an interval says about the sign of its quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// The whole interval lies below zero.
    Negative,
    /// The whole interval lies above zero.
    Positive,
    /// The interval holds zero or does not exist: the difference is noise as far as these data tell.
    Undecided,
}

impl ConfidenceInterval {
    /// The Student interval `mean +- t error` with `freedom` degrees of freedom. NaN ends without an error or
    /// below one degree of freedom.
    ///
    /// # Errors
    /// [`AnalysisError::Statistics`] when `level` is not strictly between 0 and 1.
    pub fn student(mean: f64, error: f64, freedom: f64, level: f64) -> Result<Self> {
        let reach = student_quantile(level, freedom)? * error;
        Ok(Self { low: mean - reach, high: mean + reach })
    }

    /// The sign that the interval leaves open to its quantity.
    pub fn sign(&self) -> Sign {
        if self.low > 0.0 {
            Sign::Positive
        } else if self.high < 0.0 {
            Sign::Negative
        } else {
            Sign::Undecided
        }
    }

    /// Whether `value` lies in the interval, ends included; never when an end is NaN.
    pub fn covers(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Compensated mean of finite-or-infinite values already cleared of NaN.
fn mean_of(values: &[f64]) -> f64 {
    values.iter().copied().collect::<CompensatedSum>().value() / values.len() as f64
}

fn present(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|v| !v.is_nan()).collect()
}

/// Mean, deviation and standard error; NaN entries are left out.
pub fn estimate(values: &[f64]) -> Estimate {
    let values = present(values);
    let (count, mean) = (values.len(), mean_of(&values));
    let squares = values.iter().map(|v| (v - mean).powi(2)).collect::<CompensatedSum>().value();
    let deviation = if count >= 2 { (squares / (count as f64 - 1.0)).sqrt() } else { f64::NAN };
    Estimate { count, mean, deviation, error: deviation / (count as f64).sqrt() }
}

/// Student-t confidence interval of the mean. NaN ends below two values.
///
/// # Errors
/// [`AnalysisError::Statistics`] when `level` is not strictly between 0 and 1.
pub fn mean_interval(values: &[f64], level: f64) -> Result<ConfidenceInterval> {
    let Estimate { count, mean, error, .. } = estimate(values);
    ConfidenceInterval::student(mean, error, count as f64 - 1.0, level)
}

/// Standard error of `b - a` for two independent means and its Student interval with the degrees of freedom of
/// Welch and Satterthwaite. NaN where either error is unknown.
///
/// # Errors
/// [`AnalysisError::Statistics`] when `level` is not strictly between 0 and 1.
pub fn independent_difference(a: &Estimate, b: &Estimate, level: f64) -> Result<(f64, ConfidenceInterval)> {
    let error = a.error.hypot(b.error);
    // Shares of the variance, so that errors of any size neither overflow nor vanish when squared twice.
    let part = |e: &Estimate| (e.error / error).powi(4) / (e.count as f64 - 1.0);
    // Without variance any degrees of freedom give the interval of width zero.
    let freedom = if error == 0.0 { 1.0 } else { 1.0 / (part(a) + part(b)) };
    Ok((error, ConfidenceInterval::student(b.mean - a.mean, error, freedom, level)?))
}

/// Two-sided quantile of Student's t: a fraction `level` of the distribution lies within it on both sides. NaN
/// below one degree of freedom.
///
/// # Errors
/// [`AnalysisError::Statistics`] when `level` is not strictly between 0 and 1.
pub fn student_quantile(level: f64, freedom: f64) -> Result<f64> {
    if !(level > 0.0 && level < 1.0) {
        return Err(AnalysisError::Statistics(format!(
            "confidence level {level} must lie strictly between 0 and 1, such as 0.95"
        )));
    }
    if freedom.is_nan() || freedom < 1.0 {
        return Ok(f64::NAN);
    }
    Ok(StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |t| t.inverse_cdf(0.5 + 0.5 * level)))
}

/// Pearson correlation over the pairs in which neither entry is NaN. NaN below two pairs or when
/// either side does not vary.
///
/// # Errors
/// [`AnalysisError::Shape`] when the lists differ in length.
pub fn pearson(x: &[f64], y: &[f64]) -> Result<f64> {
    let (x, y) = complete_pairs(x, y)?;
    let (mx, my) = (mean_of(&x), mean_of(&y));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        x.iter().zip(&y).map(|(a, b)| f(a - mx, b - my)).collect::<CompensatedSum>().value()
    };
    let r = sum(&|a, b| a * b) / (sum(&|a, _| a * a).sqrt() * sum(&|_, b| b * b).sqrt());
    Ok(r.clamp(-1.0, 1.0))
}

/// Quantile with linear interpolation between order statistics; NaN without values.
///
/// # Errors
/// [`AnalysisError::Statistics`] when `q` is outside 0..=1.
pub fn quantile(values: &[f64], q: f64) -> Result<f64> {
    if !(0.0..=1.0).contains(&q) {
        return Err(AnalysisError::Statistics(format!("quantile {q} must lie in 0..=1")));
    }
    let mut values = present(values);
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return Ok(f64::NAN) };
    let place = q * last as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    // Equal ends first: interpolating between two infinities would give NaN.
    Ok(if low == high { low } else { low + (place - place.floor()) * (high - low) })
}

/// Median; NaN without values.
pub fn median(values: &[f64]) -> f64 {
    // 0.5 is a valid quantile.
    quantile(values, 0.5).unwrap_or(f64::NAN)
}

fn complete_pairs(x: &[f64], y: &[f64]) -> Result<(Vec<f64>, Vec<f64>)> {
    if x.len() != y.len() {
        return Err(shape("y", format!("{} values, one for each x", x.len()), y.len()));
    }
    Ok(x.iter().zip(y).filter(|(a, b)| !a.is_nan() && !b.is_nan()).map(|(a, b)| (*a, *b)).unzip())
}
