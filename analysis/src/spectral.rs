//! The offline view: spectra and balance of attention heads, from checkpoint weights alone.
//!
//! `M_h = W_Q W_K^T / sqrt(d_h)` is `d x d` of rank at most d_h. With thin factorizations
//! `W_Q = Q_1 R_1`, `W_K = Q_2 R_2`, its non-zero singular values are those of the `d_h x d_h` core
//! `R_1 R_2^T / sqrt(d_h)`.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::solvers::Qr;
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Mat, MatRef, Par};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{AnalysisError, Result, shape};
use crate::layer::finite;
use crate::linear::{gram, mul, square_norm};

/// Heads of a checkpoint's attention layer; query heads share key heads in groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadLayout {
    /// Query heads.
    pub heads: usize,
    /// Key heads; query head h uses key head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Width of a head, d_h.
    pub head_dim: usize,
}

/// Spectrum of one head's logit matrix `M_h`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadSpectrum {
    /// Singular values in falling order; at most d_h of them.
    pub singular_values: Vec<f64>,
    /// Largest singular value.
    pub spectral_norm: f64,
    /// `|M|_F`.
    pub frobenius_norm: f64,
    /// `|M|_F^2 / |M|_2^2`; NaN for a zero head.
    pub stable_rank: f64,
    /// `exp` of the entropy of the normalised singular values; NaN for a zero head.
    pub entropy_rank: f64,
    /// Participation ratio `(sum s^2)^2 / sum s^4`; NaN for a zero head.
    pub participation_rank: f64,
}

/// Balance of one key head's group, between two checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BalanceChange {
    /// `|B|_F` at the earlier checkpoint.
    pub before: f64,
    /// `|B|_F` at the later checkpoint.
    pub after: f64,
    /// `|B' - B|_F`.
    pub change: f64,
    /// `|B' - B|_F` over `sum |W_Q^T W_Q|_F + |W_K^T W_K|_F` at the earlier checkpoint. Gradient flow
    /// without RoPE keeps B (2.2); what moves it is the optimizer, the step size and decay.
    pub relative: f64,
}

impl HeadLayout {
    /// Query heads to a key head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn check(&self, wq: &Mat<f64>, wk: &Mat<f64>) -> Result<()> {
        let Self { heads, kv_heads, head_dim } = *self;
        if heads == 0 || kv_heads == 0 || head_dim == 0 || heads % kv_heads != 0 {
            return Err(AnalysisError::Geometry(format!(
                "heads = {heads}, kv_heads = {kv_heads}, head_dim = {head_dim}: all must be >= 1 and \
                 kv_heads must divide heads"
            )));
        }
        for (name, w, columns) in [("wq", wq, heads * head_dim), ("wk", wk, kv_heads * head_dim)] {
            if w.ncols() != columns || w.nrows() != wq.nrows() || w.nrows() == 0 {
                return Err(shape(
                    name,
                    format!("{} x {columns}", wq.nrows().max(1)),
                    format!("{} x {}", w.nrows(), w.ncols()),
                ));
            }
            finite(name, w)?;
        }
        Ok(())
    }

    fn columns<'a>(&self, w: &'a Mat<f64>, head: usize) -> MatRef<'a, f64> {
        w.subcols(head * self.head_dim, self.head_dim)
    }
}

/// Spectra of all query heads. `wq`: `d x (heads*d_h)`, `wk`: `d x (kv_heads*d_h)`, biases as a last
/// row if wanted. Cost `O(H d d_h^2)`.
///
/// # Errors
/// [`AnalysisError::Geometry`], [`AnalysisError::Shape`], [`AnalysisError::NotFinite`],
/// [`AnalysisError::Decomposition`].
pub fn head_spectra(wq: &Mat<f64>, wk: &Mat<f64>, layout: &HeadLayout) -> Result<Vec<HeadSpectrum>> {
    layout.check(wq, wk)?;
    let triangle = |w: MatRef<'_, f64>| Qr::new(w).thin_R().to_owned();
    let keys: Vec<Mat<f64>> =
        (0..layout.kv_heads).into_par_iter().map(|h| triangle(layout.columns(wk, h))).collect();
    (0..layout.heads)
        .into_par_iter()
        .map(|h| {
            let query = triangle(layout.columns(wq, h));
            let mut core = mul(query.as_ref(), keys[h / layout.group()].transpose());
            core *= faer::Scale(1.0 / (layout.head_dim as f64).sqrt());
            Ok(HeadSpectrum::new(singular_values(core.as_ref())?))
        })
        .collect()
}

impl HeadSpectrum {
    /// Summaries of singular values in falling order.
    pub fn new(singular_values: Vec<f64>) -> Self {
        let top = singular_values.first().copied().unwrap_or(0.0);
        let sum: f64 = singular_values.iter().sum();
        // Relative to the largest, so that fourth powers neither overflow nor vanish.
        let relative: Vec<f64> = singular_values.iter().map(|s| s / top).collect();
        let (s2, s4) = relative.iter().fold((0.0, 0.0), |(a, b), s| (a + s * s, b + s.powi(4)));
        let entropy: f64 =
            singular_values.iter().map(|s| s / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
        Self {
            spectral_norm: top,
            frobenius_norm: if top > 0.0 { top * s2.sqrt() } else { 0.0 },
            stable_rank: s2,
            entropy_rank: if sum > 0.0 { entropy.exp() } else { f64::NAN },
            participation_rank: s2 * s2 / s4,
            singular_values,
        }
    }
}

/// Singular values in falling order.
///
/// # Errors
/// [`AnalysisError::Decomposition`] when the solver does not converge.
pub fn singular_values(m: MatRef<'_, f64>) -> Result<Vec<f64>> {
    let (rows, cols) = m.shape();
    let mut values = Diag::<f64>::zeros(rows.min(cols));
    let none = ComputeSvdVectors::No;
    let mut memory = MemBuffer::new(svd_scratch::<f64>(rows, cols, none, none, Par::Seq, Default::default()));
    svd(m, values.as_mut(), None, None, Par::Seq, MemStack::new(&mut memory), Default::default()).map_err(
        |_| AnalysisError::Decomposition { what: format!("singular values of a {rows} x {cols} core") },
    )?;
    Ok(values.column_vector().iter().copied().collect())
}

/// Balance matrices `sum_h W_Q^T W_Q - W_K^T W_K` (`d_h x d_h`), one a key head, the sum over the
/// query heads of its group. Without RoPE, gradient flow conserves them (2.2).
///
/// # Errors
/// As [`head_spectra`], decompositions aside.
pub fn balance(wq: &Mat<f64>, wk: &Mat<f64>, layout: &HeadLayout) -> Result<Vec<Mat<f64>>> {
    layout.check(wq, wk)?;
    Ok((0..layout.kv_heads)
        .into_par_iter()
        .map(|kv| {
            let mut b = -gram(layout.columns(wk, kv));
            for h in kv * layout.group()..(kv + 1) * layout.group() {
                b += gram(layout.columns(wq, h));
            }
            b
        })
        .collect())
}

/// Change of balance between two checkpoints, one entry a key head.
///
/// # Errors
/// As [`balance`], for both checkpoints; [`AnalysisError::Shape`] when their widths differ.
pub fn balance_change(
    before: (&Mat<f64>, &Mat<f64>),
    after: (&Mat<f64>, &Mat<f64>),
    layout: &HeadLayout,
) -> Result<Vec<BalanceChange>> {
    let old = balance(before.0, before.1, layout)?;
    let new = balance(after.0, after.1, layout)?;
    if before.0.nrows() != after.0.nrows() {
        return Err(shape("later wq", format!("{} rows", before.0.nrows()), after.0.nrows()));
    }
    let norm = |m: &Mat<f64>| square_norm(m.as_ref()).sqrt();
    Ok(old
        .iter()
        .zip(&new)
        .enumerate()
        .map(|(kv, (old, new))| {
            let queries = kv * layout.group()..(kv + 1) * layout.group();
            let size = queries.map(|h| norm(&gram(layout.columns(before.0, h)))).sum::<f64>()
                + norm(&gram(layout.columns(before.1, kv)));
            let change = norm(&(new - old));
            BalanceChange { before: norm(old), after: norm(new), change, relative: change / size }
        })
        .collect())
}
