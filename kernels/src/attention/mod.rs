//! Causal multi-head attention with the statistics of its logits.
//!
//! No `T x T` matrix outlives a block of query rows: the backward recomputes probabilities from the saved
//! log-sum-exp.

pub mod autograd;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;
mod head;
mod row;
mod shape;
mod tile;
#[cfg(feature = "cuda")]
pub mod tiles;
mod transpose;
mod uniform;

use candle_core::Tensor;

use crate::Stats;
use crate::error::{Error, Result, shape_error};
use crate::rope::Rope;
use crate::tensor::{expect_dims, read_as, scratch, wrap};

pub use growthpath_statistics::logits::{self as accumulators, LogitGradStats, LogitStats};
pub use shape::Shape;
pub use uniform::average;

/// Result of [`forward`].
pub struct Attention {
    /// Heads side by side, `[N, D]`.
    pub out: Tensor,
    /// Log-sum-exp of each row, `[B, H, T]`, for the backward.
    pub lse: Vec<f32>,
    /// One entry a head, when asked for.
    pub stats: Option<Vec<LogitStats>>,
}

/// Attention over a packed projection.
///
/// # Shapes
/// `qkv [N, 3 D]`: the query, key and value blocks side by side, biases included.
///
/// # Errors
/// Shapes that do not fit, an odd head width with rotary positions, storage that is not contiguous float32.
pub fn forward(shape: Shape, qkv: &Tensor, rope: Option<&Rope>, stats: Stats) -> Result<Attention> {
    const OP: &str = "attention";
    check(OP, shape, qkv, rope)?;
    let x = read_as(OP, "qkv", qkv)?;
    let mut out = scratch(shape.tokens() * shape.width());
    let mut lse = vec![0f32; shape.batch * shape.heads * shape.seq_len];
    let stats = cpu::forward(shape, &x, rope, &mut out, &mut lse, stats);
    Ok(Attention { out: wrap(out, (shape.tokens(), shape.width()))?, lse, stats })
}

/// Backward of [`forward`]: `dqkv [N, 3 D]` and the logit-gradient statistics of each head.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    shape: Shape,
    qkv: &Tensor,
    saved: &Attention,
    rope: Option<&Rope>,
    d_out: &Tensor,
) -> Result<(Tensor, Vec<LogitGradStats>)> {
    const OP: &str = "attention backward";
    check(OP, shape, qkv, rope)?;
    let out = [shape.tokens(), shape.width()];
    expect_dims(OP, "d_out", d_out, &out)?;
    expect_dims(OP, "saved.out", &saved.out, &out)?;
    let rows = shape.tokens() * shape.heads;
    if saved.lse.len() != rows {
        return Err(shape_error(OP, "saved.lse", &[saved.lse.len()], format!("[{rows}]")));
    }
    let x = read_as(OP, "qkv", qkv)?;
    let (o, d) = (read_as(OP, "saved.out", &saved.out)?, read_as(OP, "d_out", d_out)?);
    let mut dqkv = scratch(shape.tokens() * 3 * shape.width());
    let stats = cpu::backward(shape, cpu::Saved { qkv: &x, out: &o, lse: &saved.lse, rope }, &d, &mut dqkv);
    Ok((wrap(dqkv, (shape.tokens(), 3 * shape.width()))?, stats))
}

fn check(op: &'static str, shape: Shape, qkv: &Tensor, rope: Option<&Rope>) -> Result<()> {
    shape.check(op)?;
    expect_dims(op, "qkv", qkv, &[shape.tokens(), 3 * shape.width()])?;
    if let Some(r) = rope
        && (2 * r.half != shape.head_dim || r.cos.len().min(r.sin.len()) < shape.seq_len * r.half)
    {
        return Err(Error::Unsupported {
            op,
            message: format!(
                "rotary tables of {} planes and {} positions for head width {} and length {}",
                r.half,
                r.cos.len() / r.half.max(1),
                shape.head_dim,
                shape.seq_len
            ),
        });
    }
    Ok(())
}
