//! Logits to sums over causal pairs, and the tight bound.

use super::{Sizes, doubles, ints, launch};
use crate::error::{Result, shape_error};
use crate::gpu::{Grid, Slice};

/// Numbers that a row, and a head's total, takes.
pub const ROW_VALUES: usize = 16;

/// Query rows of one sequence whose logits are at hand.
#[derive(Debug, Clone, Copy)]
pub struct RowBlock {
    /// The sequence.
    pub sequence: usize,
    /// First row.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
}

impl RowBlock {
    /// Keys that any row sees: the width of the block's logits.
    pub fn keys(&self) -> usize {
        self.first + self.rows
    }
}

/// Rows of attention at all eight corners: `logits [8][H][rows, keys]`, `out [H][n][ROW_VALUES]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn corner_rows(sizes: &Sizes, logits: Slice<'_>, out: Slice<'_>, block: RowBlock) -> Result<()> {
    const OP: &str = "probe_corner_rows";
    if block.sequence >= sizes.sequences || block.rows == 0 || block.keys() > sizes.length {
        return Err(shape_error(
            OP,
            "block",
            &[block.sequence, block.first, block.rows],
            format!("{sizes:?}"),
        ));
    }
    doubles(OP, "logits", logits, 8 * sizes.heads * block.rows * block.keys())?;
    doubles(OP, "out", out, sizes.heads * sizes.tokens() * ROW_VALUES)?;
    let start = block.sequence * sizes.length;
    let numbers = ints(OP, [sizes.tokens(), start, block.first, block.keys()])?;
    let grid = Grid::new([block.rows, sizes.heads, 1], 128);
    // SAFETY: lengths checked above.
    unsafe { launch(OP, logits, grid, &[&[logits.into(), out.into()], &numbers]) }
}

/// Rows to totals of the heads: `out [H][ROW_VALUES]`: squares of the eight corners, turning, weights, entropy over rows of two
/// keys and more, over rows of eight and more, top-1, largest logit.
///
/// # Errors
/// Lengths that do not fit.
pub fn row_totals(sizes: &Sizes, rows: Slice<'_>, out: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_row_totals";
    doubles(OP, "rows", rows, sizes.heads * sizes.tokens() * ROW_VALUES)?;
    doubles(OP, "out", out, sizes.heads * ROW_VALUES)?;
    let numbers = ints(OP, [sizes.tokens(), sizes.length])?;
    // SAFETY: lengths checked above.
    unsafe { launch(OP, rows, Grid::new([sizes.heads, 1, 1], 256), &[&[rows.into(), out.into()], &numbers]) }
}

/// Blocks of rows that grow by half, up to `length`.
pub fn growing_blocks(length: usize) -> usize {
    let (mut first, mut blocks) = (0usize, 0);
    while first < length {
        first = (first + first.div_ceil(2)).clamp(first + 1, length);
        blocks += 1;
    }
    blocks
}

/// Tiles of a head's `[2 d_h, 2 d_h]` matrix.
pub fn tiles(sizes: &Sizes) -> usize {
    (2 * sizes.head_dim).div_ceil(64).pow(2)
}

/// The tight bound's parts, `out [H][S][blocks][tiles]`, from rotated projections of the start `[n, 4 D]`; `a` and `b`, room
/// for `[H][n][2 d_h]` each.
///
/// # Errors
/// Lengths that do not fit.
pub fn tight(
    sizes: &Sizes,
    projected: Slice<'_>,
    (a, b): (Slice<'_>, Slice<'_>),
    out: Slice<'_>,
) -> Result<()> {
    const OP: &str = "probe_tight";
    let (n, t, c) = (sizes.tokens(), sizes.length, 2 * sizes.head_dim);
    doubles(OP, "projected", projected, sizes.projected())?;
    for (what, s) in [("a", a), ("b", b)] {
        doubles(OP, what, s, sizes.projected() / 2)?;
    }
    let (blocks, tiles) = (growing_blocks(t), tiles(sizes));
    doubles(OP, "out", out, sizes.heads * sizes.sequences * blocks * tiles)?;
    let rows = ints(OP, [n, sizes.columns(), sizes.head_dim])?;
    let centred = ints(OP, [t, c])?;
    let last = ints(OP, [t, c, blocks])?;
    let both = sizes.heads * sizes.sequences;
    // SAFETY: lengths checked above; three launches over the same arrays, in stream order.
    unsafe {
        let args = [projected.into(), a.into(), b.into()];
        launch("probe_tight_rows", projected, Grid::new([n, 1, 1], 256), &[&args, &rows])?;
        launch("probe_centre", b, Grid::new([c.div_ceil(64), both, 1], 64), &[&[b.into()], &centred])?;
        launch(OP, a, Grid::new([tiles, both, 1], 256), &[&[a.into(), b.into(), out.into()], &last])
    }
}
