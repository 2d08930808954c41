//! `y = x W^T + b` and its backward, as plain matrix products without transposed copies.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;

use candle_core::Tensor;

use crate::error::{Result, shape_error};
use crate::tensor::{expect_dims, matrix, read_as, scratch, wrap};

/// Forward.
///
/// # Shapes
/// `x [N, in]`, `weight [out, in]`, `bias [out]` or none; returns `[N, out]`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn forward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    const OP: &str = "linear";
    let (n, k, out) = dims(OP, x, weight)?;
    let mut y = scratch(n * out);
    let (xs, ws) = (read_as(OP, "x", x)?, read_as(OP, "weight", weight)?);
    let bias = match bias {
        Some(b) => {
            expect_dims(OP, "bias", b, &[out])?;
            Some(read_as(OP, "bias", b)?)
        }
        None => None,
    };
    cpu::forward(&mut y, &xs, &ws, bias.as_deref(), k, out);
    wrap(y, (n, out))
}

/// Gradients of [`forward`].
pub struct LinearGrads {
    /// `dL/dx [N, in]`.
    pub x: Tensor,
    /// `dL/dW [out, in]`.
    pub weight: Tensor,
    /// `dL/db [out]`, where there is a bias.
    pub bias: Option<Tensor>,
}

/// Backward: `dx = dy W`, `dW = dy^T x`, `db = column sums of dy`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn backward(dy: &Tensor, x: &Tensor, weight: &Tensor, bias: bool) -> Result<LinearGrads> {
    const OP: &str = "linear backward";
    let (n, k, out) = dims(OP, x, weight)?;
    expect_dims(OP, "dy", dy, &[n, out])?;
    let (dys, xs, ws) = (read_as(OP, "dy", dy)?, read_as(OP, "x", x)?, read_as(OP, "weight", weight)?);
    let (mut dx, mut dw) = (scratch(n * k), scratch(out * k));
    let mut db = bias.then(|| vec![0f32; out]);
    cpu::backward(&mut dx, &mut dw, db.as_deref_mut(), &dys, &xs, &ws, k, out);
    let bias = db.map(|b| wrap(b, out)).transpose()?;
    Ok(LinearGrads { x: wrap(dx, (n, k))?, weight: wrap(dw, (out, k))?, bias })
}

fn dims(op: &'static str, x: &Tensor, weight: &Tensor) -> Result<(usize, usize, usize)> {
    let (n, k) = matrix(op, "x", x)?;
    let (out, wk) = matrix(op, "weight", weight)?;
    if wk != k {
        return Err(shape_error(op, "weight", weight.dims(), format!("[out, {k}]")));
    }
    Ok((n, k, out))
}
