//! Feed-forward activations, gated and ungated.

pub mod cpu;
mod forms;
#[cfg(feature = "cuda")]
pub mod gpu;

use candle_core::Tensor;

pub use forms::Activation;

use crate::error::{Result, shape_error};
use crate::tensor::{expect_dims, matrix, read_as, scratch, wrap};

/// Second moments of the hidden activations.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HiddenStats {
    /// Mean square over tokens and hidden units.
    pub hidden_ms: f64,
    /// Mean over hidden units of the squared token mean: the token-shared part of `hidden_ms`.
    pub hidden_common: f64,
}

impl HiddenStats {
    /// From the sum of squares over `tokens` tokens and `width` hidden units, and the squared norm of the token mean.
    pub fn finish(tokens: usize, width: usize, squares: f64, common: f64) -> Self {
        Self { hidden_ms: squares / (tokens * width) as f64, hidden_common: common / width as f64 }
    }
}

/// Forward.
///
/// # Shapes
/// `up [N, f]`, or `[N, 2 f]` when gated (gate block first); returns `[N, f]`.
///
/// # Errors
/// An odd width for a gated form, or storage that is not contiguous float32.
pub fn forward(act: Activation, up: &Tensor, stats: bool) -> Result<(Tensor, Option<HiddenStats>)> {
    let (n, f) = dims("activation", act, up)?;
    let u = read_as("activation", "up", up)?;
    let mut a = scratch(n * f);
    let stats = cpu::forward(act, f, &u, &mut a, stats);
    Ok((wrap(a, (n, f))?, stats))
}

/// Backward: `dL/d up`, the shape of `up`.
///
/// # Errors
/// As [`forward`], or `d_out` of another shape.
pub fn backward(act: Activation, up: &Tensor, d_out: &Tensor) -> Result<Tensor> {
    const OP: &str = "activation backward";
    let (n, f) = dims(OP, act, up)?;
    expect_dims(OP, "d_out", d_out, &[n, f])?;
    let (u, d) = (read_as(OP, "up", up)?, read_as(OP, "d_out", d_out)?);
    let mut du = scratch(u.len());
    cpu::backward(act, f, &u, &d, &mut du);
    wrap(du, up.shape().clone())
}

fn dims(op: &'static str, act: Activation, up: &Tensor) -> Result<(usize, usize)> {
    let (n, w) = matrix(op, "up", up)?;
    if act.gated() && w % 2 != 0 {
        return Err(shape_error(op, "up", up.dims(), "[N, 2 f] for a gated form".into()));
    }
    Ok((n, if act.gated() { w / 2 } else { w }))
}
