//! Second passes: partial rows to totals, column sums, bias, rounding.

use bytemuck::{Pod, Zeroable};

use super::{Arg, Elem, Gpu, Grid, Slice, int};
use crate::error::{Error, Result, shape_error};

/// Rows of a gradient that one block of `column_sum` adds.
const ROWS_A_BLOCK: usize = 32;

/// Partial rows for sums over `rows` rows on this device: enough blocks to fill it, not more than there are rows.
pub fn partial_rows(gpu: &Gpu, rows: usize) -> usize {
    rows.min(8 * gpu.processors()).max(1)
}

/// Partial rows of [`column_sums`] over `rows` rows.
pub fn column_partials(gpu: &Gpu, rows: usize) -> usize {
    rows.div_ceil(ROWS_A_BLOCK).min(4 * gpu.processors()).max(1)
}

/// Partial rows of the activations over `rows` rows: twice as many blocks, which take longer.
pub fn activation_partials(gpu: &Gpu, rows: usize) -> usize {
    rows.div_ceil(ROWS_A_BLOCK).min(8 * gpu.processors()).max(1)
}

/// Partial rows of the norms over `rows` rows of `width`: as many blocks as are on the device at a time, three a
/// multiprocessor, of rows wider than 768 two.
pub fn norm_partials(gpu: &Gpu, rows: usize, width: usize) -> usize {
    let blocks = if width <= 768 { 3 } else { 2 };
    rows.div_ceil(16).min(blocks * gpu.processors()).max(1)
}

/// Columns that a block of 128 threads covers: eight a thread (sixteen bytes of bf16) where `columns` allows, else four.
pub(crate) fn columns_a_block(columns: usize) -> usize {
    if columns.is_multiple_of(8) { 1024 } else { 512 }
}

/// `out[s, c]` = sum over p of `partials[s, p, c]`, in float64 and in a fixed order; columns of `max_mask` (the first
/// 32 can be marked) take the largest value instead.
///
/// # Shapes
/// `partials [slices, P, C]`, `out [slices, C]`.
///
/// # Errors
/// Lengths that do not divide.
pub fn totals(
    partials: Slice<'_>,
    slices: usize,
    columns: usize,
    max_mask: u32,
    out: Slice<'_>,
) -> Result<()> {
    all_totals(&[Totals::of(partials, slices, columns, max_mask, out)])
}

/// One sum over partial rows: see [`totals`].
#[derive(Debug, Clone, Copy)]
pub struct Totals<'a> {
    /// `[slices, P, pitch]`.
    pub partials: Slice<'a>,
    /// Number of sums of each column.
    pub slices: usize,
    /// Columns of a partial row.
    pub pitch: usize,
    /// The first column that is added up.
    pub first: usize,
    /// Number of columns that are.
    pub columns: usize,
    /// Those that take the largest value instead.
    pub max_mask: u32,
    /// `[slices, columns]`.
    pub out: Slice<'a>,
}

/// Tasks of one launch, `REDUCE_TASKS` of reduce.cu.
const TASKS: usize = 32;
/// Columns of a block.
const COLUMNS_A_BLOCK: usize = 32;

/// `ReduceTask` of reduce.cu.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct DeviceTask {
    partials: u64,
    out: u64,
    rows: i32,
    columns: i32,
    pitch: i32,
    max_mask: u32,
}

/// `ReduceTasks` of reduce.cu, which checks its size: passed by value, so that a launch needs no table on the device.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct DeviceTasks {
    task: [DeviceTask; TASKS],
    first: [u32; TASKS],
}

impl<'a> Totals<'a> {
    /// Of whole rows.
    pub fn of(partials: Slice<'a>, slices: usize, columns: usize, max_mask: u32, out: Slice<'a>) -> Self {
        Self { partials, slices, pitch: columns, first: 0, columns, max_mask, out }
    }

    fn check(&self) -> Result<DeviceTask> {
        const OP: &str = "reduce_partials";
        let (t, len) = (self, self.partials.len());
        t.out.check(OP, "out", Elem::F32, t.slices * t.columns)?;
        let each = t.slices * t.pitch;
        if t.columns == 0 || each == 0 || len == 0 || !len.is_multiple_of(each) {
            return Err(shape_error(OP, "partials", &[len], format!("[{}, P, {}]", t.slices, t.pitch)));
        }
        let here = t.partials.at(0, t.pitch)?.at(t.first, t.columns)?;
        here.check(OP, "partials", Elem::F32, t.columns)?;
        Ok(DeviceTask {
            partials: here.address(),
            out: t.out.address(),
            rows: int(OP, len / each)?,
            columns: int(OP, t.columns)?,
            pitch: int(OP, t.pitch)?,
            max_mask: t.max_mask,
        })
    }

    fn blocks(&self) -> usize {
        self.slices * self.columns.div_ceil(COLUMNS_A_BLOCK)
    }
}

/// Several [`Totals`] in as few launches as there are thirty-two of them.
///
/// # Errors
/// Lengths that do not divide, or slices of two devices.
pub fn all_totals(all: &[Totals<'_>]) -> Result<()> {
    const OP: &str = "reduce_partials";
    for some in all.chunks(TASKS) {
        let mut tasks = DeviceTasks { task: [DeviceTask::zeroed(); TASKS], first: [u32::MAX; TASKS] };
        let (gpu, mut blocks) = (some[0].out.gpu(), 0);
        for (i, t) in some.iter().enumerate() {
            if !gpu.same(t.partials.gpu()) || !gpu.same(t.out.gpu()) {
                return Err(Error::Unsupported { op: OP, message: "slices of two devices".into() });
            }
            tasks.task[i] = t.check()?;
            tasks.first[i] = int(OP, blocks)? as u32;
            blocks += t.blocks();
        }
        let grid = Grid::flat([int(OP, blocks)? as usize, 1, 1], [32, 32]);
        // SAFETY: lengths checked for every task.
        unsafe { gpu.launch_struct("reduce_partials", grid, &tasks)? };
    }
    Ok(())
}

/// `out[r]` = sum of `(scale x[r, c])^2`.
///
/// # Shapes
/// `x [rows, C]`, `out [rows]`.
///
/// # Errors
/// Lengths that do not divide.
pub fn column_energy(x: Slice<'_>, scale: f32, out: Slice<'_>) -> Result<()> {
    const OP: &str = "column_energy";
    let rows = out.len();
    if rows == 0 || !x.len().is_multiple_of(rows) {
        return Err(shape_error(OP, "x", &[x.len()], format!("[{rows}, C]")));
    }
    x.check(OP, "x", Elem::F32, x.len())?;
    out.check(OP, "out", Elem::F32, rows)?;
    let args = [x.into(), out.into(), int(OP, x.len() / rows)?.into(), scale.into()];
    // SAFETY: lengths checked above.
    unsafe { x.gpu().launch("column_energy", Grid::new([rows, 1, 1], 256), &args) }
}

fn columns_of_four(op: &'static str, x: Slice<'_>, columns: usize) -> Result<usize> {
    if columns == 0 || !columns.is_multiple_of(4) || !x.len().is_multiple_of(columns) {
        return Err(shape_error(op, "x", &[x.len()], format!("[rows, {columns}], columns a multiple of 4")));
    }
    float(op, x)?;
    Ok(x.len() / columns)
}

/// A slice of floats, either type.
pub(crate) fn float(op: &'static str, x: Slice<'_>) -> Result<()> {
    match x.elem() {
        Elem::F32 | Elem::Bf16 => Ok(()),
        Elem::U32 | Elem::F64 => Err(Error::Unsupported {
            op,
            message: format!("{} where float32 or bf16 belongs", x.elem().suffix()),
        }),
    }
}

/// Partial column sums of a matrix: `partials [P, C]`, whose rows [`totals`] adds.
///
/// # Errors
/// Columns that are no multiple of four, or lengths that do not divide.
pub fn column_sums(x: Slice<'_>, columns: usize, partials: Slice<'_>) -> Result<()> {
    const OP: &str = "column_sum";
    let rows = columns_of_four(OP, x, columns)?;
    let blocks = partial_blocks(OP, partials, columns)?;
    let kernel = format!("column_sum_{}", x.elem().suffix());
    let args = [x.into(), partials.into(), int(OP, rows)?.into(), int(OP, columns)?.into()];
    // SAFETY: lengths checked above.
    unsafe {
        x.gpu().launch(
            &kernel,
            Grid::new([columns.div_ceil(columns_a_block(columns)), blocks, 1], 128),
            &args,
        )
    }
}

/// Number of partial rows of `width` floats each.
pub(crate) fn partial_blocks(op: &'static str, partials: Slice<'_>, width: usize) -> Result<usize> {
    if partials.len() == 0 || width == 0 || !partials.len().is_multiple_of(width) {
        return Err(shape_error(op, "partials", &[partials.len()], format!("[P, {width}]")));
    }
    partials.check(op, "partials", Elem::F32, partials.len())?;
    Ok(partials.len() / width)
}

/// `x[r, c] += bias[c]` in place.
///
/// # Errors
/// Columns that are no multiple of four, or lengths that do not divide.
pub fn bias_add(x: Slice<'_>, bias: Slice<'_>) -> Result<()> {
    const OP: &str = "bias_add";
    let columns = bias.len();
    let rows = columns_of_four(OP, x, columns)?;
    bias.check(OP, "bias", Elem::F32, columns)?;
    let gpu = x.gpu();
    let blocks = rows.min(16 * gpu.processors());
    let kernel = format!("bias_add_{}", x.elem().suffix());
    let args = [x.into(), bias.into(), int(OP, rows)?.into(), int(OP, columns)?.into()];
    // SAFETY: lengths checked above.
    unsafe {
        gpu.launch(&kernel, Grid::new([columns.div_ceil(columns_a_block(columns)), blocks, 1], 128), &args)
    }
}

/// `to = from`, rounded to bf16.
///
/// # Errors
/// Lengths that differ or are no multiple of four.
pub fn round(from: Slice<'_>, to: Slice<'_>) -> Result<()> {
    const OP: &str = "round_bf16";
    from.check(OP, "from", Elem::F32, from.len())?;
    to.check(OP, "to", Elem::Bf16, from.len())?;
    if !from.len().is_multiple_of(4) {
        return Err(shape_error(OP, "from", &[from.len()], "a multiple of 4".into()));
    }
    let gpu = from.gpu();
    let blocks = from.len().div_ceil(1024).clamp(1, 16 * gpu.processors());
    let args = [from.into(), to.into(), Arg::Address(from.len() as u64)];
    // SAFETY: lengths checked above.
    unsafe { gpu.launch("round_bf16", Grid::new([blocks, 1, 1], 256), &args) }
}
