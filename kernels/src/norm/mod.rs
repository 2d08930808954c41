//! Residual addition fused with the next normalization, and what the write did to the stream.

mod cpu;

use candle_core::Tensor;

use crate::error::{Result, shape_error};
use crate::tensor::{read, scratch, wrap};

/// Which normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Subtract the mean, divide by the standard deviation.
    LayerNorm,
    /// Divide by the root mean square.
    RmsNorm,
}

/// Means over tokens of what one sub-block wrote into the residual stream.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WriteStats {
    /// `mean |w|^2` per token.
    pub energy: f64,
    /// `|token mean of w|^2`: the energy that all tokens share.
    pub common: f64,
    /// `mean <w, h_before>`.
    pub dot: f64,
    /// `mean |h_before|^2`.
    pub h2_before: f64,
    /// `mean |h_after|^2`.
    pub h2_after: f64,
}

/// Result of [`forward`]: also what [`backward`] needs.
pub struct AddNorm {
    /// The stream after the write `[N, d]`.
    pub h: Tensor,
    /// Normalized stream `[N, d]`, gain and bias applied.
    pub x: Tensor,
    /// Per-token mean (zero for RMSNorm) and reciprocal deviation, `[2, N]`.
    pub moments: Vec<f32>,
    /// Statistics of the write, when asked for and when there was one.
    pub stats: Option<WriteStats>,
}

/// `h' = h + w; x = Norm(h') * gain + bias`.
///
/// # Shapes
/// `h [N, d]`, `write [N, d]` or none (then `h' = h`), `gain [d]`, `bias [d]` or none.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn forward(
    kind: NormKind,
    eps: f32,
    h: &Tensor,
    write: Option<&Tensor>,
    gain: &Tensor,
    bias: Option<&Tensor>,
    stats: bool,
) -> Result<AddNorm> {
    let (n, d) = h.dims2()?;
    check(n, d, write, gain, bias)?;
    let (hs, gs) = (read(h)?, read(gain)?);
    let ws = write.map(read).transpose()?;
    let bs = bias.map(read).transpose()?;
    let mut x = scratch(n * d);
    let mut moments = vec![0f32; 2 * n];
    let args = cpu::Forward { kind, eps, d, gain: &gs, bias: bs.as_deref(), stats };
    let Some(ws) = ws else {
        cpu::forward_plain(&args, &hs, &mut x, &mut moments);
        return Ok(AddNorm { h: h.clone(), x: wrap(x, (n, d))?, moments, stats: None });
    };
    let mut out = scratch(n * d);
    let stats = cpu::forward_add(&args, &hs, &ws, &mut out, &mut x, &mut moments);
    Ok(AddNorm { h: wrap(out, (n, d))?, x: wrap(x, (n, d))?, moments, stats })
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
    kind: NormKind,
    saved: &AddNorm,
    gain: &Tensor,
    dx: &Tensor,
    d_residual: Option<&Tensor>,
    bias: bool,
) -> Result<AddNormGrads> {
    let (n, d) = saved.h.dims2()?;
    for (what, t) in [("dx", Some(dx)), ("d_residual", d_residual)] {
        if let Some(t) = t.filter(|t| t.dims() != [n, d]) {
            return Err(shape_error("add_norm backward", what, t.dims(), format!("[{n}, {d}]")));
        }
    }
    let (hs, gs, dxs) = (read(&saved.h)?, read(gain)?, read(dx)?);
    let res = d_residual.map(read).transpose()?;
    let mut dh = scratch(n * d);
    let (dgain, dbias) = cpu::backward(kind, d, &hs, &saved.moments, &gs, &dxs, res.as_deref(), &mut dh);
    Ok(AddNormGrads {
        h: wrap(dh, (n, d))?,
        gain: wrap(dgain, d)?,
        bias: if bias { Some(wrap(dbias, d)?) } else { None },
    })
}

fn check(n: usize, d: usize, write: Option<&Tensor>, gain: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    if let Some(w) = write.filter(|w| w.dims() != [n, d]) {
        return Err(shape_error("add_norm", "write", w.dims(), format!("[{n}, {d}]")));
    }
    for (what, t) in [("gain", Some(gain)), ("bias", bias)] {
        if let Some(t) = t.filter(|t| t.dims() != [d]) {
            return Err(shape_error("add_norm", what, t.dims(), format!("[{d}]")));
        }
    }
    Ok(())
}
