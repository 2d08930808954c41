//! The pathwise bounds on the logit change that weights make (section 6): RoPE-safe and free of the optimizer.
//!
//! At the interval's first features, with midpoints of old and new weights, the change is
//! `dS_W = P[(X dW_Q) Kbar^T + Qbar (X dW_K)^T]/sqrt(d_h)`: bilinear, nothing left over. The cheap bound (6.1) names
//! the levers; the tight one (6.2, [`crate::HeadAccounting::bound_tight`]) comes with the accounting.

use faer::Mat;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::eigen::lambda_max_of_gram;
use crate::error::Result;
use crate::layer::{Geometry, LayerState};
use crate::linear::{difference, midpoint, square_norm};
use crate::pairs::causal_pairs;
use crate::projection::head_columns;

/// The three factors of the cheap bound (6.1) for one head.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeadBound {
    /// Weight step `s = sqrt(|dW_Q|_F^2 + |dW_K|_F^2)`.
    pub s: f64,
    /// Residual energy of the layer, `E`, at the earlier time.
    pub e: f64,
    /// Weight scale `omega = sqrt(|W-bar_Q|_F^2 + |W-bar_K|_F^2) / sqrt(d_h)` of the mean weights.
    pub omega: f64,
}

impl HeadBound {
    /// Bound on the RMS of dS_W: `s E omega` (6.1).
    pub fn ds_w(&self) -> f64 {
        self.s * self.e * self.omega
    }
}

/// Bound (6.3) on the log growth that the weights make at fixed features, from a bound on RMS(dS_W) and the spread
/// that they start from: the spread is a norm. Infinite at `a = 0`.
pub fn growth_bound(ds_w: f64, a: f64) -> f64 {
    (ds_w / a).ln_1p()
}

/// Residual energy of the inputs, `E^2 = sum_b lambda_max(X_b^T X_b)^2 / sum_b T_b(T_b+1)/2`.
///
/// With equal lengths this is `sqrt(2T/(T+1)) * RMS_b lambda_max(X_b^T X_b / T)`. Cost: one symmetric
/// eigenvalue problem a sequence, of the smaller of T and d.
///
/// # Errors
/// [`crate::AnalysisError::Decomposition`] when an eigenvalue solver does not converge.
pub fn residual_energy(x: &[Mat<f64>]) -> Result<f64> {
    let lambdas = x.par_iter().map(lambda_max_of_gram).collect::<Result<Vec<f64>>>()?;
    let lengths: Vec<usize> = x.iter().map(Mat::nrows).collect();
    Ok((lambdas.iter().map(|l| l * l).sum::<f64>() / causal_pairs(&lengths)).sqrt())
}

/// Cheap bounds (6.1) for every head of the interval from `prev` to `next`.
///
/// # Errors
/// As [`LayerState::validate_pair`], and [`crate::AnalysisError::Decomposition`].
pub fn bound(prev: &LayerState, next: &LayerState, geometry: &Geometry) -> Result<Vec<HeadBound>> {
    prev.validate_pair(next, geometry)?;
    Ok(bound_with_energy(prev, next, geometry, residual_energy(&prev.x)?))
}

/// [`bound`] with E already at hand.
pub(crate) fn bound_with_energy(
    prev: &LayerState,
    next: &LayerState,
    geometry: &Geometry,
    e: f64,
) -> Vec<HeadBound> {
    let root_width = (geometry.head_dim as f64).sqrt();
    (0..geometry.heads)
        .map(|head| {
            let squares = |a: &Mat<f64>, b: &Mat<f64>| {
                let (a, b) = (head_columns(a, geometry, head), head_columns(b, geometry, head));
                (square_norm(difference(&a, &b).as_ref()), square_norm(midpoint(&a, &b).as_ref()))
            };
            let ((dq, q), (dk, k)) = (squares(&prev.wq, &next.wq), squares(&prev.wk, &next.wk));
            HeadBound { s: (dq + dk).sqrt(), e, omega: (q + k).sqrt() / root_width }
        })
        .collect()
}

/// Tightness: measured over bound, at most one. NaN when both are zero.
pub fn tightness(measured: f64, bound: f64) -> f64 {
    measured / bound
}
