//! Optional RMS normalization of queries and keys, head by head, before the rotation.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;

use candle_core::Tensor;

use crate::attention::Shape;
use crate::error::{Result, shape_error};
use crate::tensor::{expect_dims, read_as, scratch, wrap};

const EPS: f32 = 1e-6;

/// Result of [`forward`].
pub struct QkNorm {
    /// `[N, 3 D]`: normalized queries and keys, values as they were.
    pub qkv: Tensor,
    /// Reciprocal RMS per (token, q|k, head), `[N, 2 H]`.
    rrms: Vec<f32>,
}

/// `q <- q / rms(q) * q_gain`, likewise k.
///
/// # Shapes
/// `qkv [N, 3 D]`, `q_gain [d_h]`, `k_gain [d_h]`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn forward(shape: Shape, qkv: &Tensor, q_gain: &Tensor, k_gain: &Tensor) -> Result<QkNorm> {
    const OP: &str = "qk_norm";
    check(OP, shape, qkv, q_gain, k_gain)?;
    let (n, width) = (shape.tokens(), shape.width());
    let (x, qg) = (read_as(OP, "qkv", qkv)?, read_as(OP, "q_gain", q_gain)?);
    let kg = read_as(OP, "k_gain", k_gain)?;
    let mut y = scratch(x.len());
    let mut rrms = vec![0f32; n * 2 * shape.heads];
    cpu::forward(shape, &x, [&qg, &kg], &mut y, &mut rrms);
    Ok(QkNorm { qkv: wrap(y, (n, 3 * width))?, rrms })
}

/// Backward: `(d qkv [N, 3 D], d q_gain [d_h], d k_gain [d_h])`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn backward(
    shape: Shape,
    qkv: &Tensor,
    saved: &QkNorm,
    q_gain: &Tensor,
    k_gain: &Tensor,
    d: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    const OP: &str = "qk_norm backward";
    check(OP, shape, qkv, q_gain, k_gain)?;
    let (n, dh, width) = (shape.tokens(), shape.head_dim, shape.width());
    expect_dims(OP, "d", d, &[n, 3 * width])?;
    if saved.rrms.len() != 2 * n * shape.heads {
        return Err(shape_error(OP, "saved", &[saved.rrms.len()], format!("[{n} * 2 * {}]", shape.heads)));
    }
    let (x, g) = (read_as(OP, "qkv", qkv)?, read_as(OP, "d", d)?);
    let (qg, kg) = (read_as(OP, "q_gain", q_gain)?, read_as(OP, "k_gain", k_gain)?);
    let mut dx = scratch(x.len());
    let (mut dqg, mut dkg) = (vec![0f32; dh], vec![0f32; dh]);
    cpu::backward(shape, &x, &saved.rrms, [&qg, &kg], &g, &mut dx, [&mut dqg, &mut dkg]);
    Ok((wrap(dx, (n, 3 * width))?, wrap(dqg, dh)?, wrap(dkg, dh)?))
}

fn check(op: &'static str, shape: Shape, qkv: &Tensor, q_gain: &Tensor, k_gain: &Tensor) -> Result<()> {
    shape.check(op)?;
    expect_dims(op, "qkv", qkv, &[shape.tokens(), 3 * shape.width()])?;
    expect_dims(op, "q_gain", q_gain, &[shape.head_dim])?;
    expect_dims(op, "k_gain", k_gain, &[shape.head_dim])
}
