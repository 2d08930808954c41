//! Power laws: exponents over sizes.

use nalgebra::{Matrix2, Vector2};
use serde::{Deserialize, Serialize};

use super::{ConfidenceInterval, complete_pairs};
use crate::error::{AnalysisError, Result};

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
    Ok(PowerLaw {
        slope,
        intercept: level_at_mean - slope * mx,
        interval: ConfidenceInterval::student(slope, error, n - 2.0, level)?,
        r_squared: 1.0 - residual / total,
        count,
    })
}
