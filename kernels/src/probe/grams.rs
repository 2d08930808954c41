//! Gram matrices of heads, `[2 d_h, 2 d_h]`: midpoint and step beside each other, at the start, at the end and with both
//! moments the identity.

use super::{Sizes, double, doubles, ints, launch};
use crate::error::{Result, shape_error};
use crate::gpu::{Grid, Slice};

/// Numbers that [`inners`] leaves of a head.
pub const INNERS: usize = 20;

/// What rotation averages over, as tables `[4][d_h / 2, d_h / 2]`: see `growthpath_analysis::reduced`.
#[derive(Debug, Clone, Copy)]
pub struct RopeTables<'a> {
    /// Average over offsets.
    pub average: Slice<'a>,
    /// Scatter of the turned mean keys.
    pub scatter: Slice<'a>,
}

impl RopeTables<'_> {
    fn check(&self, op: &'static str, sizes: &Sizes) -> Result<()> {
        if !sizes.head_dim.is_multiple_of(2) {
            return Err(shape_error(op, "head width", &[sizes.head_dim], "an even width".into()));
        }
        doubles(op, "average", self.average, sizes.gram() / 4)?;
        doubles(op, "scatter", self.scatter, sizes.gram() / 4)
    }
}

/// Average the key side of `grams [3][2][H]` over rotations, in place, and add the mean keys' `of_means [2][H]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn average(sizes: &Sizes, grams: Slice<'_>, of_means: Slice<'_>, tables: RopeTables<'_>) -> Result<()> {
    const OP: &str = "probe_average";
    doubles(OP, "grams", grams, 6 * sizes.heads * sizes.gram())?;
    doubles(OP, "of means", of_means, 2 * sizes.heads * sizes.gram())?;
    tables.check(OP, sizes)?;
    let args = [grams.into(), of_means.into(), tables.average.into(), tables.scatter.into()];
    let numbers = ints(OP, [sizes.head_dim])?;
    // SAFETY: lengths checked above.
    unsafe { launch(OP, grams, Grid::new([sizes.heads, 3, 1], 256), &[&args, &numbers]) }
}

/// The transpose of the averages applied to `from [H]`: to `rows` and to `means`.
///
/// # Errors
/// Lengths that do not fit.
pub fn average_adjoint(
    sizes: &Sizes,
    from: Slice<'_>,
    (rows, means): (Slice<'_>, Slice<'_>),
    tables: RopeTables<'_>,
) -> Result<()> {
    const OP: &str = "probe_average_adjoint";
    for (what, s) in [("from", from), ("rows", rows), ("means", means)] {
        doubles(OP, what, s, sizes.heads * sizes.gram())?;
    }
    tables.check(OP, sizes)?;
    let args = [from.into(), rows.into(), means.into(), tables.average.into(), tables.scatter.into()];
    let numbers = ints(OP, [sizes.head_dim])?;
    // SAFETY: lengths checked above.
    unsafe { launch(OP, from, Grid::new([sizes.heads, 1, 1], 256), &[&args, &numbers]) }
}

/// Inner products of query blocks with key blocks and traces, `out [3][H][INNERS]`.
///
/// # Errors
/// Lengths that do not fit.
pub fn inners(sizes: &Sizes, grams: Slice<'_>, out: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_inners";
    doubles(OP, "grams", grams, 6 * sizes.heads * sizes.gram())?;
    doubles(OP, "out", out, 3 * sizes.heads * INNERS)?;
    let args = [grams.into(), out.into()];
    let numbers = ints(OP, [sizes.head_dim])?;
    // SAFETY: lengths checked above.
    unsafe { launch(OP, grams, Grid::new([sizes.heads, 3, 1], 256), &[&args, &numbers]) }
}

/// What key planes at the start are multiplied by for the energy's derivative, `out [H]`; times `alpha`.
///
/// # Errors
/// Lengths that do not fit.
pub fn pull_energy(sizes: &Sizes, grams: Slice<'_>, out: Slice<'_>, alpha: f64) -> Result<()> {
    const OP: &str = "probe_pull_energy";
    doubles(OP, "grams", grams, 6 * sizes.heads * sizes.gram())?;
    doubles(OP, "out", out, sizes.heads * sizes.gram())?;
    let args = [grams.into(), out.into(), double(alpha)];
    let numbers = ints(OP, [sizes.head_dim])?;
    // SAFETY: lengths checked above.
    unsafe { launch(OP, grams, Grid::new([sizes.heads, 1, 1], 256), &[&args, &numbers]) }
}

/// What planes averaged over both ends are multiplied by for the drift's derivative, `out [2][H]`; `alpha [H][2]`, for the old
/// and the new weights.
///
/// # Errors
/// Lengths that do not fit.
pub fn pull_drift(sizes: &Sizes, grams: Slice<'_>, alpha: Slice<'_>, out: Slice<'_>) -> Result<()> {
    const OP: &str = "probe_pull_drift";
    doubles(OP, "grams", grams, 6 * sizes.heads * sizes.gram())?;
    doubles(OP, "alpha", alpha, 2 * sizes.heads)?;
    doubles(OP, "out", out, 2 * sizes.heads * sizes.gram())?;
    let args = [grams.into(), alpha.into(), out.into()];
    let numbers = ints(OP, [sizes.head_dim])?;
    // SAFETY: lengths checked above.
    unsafe { launch(OP, grams, Grid::new([sizes.heads, 2, 1], 256), &[&args, &numbers]) }
}
