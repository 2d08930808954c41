//! Matrix products on the CPU: faer's sequential kernels under our own split of the output.
//!
//! Each element of the output is one dot product computed by one task. Its bits depend on the order of that sum alone,
//! which faer's x86-64 vector kernels cut at fixed depths whatever the size of the output; elsewhere the order follows
//! from the size of the task, and tasks are cut alike on any number of threads. So the result never depends on it.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// Work below this many multiply-adds stays on one thread: handing it over would cost more than it saves.
const MIN_TASK: usize = 1 << 20;

/// `c = a b` or `c += a b`, in parallel over blocks of `c`.
pub fn gemm(c: MatMut<'_, f32>, accum: Accum, a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    let work = c.nrows() * c.ncols() * a.ncols();
    let most = match rayon::current_num_threads() {
        _ if !fixed_depth() => FIXED_TASKS,
        1 => 1,
        threads => 2 * threads,
    };
    split(c, accum, a, b, (work / MIN_TASK).clamp(1, most));
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

/// The same on the calling thread (inside a parallel region).
#[inline]
pub fn gemm_seq(c: MatMut<'_, f32>, accum: Accum, a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    matmul(c, accum, a, b, 1.0, Par::Seq);
}

fn split(c: MatMut<'_, f32>, accum: Accum, a: MatRef<'_, f32>, b: MatRef<'_, f32>, tasks: usize) {
    if tasks <= 1 || c.nrows().max(c.ncols()) < 32 {
        return matmul(c, accum, a, b, 1.0, Par::Seq);
    }
    let left = tasks / 2;
    // Cut at a multiple of the widest register tile so that no task has a ragged edge inside.
    if c.nrows() >= c.ncols() {
        let at = cut(c.nrows(), left, tasks);
        let (c0, c1) = c.split_at_row_mut(at);
        let (a0, a1) = a.split_at_row(at);
        rayon::join(|| split(c0, accum, a0, b, left), || split(c1, accum, a1, b, tasks - left));
    } else {
        let at = cut(c.ncols(), left, tasks);
        let (c0, c1) = c.split_at_col_mut(at);
        let (b0, b1) = b.split_at_col(at);
        rayon::join(|| split(c0, accum, a, b0, left), || split(c1, accum, a, b1, tasks - left));
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
