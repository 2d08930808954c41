//! Residual addition fused with the next normalization, and what the write did to the stream.

pub mod autograd;
pub mod cpu;
mod forms;
#[cfg(feature = "cuda")]
pub mod gpu;

use candle_core::Tensor;

pub use forms::{Norm, WriteStats};

use crate::Stats;
use crate::error::{Result, shape_error};
use crate::tensor::{expect_dims, matrix, read_as, scratch, wrap};

/// Result of [`forward`]: also what [`backward`] needs.
pub struct AddNorm {
    /// The stream after the write `[N, d]`.
    pub h: Tensor,
    /// Normalized stream `[N, d]`, gain and bias applied.
    pub x: Tensor,
    /// Per-token mean (zero for RMSNorm) and reciprocal deviation, `[2, N]`.
    pub mean_rstd: Vec<f32>,
    /// Statistics of the write, when asked for and when there was one.
    pub stats: Option<WriteStats>,
}

/// A normalization and its parameters.
#[derive(Debug, Clone, Copy)]
pub struct NormParams<'a> {
    /// Which one.
    pub kind: Norm,
    /// Added to the variance before its root.
    pub eps: f32,
    /// `[d]`.
    pub gain: &'a Tensor,
    /// `[d]`, or none.
    pub bias: Option<&'a Tensor>,
}

/// `h' = h + w; x = Norm(h') * gain + bias`.
///
/// # Shapes
/// `h [N, d]`, `write [N, d]` or none (then `h' = h`).
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn forward(
    NormParams { kind, eps, gain, bias }: NormParams<'_>,
    h: &Tensor,
    write: Option<&Tensor>,
    stats: Stats,
) -> Result<AddNorm> {
    const OP: &str = "add_norm";
    let (n, d) = matrix(OP, "h", h)?;
    expect_dims(OP, "gain", gain, &[d])?;
    write.map_or(Ok(()), |w| expect_dims(OP, "write", w, &[n, d]))?;
    bias.map_or(Ok(()), |b| expect_dims(OP, "bias", b, &[d]))?;
    let (hs, gs) = (read_as(OP, "h", h)?, read_as(OP, "gain", gain)?);
    let ws = write.map(|w| read_as(OP, "write", w)).transpose()?;
    let bs = bias.map(|b| read_as(OP, "bias", b)).transpose()?;
    let mut x = scratch(n * d);
    let mut mean_rstd = vec![0f32; 2 * n];
    let args = cpu::Forward { kind, eps, d, gain: &gs, bias: bs.as_deref(), stats };
    let Some(ws) = ws else {
        cpu::forward_plain(&args, &hs, &mut x, &mut mean_rstd);
        return Ok(AddNorm { h: h.clone(), x: wrap(x, (n, d))?, mean_rstd, stats: None });
    };
    let mut out = scratch(n * d);
    let stats = cpu::forward_add(&args, &hs, &ws, &mut out, &mut x, &mut mean_rstd);
    Ok(AddNorm { h: wrap(out, (n, d))?, x: wrap(x, (n, d))?, mean_rstd, stats })
}

/// Gradients of [`forward`].
pub struct AddNormGrads {
    /// Gradient with respect to `h'`, hence to both `h` and the write `[N, d]`.
    pub h: Tensor,
    /// `[d]`.
    pub gain: Tensor,
    /// `[d]`, for an arm with biases.
    pub bias: Option<Tensor>,
}

/// Backward: `dh = d_residual + J_norm^T dx`.
///
/// # Shapes
/// `dx [N, d]`; `d_residual [N, d]` is the gradient that reaches `h'` past this norm (none at the top).
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn backward(
    NormParams { kind, gain, bias, .. }: NormParams<'_>,
    saved: &AddNorm,
    dx: &Tensor,
    d_residual: Option<&Tensor>,
) -> Result<AddNormGrads> {
    const OP: &str = "add_norm backward";
    let (n, d) = matrix(OP, "saved.h", &saved.h)?;
    expect_dims(OP, "gain", gain, &[d])?;
    expect_dims(OP, "dx", dx, &[n, d])?;
    d_residual.map_or(Ok(()), |r| expect_dims(OP, "d_residual", r, &[n, d]))?;
    if saved.mean_rstd.len() != 2 * n {
        return Err(shape_error(OP, "saved.mean_rstd", &[saved.mean_rstd.len()], format!("[2 * {n}]")));
    }
    let (hs, gs, dxs) =
        (read_as(OP, "saved.h", &saved.h)?, read_as(OP, "gain", gain)?, read_as(OP, "dx", dx)?);
    let res = d_residual.map(|r| read_as(OP, "d_residual", r)).transpose()?;
    let mut dh = scratch(n * d);
    let (mut dgain, mut dbias) = (vec![0f32; d], bias.map(|_| vec![0f32; d]));
    let args = cpu::Backward {
        kind,
        h: &hs,
        mean_rstd: &saved.mean_rstd,
        gain: &gs,
        dx: &dxs,
        residual: res.as_deref(),
    };
    cpu::backward(&args, &mut dh, &mut dgain, dbias.as_deref_mut());
    Ok(AddNormGrads {
        h: wrap(dh, (n, d))?,
        gain: wrap(dgain, d)?,
        bias: dbias.map(|b| wrap(b, d)).transpose()?,
    })
}
