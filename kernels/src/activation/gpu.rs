//! On a device: see the parent module for the mathematics.

use super::Activation;
use crate::error::{Result, shape_error};
use crate::gpu::reduce::{columns_a_block, float, partial_blocks};
use crate::gpu::{Arg, Elem, Grid, Slice, int};

/// Floats of energy that [`forward`] leaves for each partial row.
pub fn energy_width(f: usize) -> usize {
    f.div_ceil(columns_a_block(f))
}

fn sizes(op: &'static str, act: Activation, up: Slice<'_>, f: usize) -> Result<usize> {
    float(op, up)?;
    let width = if act.gated() { 2 * f } else { f };
    if f == 0 || !f.is_multiple_of(4) || up.len() == 0 || !up.len().is_multiple_of(width) {
        return Err(shape_error(op, "up", &[up.len()], format!("[N, {width}], f a multiple of 4")));
    }
    Ok(up.len() / width)
}

/// What goes into an activation.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Which one.
    pub act: Activation,
    /// Width f of what comes out.
    pub f: usize,
    /// `[N, f]`, or `[N, 2 f]` when gated (gate block first).
    pub up: Slice<'a>,
    /// Added to `up` first: of a row's width, float32.
    pub bias: Option<Slice<'a>>,
}

/// Forward.
///
/// # Shapes
/// `out [N, f]`; `columns [P, f]` gets partial column sums,
/// `energy [P, energy_width]` partial sums of squares, both float32; P is the number of partial rows, at most 65535.
///
/// # Errors
/// A width that is no multiple of four, or slices of other lengths or types.
pub fn forward(input: Input<'_>, out: Slice<'_>, energy: Slice<'_>, columns: Slice<'_>) -> Result<()> {
    const OP: &str = "activation";
    let Input { act, f, up, bias } = input;
    let n = sizes(OP, act, up, f)?;
    bias.map_or(Ok(()), |b| b.check(OP, "bias", Elem::F32, up.len() / n))?;
    out.check(OP, "out", up.elem(), n * f)?;
    let blocks = partial_blocks(OP, columns, f)?;
    energy.check(OP, "energy", Elem::F32, blocks * energy_width(f))?;
    let args = [
        up.into(),
        bias.into(),
        out.into(),
        energy.into(),
        columns.into(),
        int(OP, n)?.into(),
        int(OP, f)?.into(),
        Arg::Int(act.code()),
        Arg::Int(i32::from(act.gated())),
    ];
    let kernel = format!("activation_fwd_{}", up.elem().suffix());
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe { up.gpu().launch(&kernel, Grid::new([energy_width(f), blocks, 1], 128), &args) }
}

/// Backward.
///
/// # Shapes
/// `d_out [N, f]`; `d_up` as `input.up`; `columns [P, width of up]` gets partial column sums of
/// `d_up`, the bias gradient's first pass (none: not wanted).
///
/// # Errors
/// As [`forward`].
pub fn backward(
    input: Input<'_>,
    d_out: Slice<'_>,
    d_up: Slice<'_>,
    columns: Option<Slice<'_>>,
) -> Result<()> {
    const OP: &str = "activation backward";
    let Input { act, f, up, bias } = input;
    let n = sizes(OP, act, up, f)?;
    bias.map_or(Ok(()), |b| b.check(OP, "bias", Elem::F32, up.len() / n))?;
    d_out.check(OP, "d_out", up.elem(), n * f)?;
    d_up.check(OP, "d_up", up.elem(), up.len())?;
    let blocks = match columns {
        Some(c) => partial_blocks(OP, c, up.len() / n)?,
        None => crate::gpu::reduce::partial_rows(up.gpu(), n),
    };
    let args = [
        d_out.into(),
        up.into(),
        bias.into(),
        d_up.into(),
        columns.into(),
        int(OP, n)?.into(),
        int(OP, f)?.into(),
        Arg::Int(act.code()),
        Arg::Int(i32::from(act.gated())),
    ];
    let kernel = format!("activation_bwd_{}", up.elem().suffix());
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe { up.gpu().launch(&kernel, Grid::new([energy_width(f), blocks, 1], 128), &args) }
}
