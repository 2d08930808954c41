//! The pathwise bound (section 6): RoPE-safe and free of the optimizer.

use faer::Mat;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::accounting::HeadAccounting;
use crate::eigen::lambda_max_of_gram;
use crate::error::Result;
use crate::layer::{Geometry, LayerState};
use crate::linear::square_norm;
use crate::pairs::causal_pairs;

/// The three factors of (6.1) for one head and the bounds they give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeadBound {
    /// Weight step `s = sqrt(|dW_Q|_F^2 + |dW_K|_F^2)`.
    pub s: f64,
    /// Residual energy of the layer, `E`.
    pub e: f64,
    /// Weight scale `omega = sqrt(|W_Q|_F^2 + |W_K|_F^2) / sqrt(d_h)` at the earlier time.
    pub omega: f64,
    /// Bound on the RMS of D: `s E omega` (6.1).
    pub r_d: f64,
    /// Bound on the RMS of D2, by the same proof: `E |dW_Q|_F |dW_K|_F / sqrt(d_h)`.
    pub r_d2: f64,
}

impl HeadBound {
    /// Bound on `|g_D|` at spread `a`: `s E omega / a` (6.1). Infinite at `a = 0`.
    pub fn rate(&self, a: f64) -> f64 {
        self.r_d / a
    }
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

/// Bounds (6.1) for every head of the interval from `prev` to `next`.
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
    (0..geometry.heads)
        .map(|head| {
            let (first, width) = (head * geometry.head_dim, geometry.head_dim);
            let square = |m: &Mat<f64>| square_norm(m.subcols(first, width));
            let step = |a: &Mat<f64>, b: &Mat<f64>| {
                square_norm((b.subcols(first, width) - a.subcols(first, width)).as_ref())
            };
            let (dq2, dk2) = (step(&prev.wq, &next.wq), step(&prev.wk, &next.wk));
            let root_width = (width as f64).sqrt();
            let s = (dq2 + dk2).sqrt();
            let omega = (square(&prev.wq) + square(&prev.wk)).sqrt() / root_width;
            HeadBound { s, e, omega, r_d: s * e * omega, r_d2: e * (dq2 * dk2).sqrt() / root_width }
        })
        .collect()
}

/// One interval of the product form (6.2), relative to the spread it starts from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PathStep {
    /// Bound on the weight path over the spread: first and second order.
    pub weights: f64,
    /// RMS of the feature path over the spread, as measured.
    pub feature: f64,
}

impl PathStep {
    /// The step of one head from its bound and its accounting.
    ///
    /// The spread is a norm, so `a' <= a + RMS(D) + RMS(D2) + RMS(F)`; the first two are bounded, the
    /// last is what the features did.
    pub fn new(bound: &HeadBound, accounting: &HeadAccounting) -> Self {
        let a = accounting.a_prev;
        Self { weights: (bound.r_d + bound.r_d2) / a, feature: accounting.r_f / a }
    }

    /// `1 + bound_t + feature_t`.
    pub fn factor(&self) -> f64 {
        1.0 + self.weights + self.feature
    }
}

/// Product form (6.2): the largest spread that a path of steps from `a_0` can reach.
pub fn product_bound(a_0: f64, steps: &[PathStep]) -> f64 {
    // A sum of logarithms outlives the overflow of a long product.
    let log: f64 = steps.iter().map(|step| step.factor().ln()).sum();
    (a_0.ln() + log).exp()
}

/// Tightness: measured over bound, at most one. NaN when both are zero.
pub fn tightness(measured: f64, bound: f64) -> f64 {
    measured / bound
}
