//! On a device: see the parent module for the mathematics.

use super::EPS;
use crate::attention::Shape;
use crate::error::Result;
use crate::gpu::reduce::{float, partial_blocks};
use crate::gpu::{Arg, Elem, Grid, Slice, int};

/// Vectors that one block takes at a time.
const VECTORS: usize = 8;

fn check(
    op: &'static str,
    shape: Shape,
    qkv: Slice<'_>,
    gains: [Slice<'_>; 2],
    rrms: Slice<'_>,
) -> Result<()> {
    shape.check(op)?;
    crate::attention::gpu::supported(shape.head_dim)?;
    float(op, qkv)?;
    qkv.check(op, "qkv", qkv.elem(), 3 * shape.tokens() * shape.width())?;
    gains.iter().try_for_each(|g| g.check(op, "gain", Elem::F32, shape.head_dim))?;
    rrms.check(op, "rrms", Elem::F32, 2 * shape.tokens() * shape.heads)
}

/// Forward.
///
/// # Shapes
/// `qkv`, `out` `[N, 3 D]`; `gains [d_h]` of queries and keys, `rrms [N, 2, H]`, float32.
///
/// # Errors
/// A head width without kernels, or slices of other lengths or types.
pub fn forward(
    shape: Shape,
    qkv: Slice<'_>,
    gains: [Slice<'_>; 2],
    out: Slice<'_>,
    rrms: Slice<'_>,
) -> Result<()> {
    const OP: &str = "qk_norm";
    check(OP, shape, qkv, gains, rrms)?;
    out.check(OP, "out", qkv.elem(), qkv.len())?;
    let gpu = qkv.gpu();
    let blocks = (3 * shape.tokens() * shape.heads).div_ceil(VECTORS).clamp(1, 16 * gpu.processors());
    let args = [
        qkv.into(),
        gains[0].into(),
        gains[1].into(),
        out.into(),
        rrms.into(),
        int(OP, shape.tokens())?.into(),
        int(OP, shape.heads)?.into(),
        int(OP, shape.head_dim)?.into(),
        Arg::Float(EPS),
    ];
    let kernel = format!("qk_norm_fwd_{}", qkv.elem().suffix());
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe { gpu.launch(&kernel, Grid::new([blocks, 1, 1], 256), &args) }
}

/// Backward: the gradient at the raw projection, and partial gain gradients `[P, 2, d_h]` (queries, keys); P is the
/// number of blocks launched.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    shape: Shape,
    (qkv, rrms): (Slice<'_>, Slice<'_>),
    gains: [Slice<'_>; 2],
    d_out: Slice<'_>,
    d_qkv: Slice<'_>,
    d_gain: Slice<'_>,
) -> Result<()> {
    const OP: &str = "qk_norm backward";
    check(OP, shape, qkv, gains, rrms)?;
    d_out.check(OP, "d_out", qkv.elem(), qkv.len())?;
    d_qkv.check(OP, "d_qkv", qkv.elem(), qkv.len())?;
    let blocks = partial_blocks(OP, d_gain, 2 * shape.head_dim)?;
    let args = [
        d_out.into(),
        qkv.into(),
        rrms.into(),
        gains[0].into(),
        gains[1].into(),
        d_qkv.into(),
        d_gain.into(),
        int(OP, shape.tokens())?.into(),
        int(OP, shape.heads)?.into(),
        int(OP, shape.head_dim)?.into(),
    ];
    let kernel = format!("qk_norm_bwd_{}", qkv.elem().suffix());
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe { qkv.gpu().launch(&kernel, Grid::new([blocks, 1, 1], 256), &args) }
}
