//! Moments: traces, squares, what repeated squaring needs, and their way to the host.

use super::{doubles, ints, launch};
use crate::error::{Result, shape_error};
use crate::gpu::{Arg, Elem, Grid, Slice};

/// Parts of a matrix's sum, which the reader adds in order.
pub const PARTS: usize = 32;

fn matrices(op: &'static str, a: Slice<'_>, size: usize) -> Result<usize> {
    let count = a.len().checked_div(size).unwrap_or(0);
    if count == 0 {
        return Err(shape_error(op, "matrices", &[a.len()], format!("at least one of {size} elements")));
    }
    doubles(op, "matrices", a, count * size)?;
    Ok(count)
}

/// `|A_m|_F^2` of matrices of `size` elements: `sums [matrices][PARTS]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn squares(a: Slice<'_>, size: usize, sums: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_squares";
    let count = matrices(OP, a, size)?;
    doubles(OP, "sums", sums, count * PARTS)?;
    let args = [a.into(), sums.into(), Arg::Address(size as u64)];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, a, Grid::new([PARTS, count, 1], 256), &[&args]) }
}

/// Traces over the first `rows` rows of matrices `[side, side]`: `sums [matrices][PARTS]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn traces(a: Slice<'_>, side: usize, rows: usize, sums: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_trace";
    let count = matrices(OP, a, side * side)?;
    doubles(OP, "sums", sums, count * PARTS)?;
    let numbers = ints(OP, [side, rows.min(side)])?;
    // SAFETY: lengths checked above.
    unsafe { launch(OP, a, Grid::new([count, 1, 1], 256), &[&[a.into(), sums.into()], &numbers]) }
}

/// `to[m] = from[m]` over the sum of its parts; a zero matrix stays zero. In place where both are the same.
///
/// # Errors
/// Lengths that do not fit.
pub fn normalise(from: Slice<'_>, to: Slice<'_>, size: usize, sums: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_normalise";
    let count = matrices(OP, from, size)?;
    doubles(OP, "to", to, from.len())?;
    doubles(OP, "sums", sums, count * PARTS)?;
    let args = [from.into(), to.into(), sums.into(), Arg::Address(size as u64)];
    let blocks = size.div_ceil(1024).clamp(1, 256);
    // SAFETY: lengths checked above.
    unsafe { launch(OP, from, Grid::new([blocks, count, 1], 256), &[&args]) }
}

/// The lower triangle of the first `rows` rows of `a [side, side]` as float32, row after row.
///
/// # Errors
/// Lengths that do not fit.
pub fn triangle(a: Slice<'_>, side: usize, rows: usize, out: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_triangle";
    doubles(OP, "matrix", a, side * side)?;
    out.check(OP, "out", Elem::F32, rows * (rows + 1) / 2)?;
    if rows == 0 || rows > side {
        return Err(shape_error(OP, "rows", &[rows], format!("1 to {side}")));
    }
    let numbers = ints(OP, [side])?;
    // SAFETY: lengths checked above.
    unsafe { launch(OP, a, Grid::new([rows, 1, 1], 128), &[&[a.into(), out.into()], &numbers]) }
}

/// Parts of the sum of squares of float32 numbers: not finite where one of them is not. `sums [PARTS]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn sum_squares(x: Slice<'_>, sums: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_finite";
    x.check(OP, "x", Elem::F32, x.len())?;
    doubles(OP, "sums", sums, PARTS)?;
    let args = [x.into(), sums.into(), Arg::Address(x.len() as u64)];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, x, Grid::new([PARTS, 1, 1], 256), &[&args]) }
}
