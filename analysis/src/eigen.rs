//! Largest eigenvalues that may be used in bounds.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{Mat, MatRef, Par};

use crate::error::{AnalysisError, Result};
use crate::linear::gram;

/// All eigenvalues of a symmetric matrix in rising order; only its lower half is read.
///
/// # Errors
/// [`AnalysisError::Decomposition`] when the solver does not converge, and
/// [`AnalysisError::Shape`] when the matrix is not square.
pub fn symmetric_eigenvalues(m: MatRef<'_, f64>) -> Result<Vec<f64>> {
    let n = m.nrows();
    if m.ncols() != n {
        return Err(crate::error::shape(
            "symmetric matrix",
            format!("{n} x {n}"),
            format!("{n} x {}", m.ncols()),
        ));
    }
    let mut values = Diag::<f64>::zeros(n);
    let mut memory = MemBuffer::new(self_adjoint_evd_scratch::<f64>(
        n,
        ComputeEigenvectors::No,
        Par::Seq,
        Default::default(),
    ));
    self_adjoint_evd(m, values.as_mut(), None, Par::Seq, MemStack::new(&mut memory), Default::default())
        .map_err(|_| AnalysisError::Decomposition { what: format!("eigenvalues of a {n} x {n} matrix") })?;
    Ok(values.column_vector().iter().copied().collect())
}

/// An upper bound on the largest eigenvalue of a symmetric positive semidefinite matrix, tight to
/// rounding.
///
/// A full solver is used, since power or Lanczos iteration approaches from below and would break
/// the bounds it enters. The solver's backward error is at most a small multiple of `n eps |A|`,
/// which is added, so the value stays on the safe side; it is never below zero.
///
/// # Errors
/// As [`symmetric_eigenvalues`].
pub fn lambda_max(m: MatRef<'_, f64>) -> Result<f64> {
    let top = symmetric_eigenvalues(m)?.last().copied().unwrap_or(0.0).max(0.0);
    Ok(top * (1.0 + 8.0 * (m.nrows() as f64 + 1.0) * f64::EPSILON))
}

/// [`lambda_max`] of `X^T X`, through whichever of `X^T X` and `X X^T` is smaller.
///
/// # Errors
/// As [`symmetric_eigenvalues`].
pub fn lambda_max_of_gram(x: &Mat<f64>) -> Result<f64> {
    let product = if x.nrows() < x.ncols() { gram(x.transpose()) } else { gram(x.as_ref()) };
    lambda_max(product.as_ref())
}
