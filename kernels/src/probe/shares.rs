//! Gradients of a layer's input to inner products with the writes that it is the sum of.

use super::{Sizes, doubles, ints, launch};
use crate::error::{Result, shape_error};
use crate::gpu::{Arg, Elem, Grid, Slice};

/// Elements of a block of [`write_dots`].
const ELEMENTS: usize = 1024;

/// The derivative by the stream that a norm reads: `g [n, padded]`, `gain [d]`, `rstd [n]`, `out [n, d]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn through(
    sizes: &Sizes,
    g: Slice<'_>,
    (gain, rstd): (Slice<'_>, Slice<'_>),
    centred: bool,
    out: Slice<'_>,
) -> Result<()> {
    const OP: &str = "probe_through";
    doubles(OP, "gradient", g, sizes.input())?;
    doubles(OP, "out", out, sizes.tokens() * sizes.width)?;
    gain.check(OP, "gain", Elem::F32, sizes.width)?;
    rstd.check(OP, "rstd", Elem::F32, sizes.tokens())?;
    let numbers = ints(OP, [sizes.width, sizes.padded, usize::from(centred)])?;
    let args = [g.into(), gain.into(), rstd.into(), out.into()];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, g, Grid::new([sizes.tokens(), 1, 1], 256), &[&args, &numbers]) }
}

/// Gradients by the stream, `[n, d]` each: the energy's and the drift's through the norm of the start, the drift's through the
/// end's.
#[derive(Debug, Clone, Copy)]
pub struct StreamGradients<'a> {
    /// Of the energy, at the start.
    pub energy: Slice<'a>,
    /// Of the drift, at the start.
    pub drift_before: Slice<'a>,
    /// Of the drift, at the end.
    pub drift_after: Slice<'a>,
}

/// Blocks of [`write_dots`] over `len` elements.
pub fn blocks(len: usize) -> usize {
    len.div_ceil(ELEMENTS)
}

/// Inner products of writes: `before`, `after [K][n, d]` float32, `stream [n, d]`; `partials [blocks][K][4]`, to be added by
/// [`totals`].
///
/// # Errors
/// Lengths that do not fit.
pub fn write_dots(
    g: StreamGradients<'_>,
    stream: Slice<'_>,
    (before, after): (Slice<'_>, Slice<'_>),
    partials: Slice<'_>,
) -> Result<()> {
    const OP: &str = "probe_write_dots";
    let len = stream.len();
    stream.check(OP, "stream", Elem::F32, len)?;
    if len == 0 || before.len() == 0 || !before.len().is_multiple_of(len) {
        return Err(shape_error(OP, "writes", &[before.len()], format!("[K, {len}]")));
    }
    let writes = before.len() / len;
    for (what, s) in [("earlier writes", before), ("later writes", after)] {
        s.check(OP, what, Elem::F32, writes * len)?;
    }
    for (what, s) in [("energy", g.energy), ("drift before", g.drift_before), ("drift after", g.drift_after)]
    {
        doubles(OP, what, s, len)?;
    }
    doubles(OP, "partials", partials, blocks(len) * writes * 4)?;
    let args = [
        g.energy.into(),
        g.drift_before.into(),
        g.drift_after.into(),
        stream.into(),
        before.into(),
        after.into(),
        partials.into(),
        Arg::Address(len as u64),
    ];
    let numbers = ints(OP, [writes])?;
    // SAFETY: lengths checked above.
    unsafe { launch(OP, stream, Grid::new([blocks(len), 1, 1], 256), &[&args, &numbers]) }
}

/// Inner products of whole inputs `[n, padded]` with the gradients by them, and the square of the stream: `partials [P][4]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn input_dots(
    sizes: &Sizes,
    (energy, drift): (Slice<'_>, Slice<'_>),
    (before, after): (Slice<'_>, Slice<'_>),
    stream: Slice<'_>,
    partials: Slice<'_>,
) -> Result<()> {
    const OP: &str = "probe_input_dots";
    for (what, s) in [("energy", energy), ("drift", drift), ("before", before), ("after", after)] {
        doubles(OP, what, s, sizes.input())?;
    }
    stream.check(OP, "stream", Elem::F32, sizes.tokens() * sizes.width)?;
    let rows = partials.len() / 4;
    doubles(OP, "partials", partials, 4 * rows.max(1))?;
    let args = [
        energy.into(),
        drift.into(),
        before.into(),
        after.into(),
        stream.into(),
        partials.into(),
        Arg::Address(sizes.input() as u64),
        Arg::Address(stream.len() as u64),
    ];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, energy, Grid::new([rows, 1, 1], 256), &[&args]) }
}

/// `out[c]` = sum over p of `partials[p, c]`.
///
/// # Errors
/// Lengths that do not divide.
pub fn totals(partials: Slice<'_>, out: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_totals";
    let columns = out.len();
    if columns == 0 || partials.len() == 0 || !partials.len().is_multiple_of(columns) {
        return Err(shape_error(OP, "partials", &[partials.len()], format!("[P, {columns}]")));
    }
    doubles(OP, "partials", partials, partials.len())?;
    doubles(OP, "out", out, columns)?;
    let numbers = ints(OP, [partials.len() / columns, columns])?;
    let grid = Grid::flat([columns.div_ceil(32), 1, 1], [32, 8]);
    // SAFETY: lengths checked above.
    unsafe { launch(OP, partials, grid, &[&[partials.into(), out.into()], &numbers]) }
}
