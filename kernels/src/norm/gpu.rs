//! On a device: see the parent module for the mathematics.

use super::Norm;
use crate::error::{Error, Result, shape_error};
use crate::gpu::reduce::{float, partial_blocks};
use crate::gpu::{Arg, Elem, Grid, Slice, int};

/// Widest row that one block holds in registers.
const MAX_WIDTH: usize = 8192;
/// Widest row that one warp holds in registers, eight columns a lane at a time.
const MAX_WARP_WIDTH: usize = 1024;

/// Warps of a block whose warps take a row each.
const FORWARD_WARPS: usize = 8;
const BACKWARD_WARPS: usize = 4;

/// What [`forward`] reads and writes, `[N, d]` unless said otherwise.
#[derive(Clone, Copy)]
pub struct Forward<'a> {
    /// The stream before the write.
    pub h: Slice<'a>,
    /// The write; none: the stream stays.
    pub write: Option<Slice<'a>>,
    /// Bias of the projection that made the write, `[d]`, float32: added to it first.
    pub write_bias: Option<Slice<'a>>,
    /// `[d]`, float32.
    pub gain: Slice<'a>,
    /// `[d]`, float32.
    pub bias: Option<Slice<'a>>,
    /// The stream after the write; none: not stored.
    pub out: Option<Slice<'a>>,
    /// Normalized stream.
    pub x: Slice<'a>,
    /// Per-token mean and reciprocal deviation, `[2, N]`, float32.
    pub mean_rstd: Slice<'a>,
    /// `[P, 4]`: sums of `|w|^2`, `<w, h>`, `|h|^2`, `|h'|^2`; P is the number of blocks launched.
    pub energy: Slice<'a>,
    /// `[P, d]`: column sums of the write; none: not wanted.
    pub columns: Option<Slice<'a>>,
}

/// `h' = h + w; x = Norm(h') * gain + bias`, with partial statistics.
///
/// # Errors
/// A width that is no multiple of four or above 8192, or slices of other lengths or types.
pub fn forward(kind: Norm, eps: f32, a: &Forward<'_>) -> Result<()> {
    const OP: &str = "add_norm";
    let (n, d) = sizes(OP, a.h, a.gain)?;
    let (elem, gpu) = (a.h.elem(), a.h.gpu());
    for (what, s) in [("write", a.write), ("out", a.out), ("x", Some(a.x))] {
        s.map_or(Ok(()), |s| s.check(OP, what, elem, n * d))?;
    }
    a.bias.map_or(Ok(()), |b| b.check(OP, "bias", Elem::F32, d))?;
    a.write_bias.map_or(Ok(()), |b| b.check(OP, "write_bias", Elem::F32, d))?;
    a.mean_rstd.check(OP, "mean_rstd", Elem::F32, 2 * n)?;
    let blocks = partial_blocks(OP, a.energy, 4)?;
    a.columns.map_or(Ok(()), |c| c.check(OP, "columns", Elem::F32, blocks * d))?;
    let args = [
        a.h.into(),
        a.write.into(),
        a.write.and(a.write_bias).into(),
        a.gain.into(),
        a.bias.into(),
        a.out.into(),
        a.x.into(),
        a.mean_rstd.at(0, n)?.into(),
        a.mean_rstd.at(n, n)?.into(),
        a.energy.into(),
        a.columns.into(),
        int(OP, n)?.into(),
        int(OP, d)?.into(),
        Arg::Float(eps),
        code(kind),
    ];
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe { gpu.launch(&kernel("fwd", elem, d), grid(blocks, d, FORWARD_WARPS, 2 * elem.bytes()), &args) }
}

/// What [`backward`] reads and writes, `[N, d]` unless said otherwise.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    /// Gradient at the normalized stream.
    pub dx: Slice<'a>,
    /// Gradient that reaches the stream past this norm.
    pub d_residual: Option<Slice<'a>>,
    /// The stream after the write.
    pub h: Slice<'a>,
    /// As the forward left them, `[2, N]`.
    pub mean_rstd: Slice<'a>,
    /// `[d]`, float32.
    pub gain: Slice<'a>,
    /// Gradient at the stream.
    pub dh: Slice<'a>,
    /// `[P, d]`: partial gain gradients; P is the number of blocks launched.
    pub d_gain: Slice<'a>,
    /// `[P, d]`: partial bias gradients.
    pub d_bias: Option<Slice<'a>>,
    /// `[P, d]`: partial column sums of `dh`, the gradient of a bias in the write, where the kernel [`sums_columns`]; none: not
    /// wanted.
    pub d_write: Option<Slice<'a>>,
}

/// `dh = d_residual + J_norm^T dx`.
///
/// # Errors
/// As [`forward`].
pub fn backward(kind: Norm, a: &Backward<'_>) -> Result<()> {
    const OP: &str = "add_norm backward";
    let (n, d) = sizes(OP, a.h, a.gain)?;
    let (elem, gpu) = (a.h.elem(), a.h.gpu());
    for (what, s) in [("dx", Some(a.dx)), ("d_residual", a.d_residual), ("dh", Some(a.dh))] {
        s.map_or(Ok(()), |s| s.check(OP, what, elem, n * d))?;
    }
    a.mean_rstd.check(OP, "mean_rstd", Elem::F32, 2 * n)?;
    let blocks = partial_blocks(OP, a.d_gain, d)?;
    for (what, s) in [("d_bias", a.d_bias), ("d_write", a.d_write)] {
        s.map_or(Ok(()), |s| s.check(OP, what, Elem::F32, blocks * d))?;
    }
    if a.d_write.is_some() && !sums_columns(d) {
        let message = format!("column sums beside a backward of rows of {d}");
        return Err(Error::Unsupported { op: OP, message });
    }
    let write = [a.d_write.into()];
    let first = [
        a.dx.into(),
        a.d_residual.into(),
        a.h.into(),
        a.mean_rstd.at(0, n)?.into(),
        a.mean_rstd.at(n, n)?.into(),
        a.gain.into(),
        a.dh.into(),
        a.d_gain.into(),
        a.d_bias.into(),
    ];
    let last = [int(OP, n)?.into(), int(OP, d)?.into(), code(kind)];
    let args = [&first[..], if sums_columns(d) { &write } else { &[] }, &last].concat();
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe { gpu.launch(&kernel("bwd", elem, d), grid(blocks, d, BACKWARD_WARPS, 3 * elem.bytes()), &args) }
}

fn code(kind: Norm) -> Arg {
    Arg::Int(match kind {
        Norm::LayerNorm => 0,
        Norm::RmsNorm => 1,
    })
}

/// Whether the backward of rows of this width can add up the columns of `dh`.
pub fn sums_columns(d: usize) -> bool {
    by_warps(d)
}

/// Whether a warp takes a row; otherwise a block does.
fn by_warps(d: usize) -> bool {
    d.is_multiple_of(8) && d <= MAX_WARP_WIDTH
}

fn kernel(direction: &str, elem: Elem, d: usize) -> String {
    if by_warps(d) {
        return format!("add_norm_{direction}_w{}_{}", d.next_multiple_of(256), elem.suffix());
    }
    format!("add_norm_{direction}_{}", elem.suffix())
}

/// `warps`: of a block whose warps take a row each, which hold `held` bytes of a column in shared memory.
fn grid(blocks: usize, d: usize, warps: usize, held: usize) -> Grid {
    if by_warps(d) {
        return Grid::new([blocks, 1, 1], 32 * warps).with_shared(warps * held * d);
    }
    Grid::new([blocks, 1, 1], d.div_ceil(8).next_multiple_of(32))
}

fn sizes(op: &'static str, h: Slice<'_>, gain: Slice<'_>) -> Result<(usize, usize)> {
    let d = gain.len();
    gain.check(op, "gain", Elem::F32, d)?;
    float(op, h)?;
    if d == 0 || !d.is_multiple_of(4) || d > MAX_WIDTH {
        return Err(Error::Unsupported {
            op,
            message: format!("a width of {d} on a device: it takes multiples of 4 up to {MAX_WIDTH}"),
        });
    }
    if h.len() == 0 || !h.len().is_multiple_of(d) {
        return Err(shape_error(op, "h", &[h.len()], format!("[N, {d}]")));
    }
    Ok((h.len() / d, d))
}
