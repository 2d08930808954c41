//! Summary statistics over seeds, steps and sizes. Entries that are NaN count as missing.

use nalgebra::{Matrix2, Vector2};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::error::{AnalysisError, Result, shape};
use crate::sum::CompensatedSum;

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

/// A power law `y = exp(intercept) x^slope` fitted in logarithms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerLaw {
    /// Exponent.
    pub slope: f64,
    /// Logarithm of the prefactor.
    pub intercept: f64,
    /// Confidence interval of the exponent; NaN ends with two points, where nothing is left to judge by.
    pub interval: ConfidenceInterval,
    /// Coefficient of determination in logarithms; NaN when y does not vary.
    pub r_squared: f64,
    /// Points used: pairs of finite positive values.
    pub count: usize,
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
    let reach = t_quantile(level, count as f64 - 1.0)? * error;
    Ok(ConfidenceInterval { low: mean - reach, high: mean + reach })
}

/// Two-sided quantile of Student's t; NaN below one degree of freedom.
fn t_quantile(level: f64, freedom: f64) -> Result<f64> {
    if !(level > 0.0 && level < 1.0) {
        return Err(AnalysisError::Statistics(format!(
            "confidence level {level} must lie strictly between 0 and 1, such as 0.95"
        )));
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

/// Fits `ln y = intercept + slope ln x` by least squares over pairs of finite positive values, with
/// a Student-t interval of the slope.
///
/// # Errors
/// [`AnalysisError::Shape`] when the lists differ in length; [`AnalysisError::Statistics`] with fewer
/// than two usable pairs, equal x, or a level outside 0..1.
pub fn power_law(x: &[f64], y: &[f64], level: f64) -> Result<PowerLaw> {
    let (x, y) = complete_pairs(x, y)?;
    let points: Vec<(f64, f64)> = x
        .iter()
        .zip(&y)
        .filter(|(x, y)| **x > 0.0 && **y > 0.0 && x.is_finite() && y.is_finite())
        .map(|(x, y)| (x.ln(), y.ln()))
        .collect();
    let count = points.len();
    let n = count as f64;
    if count < 2 {
        return Err(AnalysisError::Statistics(format!(
            "a log-log slope needs at least two points with positive x and y, found {count}"
        )));
    }
    // Centring x decorrelates slope and intercept: the normal equations stay well conditioned.
    let mx = points.iter().map(|p| p.0).sum::<f64>() / n;
    let mut normal = Matrix2::zeros();
    let mut right = Vector2::zeros();
    for &(px, py) in &points {
        let row = Vector2::new(1.0, px - mx);
        normal += row * row.transpose();
        right += row * py;
    }
    let equal_x = || AnalysisError::Statistics("a log-log slope needs at least two different x".into());
    // Spread of x at rounding level carries no slope.
    if normal[(1, 1)] <= n * (8.0 * f64::EPSILON * mx.abs().max(1.0)).powi(2) {
        return Err(equal_x());
    }
    let solution = normal.cholesky().ok_or_else(equal_x)?.solve(&right);
    let (level_at_mean, slope) = (solution[0], solution[1]);
    let my = points.iter().map(|p| p.1).sum::<f64>() / n;
    let residual: f64 = points.iter().map(|&(px, py)| (py - level_at_mean - slope * (px - mx)).powi(2)).sum();
    let total: f64 = points.iter().map(|p| (p.1 - my).powi(2)).sum();
    let error = (residual / (n - 2.0) / normal[(1, 1)]).sqrt();
    let reach = t_quantile(level, n - 2.0)? * error;
    Ok(PowerLaw {
        slope,
        intercept: level_at_mean - slope * mx,
        interval: ConfidenceInterval { low: slope - reach, high: slope + reach },
        r_squared: 1.0 - residual / total,
        count,
    })
}

fn complete_pairs(x: &[f64], y: &[f64]) -> Result<(Vec<f64>, Vec<f64>)> {
    if x.len() != y.len() {
        return Err(shape("y", format!("{} values, one for each x", x.len()), y.len()));
    }
    Ok(x.iter().zip(y).filter(|(a, b)| !a.is_nan() && !b.is_nan()).map(|(a, b)| (*a, *b)).unzip())
}
