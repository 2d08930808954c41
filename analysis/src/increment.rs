//! The first-order increment of a head's logit matrix in one update: its size, and how many directions it has.
//!
//! `dM = (dQ W_K^T + W_Q dK^T) / sqrt(d_h) = A B^T / sqrt(d_h)` with `A = [dQ, W_Q]`, `B = [W_K, dK]`, `d x 2 d_h` each, so
//! its squared singular values are the eigenvalues of `A^T A B^T B / d_h`: no `d x d` matrix. They are taken from the
//! triangles of thin factorizations of A and B, which lose no digits to squaring. The spectral entropy is the early
//! warning that arXiv 2606.28116 proposes.

use faer::linalg::solvers::Qr;
use faer::{Mat, MatRef, Scale};

use crate::error::{Result, shape};
use crate::linear::{mul, square_norm};
use crate::spectral::singular_values;

/// Spectrum of one head's first-order increment dM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Increment {
    /// `|dM|_F`.
    pub frobenius: f64,
    /// Its largest singular value.
    pub top: f64,
    /// `-sum p ln p / ln(2 d_h)`, `p` the squared singular values over their sum: 0 for one direction, at most 1. NaN for
    /// a zero increment.
    pub entropy: f64,
}

/// The increment of one head. `wq`, `wk`: weights before the update, `d x d_h`, biases as a last row if the arm has them;
/// `dq`, `dk`: what the update added. Cost `O(d d_h^2)`.
///
/// # Errors
/// [`crate::AnalysisError::Shape`] when the four differ in shape or are empty;
/// [`crate::AnalysisError::Decomposition`] when they hold what has no singular values.
pub fn increment(
    wq: MatRef<'_, f64>,
    wk: MatRef<'_, f64>,
    dq: MatRef<'_, f64>,
    dk: MatRef<'_, f64>,
) -> Result<Increment> {
    let (d, dh) = wq.shape();
    for (name, m) in [("wq", wq), ("wk", wk), ("dq", dq), ("dk", dk)] {
        if m.shape() != (d, dh) || d == 0 || dh == 0 {
            return Err(shape(
                name,
                format!("{} x {}", d.max(1), dh.max(1)),
                format!("{} x {}", m.nrows(), m.ncols()),
            ));
        }
    }
    // Both terms of dM at one scale on either side: an update is a thousandth of its weights.
    let (left, right) = (balance(dq, wk), balance(dk, wq));
    let triangle = |a: MatRef<'_, f64>, a_scale: f64, b: MatRef<'_, f64>, b_scale: f64| {
        let mut side = Mat::zeros(d, 2 * dh);
        side.subcols_mut(0, dh).copy_from(a * Scale(a_scale));
        side.subcols_mut(dh, dh).copy_from(b * Scale(b_scale));
        Qr::new(side.as_ref()).thin_R().to_owned()
    };
    let a = triangle(dq, left, wq, right.recip());
    let b = triangle(wk, left.recip(), dk, right);
    let mut core = mul(a.as_ref(), b.transpose());
    core *= Scale((dh as f64).sqrt().recip());
    let values = singular_values(core.as_ref())?;
    Ok(Increment {
        frobenius: square_norm(core.as_ref()).sqrt(),
        top: values.first().copied().unwrap_or(0.0),
        entropy: entropy(&values) / (2.0 * dh as f64).ln(),
    })
}

/// The factor that gives `small` and, divided by it, `large` the same norm; 1 where there is none.
fn balance(small: MatRef<'_, f64>, large: MatRef<'_, f64>) -> f64 {
    let factor = (square_norm(large) / square_norm(small)).powf(0.25);
    if factor.is_finite() && factor > 0.0 { factor } else { 1.0 }
}

/// Entropy of squares over their sum; NaN where all are zero.
fn entropy(values: &[f64]) -> f64 {
    let top = values.first().copied().unwrap_or(0.0);
    let squares: Vec<f64> = values.iter().map(|s| (s / top).powi(2)).collect();
    let sum: f64 = squares.iter().sum();
    // NaN, not zero, where nothing can be divided.
    if sum.is_nan() {
        return f64::NAN;
    }
    squares.iter().map(|s| s / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum()
}
