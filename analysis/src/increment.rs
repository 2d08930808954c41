//! The first-order increment of a head's logit matrix in one update: its size, and how many directions it has.
//!
//! `dM = (dQ W_K^T + W_Q dK^T) / sqrt(d_h) = A B^T / sqrt(d_h)` with `A = [dQ, W_Q]`, `B = [W_K, dK]`, `d x 2 d_h` each, so
//! its squared singular values are the eigenvalues of `A^T A B^T B / d_h`: no `d x d` matrix. They are taken from the
//! triangles of thin factorizations of A and B, which lose no digits to squaring. The spectral entropy is the early
//! warning that arXiv 2606.28116 proposes.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::qr::no_pivoting::factor::{qr_in_place, qr_in_place_scratch, recommended_block_size};
use faer::{Mat, MatRef, Par, Scale};

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
/// [`crate::AnalysisError::Decomposition`] when the solver does not converge. Weights that are not finite give NaN.
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
    if ![wq, wk, dq, dk].into_iter().all(|m| square_norm(m).is_finite()) {
        return Ok(Increment { frobenius: f64::NAN, top: f64::NAN, entropy: f64::NAN });
    }
    // Both terms of dM at one scale on either side: an update is a thousandth of its weights.
    let (left, right) = (balance(dq, wk), balance(dk, wq));
    let a = triangle((dq, left), (wq, right.recip()));
    let b = triangle((wk, left.recip()), (dk, right));
    let mut core = mul(a.as_ref(), b.transpose());
    core *= Scale((dh as f64).sqrt().recip());
    let values = singular_values(core.as_ref())?;
    Ok(Increment {
        frobenius: square_norm(core.as_ref()).sqrt(),
        top: values.first().copied().unwrap_or(0.0),
        entropy: entropy(&values) / (2.0 * dh as f64).ln(),
    })
}

/// The triangle R of `[a, b] = Q R`, each side times its factor. Sequential, so the same bits on any number of threads.
fn triangle((a, a_scale): (MatRef<'_, f64>, f64), (b, b_scale): (MatRef<'_, f64>, f64)) -> Mat<f64> {
    let (d, n) = (a.nrows(), a.ncols() + b.ncols());
    let mut side = Mat::zeros(d, n);
    side.subcols_mut(0, a.ncols()).copy_from(a * Scale(a_scale));
    side.subcols_mut(a.ncols(), b.ncols()).copy_from(b * Scale(b_scale));
    let block = recommended_block_size::<f64>(d, n);
    let mut reflections = Mat::zeros(block, d.min(n));
    let mut memory = MemBuffer::new(qr_in_place_scratch::<f64>(d, n, block, Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    qr_in_place(side.as_mut(), reflections.as_mut(), Par::Seq, stack, Default::default());
    Mat::from_fn(d.min(n), n, |i, j| if i <= j { side[(i, j)] } else { 0.0 })
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
