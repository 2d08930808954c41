//! Matrix products on the CPU: faer's sequential kernels under our own split of the output.
//!
//! Each element of the output is one dot product computed by one task. Its bits depend on the order of that sum alone,
//! which faer's x86-64 vector kernels cut at fixed depths whatever the size of the output; elsewhere the order follows
//! from the size of the task, and tasks are cut alike on any number of threads. So the result never depends on it.

pub use faer::Accum;
use faer::linalg::matmul::matmul;
use faer::prelude::ReborrowMut;
use faer::traits::RealField;
use faer::traits::math_utils::one;
use faer::{MatMut, MatRef, Par};

/// Work below this many multiply-adds stays on one thread: handing it over would cost more than it saves.
const MIN_TASK: usize = 1 << 20;

/// `c = a b` or `c += a b`, in parallel over blocks of `c`.
pub fn gemm<T: RealField>(c: MatMut<'_, T>, accum: Accum, a: MatRef<'_, T>, b: MatRef<'_, T>) {
    let tasks = tasks(c.nrows() * c.ncols() * a.ncols());
    split(c, a, b, 0, tasks, &|c, a, b, _| matmul(c, accum, a, b, one::<T>(), Par::Seq));
}

/// `c = a b`, plus `bias` in every row: each task writes its own rows of the bias just before it adds to them.
pub(crate) fn gemm_bias(c: MatMut<'_, f32>, bias: &[f32], a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    let tasks = tasks(c.nrows() * c.ncols() * a.ncols());
    split(c, a, b, 0, tasks, &|mut c, a, b, first| {
        let bias = &bias[first..first + c.ncols()];
        let step = (BIASED / c.ncols() / 16 * 16).max(16);
        for top in (0..c.nrows()).step_by(step) {
            let rows = step.min(c.nrows() - top);
            let mut c = c.rb_mut().subrows_mut(top, rows);
            for i in 0..rows {
                match c.rb_mut().row_mut(i).try_as_row_major_mut() {
                    Some(row) => row.as_slice_mut().copy_from_slice(bias),
                    None => bias.iter().enumerate().for_each(|(j, v)| c[(i, j)] = *v),
                }
            }
            matmul(c, Accum::Add, a.subrows(top, rows), b, 1.0, Par::Seq);
        }
    });
}

/// Elements of the output that are filled at a time.
const BIASED: usize = 1 << 20;

fn tasks(work: usize) -> usize {
    let most = match rayon::current_num_threads() {
        _ if !fixed_depth() => FIXED_TASKS,
        1 => 1,
        threads => 2 * threads,
    };
    (work / MIN_TASK).clamp(1, most)
}

/// Most tasks where their number must not follow the number of threads.
const FIXED_TASKS: usize = 16;

/// Whether faer takes the kernels that sum in an order which does not depend on the output's size.
fn fixed_depth() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// What a task does with its block of `c`, the rows and columns behind it, and the block's first column.
type Task<'a, T> = dyn Fn(MatMut<'_, T>, MatRef<'_, T>, MatRef<'_, T>, usize) + Sync + 'a;

fn split<T: RealField>(
    c: MatMut<'_, T>,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    first: usize,
    tasks: usize,
    task: &Task<'_, T>,
) {
    if tasks <= 1 || c.nrows().max(c.ncols()) < 32 {
        return task(c, a, b, first);
    }
    let left = tasks / 2;
    // Cut at a multiple of the widest register tile so that no task has a ragged edge inside.
    if c.nrows() >= c.ncols() {
        let at = cut(c.nrows(), left, tasks);
        let (c0, c1) = c.split_at_row_mut(at);
        let (a0, a1) = a.split_at_row(at);
        rayon::join(|| split(c0, a0, b, first, left, task), || split(c1, a1, b, first, tasks - left, task));
    } else {
        let at = cut(c.ncols(), left, tasks);
        let (c0, c1) = c.split_at_col_mut(at);
        let (b0, b1) = b.split_at_col(at);
        rayon::join(
            || split(c0, a, b0, first, left, task),
            || split(c1, a, b1, first + at, tasks - left, task),
        );
    }
}

fn cut(n: usize, left: usize, tasks: usize) -> usize {
    ((n * left / tasks) / 16 * 16).clamp(16, n - 1)
}

/// Row-major view of a slice.
pub fn rows(v: &[f32], nrows: usize, ncols: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(v, nrows, ncols)
}

/// Mutable row-major view of a slice.
pub fn rows_mut(v: &mut [f32], nrows: usize, ncols: usize) -> MatMut<'_, f32> {
    MatMut::from_row_major_slice_mut(v, nrows, ncols)
}
