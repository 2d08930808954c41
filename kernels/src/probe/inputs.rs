//! Attention inputs and weights to the factors of the metric, and gradients back.

use super::{Sizes, double, doubles, ints, launch};
use crate::error::{Result, shape_error};
use crate::gpu::{Arg, Elem, Grid, Slice};

/// Where rows of a projection stand among old and new ones: runs of `group` rows, `slots` of them interleaved.
#[derive(Debug, Clone, Copy)]
pub struct Interleaved {
    /// Rows of a run.
    pub group: usize,
    /// Runs that take turns.
    pub slots: usize,
    /// The turn of these.
    pub slot: usize,
}

/// What the column past the features holds.
#[derive(Debug, Clone, Copy)]
pub enum Edge<'a> {
    /// The same everywhere.
    Constant(f64),
    /// One value a row, float32.
    Rows(Slice<'a>),
}

/// Rows of float32 to float64, with an edge column and zeros up to `padded`.
///
/// # Shapes
/// `from [rows, width]`, `out [rows of all slots, padded]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn widen(
    sizes: &Sizes,
    from: Slice<'_>,
    edge: Edge<'_>,
    out: Slice<'_>,
    place: Interleaved,
) -> Result<()> {
    const OP: &str = "probe_widen";
    let Interleaved { group, slots, slot } = place;
    let rows = from.len() / sizes.width;
    from.check(OP, "from", Elem::F32, rows * sizes.width)?;
    if rows == 0 || group == 0 || !rows.is_multiple_of(group) || slot >= slots {
        return Err(shape_error(OP, "from", &[rows], format!("runs of {group}, one of {slots} slots")));
    }
    doubles(OP, "out", out, rows * slots * sizes.padded)?;
    let (last, constant) = match edge {
        Edge::Constant(v) => (Arg::NULL, v),
        Edge::Rows(s) => {
            s.check(OP, "edge", Elem::F32, rows)?;
            (s.into(), 0.0)
        }
    };
    let sizes = ints(OP, [sizes.width, sizes.padded, group, slots, slot])?;
    let args = [from.into(), last, out.into(), double(constant)];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, from, Grid::new([rows, 1, 1], 256), &[&args, &sizes]) }
}

/// Turn queries and keys of both ends by their positions.
///
/// # Shapes
/// `from`, `out [2 n, 4 D]`; `cos`, `sin [T, d_h / 2]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn rotate(
    sizes: &Sizes,
    from: Slice<'_>,
    out: Slice<'_>,
    (cos, sin): (Slice<'_>, Slice<'_>),
) -> Result<()> {
    const OP: &str = "probe_rotate";
    for (what, s) in [("from", from), ("out", out)] {
        doubles(OP, what, s, 2 * sizes.projected())?;
    }
    for (what, s) in [("cosines", cos), ("sines", sin)] {
        doubles(OP, what, s, sizes.length * (sizes.head_dim / 2))?;
    }
    let numbers = ints(OP, [sizes.length, 4 * sizes.columns(), sizes.head_dim])?;
    let args = [from.into(), out.into(), cos.into(), sin.into()];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, from, Grid::new([2 * sizes.tokens(), 1, 1], 256), &[&args, &numbers]) }
}

/// Columns of a matrix.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// Elements from one row to the next.
    pub pitch: usize,
    /// First column.
    pub first: usize,
    /// Number of columns.
    pub count: usize,
}

/// `to = scale[position] * from` for columns of `n` rows; in place where both are the same.
///
/// # Errors
/// Lengths that do not fit.
pub fn scale_rows(sizes: &Sizes, from: Slice<'_>, to: Slice<'_>, scale: Slice<'_>, c: Columns) -> Result<()> {
    const OP: &str = "probe_scale_rows";
    within(OP, c)?;
    for (what, s) in [("from", from), ("to", to)] {
        doubles(OP, what, s, sizes.tokens() * c.pitch)?;
    }
    doubles(OP, "scale", scale, sizes.length)?;
    let numbers = ints(OP, [sizes.length, c.pitch, c.first, c.count])?;
    let args = [from.into(), to.into(), scale.into()];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, from, Grid::new([sizes.tokens(), 1, 1], 256), &[&args, &numbers]) }
}

fn within(op: &'static str, c: Columns) -> Result<()> {
    if c.count > 0 && c.first + c.count <= c.pitch {
        return Ok(());
    }
    Err(shape_error(op, "columns", &[c.first, c.count], format!("inside rows of {}", c.pitch)))
}

/// Query planes of both ends: `planes [2][2][H][n][2 d_h]`, of which this fills the query side.
///
/// # Errors
/// Lengths that do not fit.
pub fn query_planes(sizes: &Sizes, projected: Slice<'_>, planes: Slice<'_>, roots: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_query_planes";
    doubles(OP, "projected", projected, 2 * sizes.projected())?;
    doubles(OP, "planes", planes, 2 * sizes.projected())?;
    doubles(OP, "roots", roots, sizes.length)?;
    let numbers = ints(OP, [sizes.tokens(), sizes.length, sizes.columns(), sizes.head_dim])?;
    let args = [projected.into(), planes.into(), roots.into()];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, projected, Grid::new([2 * sizes.tokens(), 1, 1], 256), &[&args, &numbers]) }
}

/// Weights of keys in rotary arms.
#[derive(Debug, Clone, Copy)]
pub struct RopeWeights<'a> {
    /// Weight of each position, `[T]`.
    pub weights: Slice<'a>,
    /// Root of the weight times the factor of the sequence, `[T]`.
    pub roots: Slice<'a>,
    /// Sum of the weights.
    pub total: f64,
}

impl RopeWeights<'_> {
    fn check(&self, op: &'static str, sizes: &Sizes) -> Result<()> {
        doubles(op, "weights", self.weights, sizes.length)?;
        doubles(op, "roots", self.roots, sizes.length)
    }
}

/// Scales of innovations: `[T]` each.
#[derive(Debug, Clone, Copy)]
pub struct InnovationScales<'a> {
    /// Root of `w_j j / (j + 1)`.
    pub scale: Slice<'a>,
    /// `1 / (j + 1)`.
    pub inverse: Slice<'a>,
}

impl InnovationScales<'_> {
    fn check(&self, op: &'static str, sizes: &Sizes) -> Result<()> {
        doubles(op, "scale", self.scale, sizes.length)?;
        doubles(op, "inverse", self.inverse, sizes.length)
    }
}

fn column_grid(columns: usize, sequences: usize, ends: usize) -> Grid {
    Grid::new([columns.div_ceil(64), sequences, ends], 64)
}

/// Key planes of both ends: innovations.
///
/// # Errors
/// Lengths that do not fit.
pub fn key_planes(
    sizes: &Sizes,
    projected: Slice<'_>,
    planes: Slice<'_>,
    by: InnovationScales<'_>,
) -> Result<()> {
    const OP: &str = "probe_key_planes";
    doubles(OP, "projected", projected, 2 * sizes.projected())?;
    doubles(OP, "planes", planes, 2 * sizes.projected())?;
    by.check(OP, sizes)?;
    let numbers = ints(OP, [sizes.tokens(), sizes.length, sizes.columns(), sizes.head_dim])?;
    let args = [projected.into(), planes.into(), by.scale.into(), by.inverse.into()];
    let grid = column_grid(sizes.columns(), sizes.sequences, 2);
    // SAFETY: lengths checked above.
    unsafe { launch(OP, projected, grid, &[&args, &numbers]) }
}

/// Key planes of both ends in rotary arms, and the mean keys `means [2][H][S][2 d_h]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn key_planes_rope(
    sizes: &Sizes,
    projected: Slice<'_>,
    (planes, means): (Slice<'_>, Slice<'_>),
    by: RopeWeights<'_>,
) -> Result<()> {
    const OP: &str = "probe_key_planes_rope";
    doubles(OP, "projected", projected, 2 * sizes.projected())?;
    doubles(OP, "planes", planes, 2 * sizes.projected())?;
    doubles(OP, "means", means, 4 * sizes.columns() * sizes.sequences)?;
    by.check(OP, sizes)?;
    let numbers = ints(OP, [sizes.tokens(), sizes.length, sizes.columns(), sizes.head_dim])?;
    let args =
        [projected.into(), planes.into(), means.into(), by.weights.into(), by.roots.into(), double(by.total)];
    let grid = column_grid(sizes.columns(), sizes.sequences, 2);
    // SAFETY: lengths checked above.
    unsafe { launch(OP, projected, grid, &[&args, &numbers]) }
}

/// Innovations of inputs `[n, padded]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn innovations(sizes: &Sizes, from: Slice<'_>, to: Slice<'_>, by: InnovationScales<'_>) -> Result<()> {
    const OP: &str = "probe_innovations";
    for (what, s) in [("from", from), ("to", to)] {
        doubles(OP, what, s, sizes.input())?;
    }
    by.check(OP, sizes)?;
    let numbers = ints(OP, [sizes.length, sizes.padded])?;
    let args = [from.into(), to.into(), by.scale.into(), by.inverse.into()];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, from, column_grid(sizes.padded, sizes.sequences, 1), &[&args, &numbers]) }
}

/// Transpose of the innovations, in place, for columns of `n` rows.
///
/// # Errors
/// Lengths that do not fit.
pub fn key_adjoint(sizes: &Sizes, g: Slice<'_>, c: Columns, by: InnovationScales<'_>) -> Result<()> {
    const OP: &str = "probe_key_adjoint";
    within(OP, c)?;
    doubles(OP, "gradient", g, sizes.tokens() * c.pitch)?;
    by.check(OP, sizes)?;
    let numbers = ints(OP, [sizes.length, c.pitch, c.first, c.count])?;
    let args = [g.into(), by.scale.into(), by.inverse.into()];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, g, column_grid(c.count, sizes.sequences, 1), &[&args, &numbers]) }
}

/// The same in rotary arms; `means [H][S][2 d_h]`: what came back to the mean keys.
///
/// # Errors
/// Lengths that do not fit.
pub fn key_adjoint_rope(
    sizes: &Sizes,
    g: Slice<'_>,
    c: Columns,
    means: Slice<'_>,
    by: RopeWeights<'_>,
) -> Result<()> {
    const OP: &str = "probe_key_adjoint_rope";
    within(OP, c)?;
    doubles(OP, "gradient", g, sizes.tokens() * c.pitch)?;
    doubles(OP, "means", means, c.count * sizes.sequences)?;
    by.check(OP, sizes)?;
    let numbers = ints(OP, [sizes.length, c.pitch, c.first, c.count, 2 * sizes.head_dim])?;
    let args = [g.into(), means.into(), by.weights.into(), by.roots.into(), double(by.total)];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, g, column_grid(c.count, sizes.sequences, 1), &[&args, &numbers]) }
}

/// Midpoints and steps of interleaved old and new weights, `[4 D, padded]` both.
///
/// # Errors
/// Lengths that do not fit.
pub fn weight_planes(sizes: &Sizes, weights: Slice<'_>, planes: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_weight_planes";
    for (what, s) in [("weights", weights), ("planes", planes)] {
        doubles(OP, what, s, 4 * sizes.columns() * sizes.padded)?;
    }
    let numbers = ints(OP, [sizes.padded, sizes.head_dim])?;
    let args = [weights.into(), planes.into()];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, weights, Grid::new([2 * sizes.columns(), 1, 1], 256), &[&args, &numbers]) }
}

/// Mean of the two halves of `both`.
///
/// # Errors
/// Lengths that do not fit.
pub fn mean_of_halves(both: Slice<'_>, out: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_mean";
    doubles(OP, "both", both, 2 * out.len())?;
    doubles(OP, "out", out, out.len())?;
    let blocks = out.len().div_ceil(1024).clamp(1, 16 * out.gpu().processors());
    let args = [both.into(), out.into(), Arg::Address(out.len() as u64)];
    // SAFETY: lengths checked above.
    unsafe { launch(OP, both, Grid::new([blocks, 1, 1], 256), &[&args]) }
}
