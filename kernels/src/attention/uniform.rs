//! Attention replaced by the uniform causal average, head by head: the ablation behind "reliance".

use candle_core::Tensor;

use super::Shape;
use crate::error::{Error, Result};
use crate::tensor::{edit_from, expect_dims};

/// Overwrite the outputs of `heads` by the mean of the values that each query may see.
///
/// # Shapes
/// `qkv [N, 3 D]`, `out [N, D]` (changed in place).
///
/// # Errors
/// A head that does not exist, shapes that do not fit, storage that is not contiguous float32.
pub fn uniform(shape: Shape, qkv: &Tensor, out: &Tensor, heads: &[usize]) -> Result<()> {
    const OP: &str = "uniform";
    shape.check(OP)?;
    let width = shape.width();
    expect_dims(OP, "out", out, &[shape.tokens(), width])?;
    expect_dims(OP, "qkv", qkv, &[shape.tokens(), 3 * width])?;
    if let Some(h) = heads.iter().find(|h| **h >= shape.heads) {
        return Err(Error::Unsupported {
            op: OP,
            message: format!("no head {h}: there are {}", shape.heads),
        });
    }
    edit_from(OP, ("out", out), ("qkv", qkv), |o, x| average(shape, x, o, heads))
}

/// [`uniform`] over slices.
///
/// # Panics
/// Slices of other lengths, a head that does not exist.
pub fn average(shape: Shape, qkv: &[f32], out: &mut [f32], heads: &[usize]) {
    let (width, dh) = (shape.width(), shape.head_dim);
    let mut sum = vec![0f64; dh];
    for b in 0..shape.batch {
        for &h in heads {
            sum.fill(0.0);
            for t in 0..shape.seq_len {
                let token = b * shape.seq_len + t;
                let v = &qkv[token * 3 * width + 2 * width + h * dh..][..dh];
                let dst = &mut out[token * width + h * dh..][..dh];
                for ((s, v), d) in sum.iter_mut().zip(v).zip(dst) {
                    *s += f64::from(*v);
                    *d = (*s / (t + 1) as f64) as f32;
                }
            }
        }
    }
}
