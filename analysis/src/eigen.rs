//! Largest eigenvalues that may be used in bounds.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::tridiag::{tridiag_in_place, tridiag_in_place_scratch};
use faer::{Mat, MatRef, Par};

use crate::error::{AnalysisError, Result, shape};
use crate::linear::gram;

/// An upper bound on the largest eigenvalue of a symmetric positive semidefinite matrix, tight to
/// rounding; only its lower half is read. Zero for an empty matrix, never below zero.
///
/// Power or Lanczos iteration approaches from below and would break the bounds that the value
/// enters. Here the matrix is brought to tridiagonal form, and bisection keeps the smallest x for
/// which `x - T` still has only positive pivots: every eigenvalue lies below it. Reflections and
/// pivots err by at most a small multiple of `n eps |A|`, which is added.
///
/// # Errors
/// [`AnalysisError::Shape`] when the matrix is not square, and [`AnalysisError::Decomposition`] when
/// its values are not finite or overflow.
pub fn lambda_max(m: MatRef<'_, f64>) -> Result<f64> {
    let n = m.nrows();
    if m.ncols() != n {
        return Err(shape("symmetric matrix", format!("{n} x {n}"), format!("{n} x {}", m.ncols())));
    }
    let (diagonal, off) = tridiagonal(m);
    // Gershgorin from above, the diagonal from below.
    let reach = |i: usize| {
        let side = |j: Option<usize>| j.and_then(|j| off.get(j)).map_or(0.0, |b| b.abs());
        diagonal[i] + side(i.checked_sub(1)) + side(Some(i))
    };
    let mut high = (0..n).map(reach).fold(0.0, largest);
    let mut low = diagonal.iter().copied().fold(0.0, largest);
    if !high.is_finite() {
        return Err(AnalysisError::Decomposition {
            what: format!("largest eigenvalue of a {n} x {n} matrix"),
        });
    }
    while high - low > f64::EPSILON * high {
        let middle = low + 0.5 * (high - low);
        if middle <= low || middle >= high {
            break;
        }
        if all_below(&diagonal, &off, middle) { high = middle } else { low = middle }
    }
    Ok(high * (1.0 + 8.0 * (n as f64 + 1.0) * f64::EPSILON))
}

/// Maximum that lets NaN through.
fn largest(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

/// Whether every eigenvalue of a symmetric tridiagonal matrix is below x.
fn all_below(diagonal: &[f64], off: &[f64], x: f64) -> bool {
    let mut pivot = x - diagonal[0];
    for (a, b) in diagonal[1..].iter().zip(off) {
        if pivot <= 0.0 {
            return false;
        }
        pivot = (x - a) - b * b / pivot;
    }
    pivot > 0.0
}

/// Diagonal and off-diagonal of the tridiagonal form.
fn tridiagonal(m: MatRef<'_, f64>) -> (Vec<f64>, Vec<f64>) {
    let n = m.nrows();
    let mut t = m.to_owned();
    if n > 1 {
        // Reflections are stored in blocks of this many; their vectors are not needed afterwards.
        let mut reflections = Mat::zeros(32.min(n - 1), n - 1);
        let mut memory = MemBuffer::new(tridiag_in_place_scratch::<f64>(n, Par::Seq, Default::default()));
        tridiag_in_place(
            t.as_mut(),
            reflections.as_mut(),
            Par::Seq,
            MemStack::new(&mut memory),
            Default::default(),
        );
    }
    ((0..n).map(|i| t[(i, i)]).collect(), (1..n).map(|i| t[(i, i - 1)]).collect())
}

/// [`lambda_max`] of `X^T X`, through whichever of `X^T X` and `X X^T` is smaller.
///
/// # Errors
/// As [`lambda_max`].
pub fn lambda_max_of_gram(x: &Mat<f64>) -> Result<f64> {
    let product = if x.nrows() < x.ncols() { gram(x.transpose()) } else { gram(x.as_ref()) };
    lambda_max(product.as_ref())
}
