//! CPU twin: the products, the bias on the way in and its gradient beside them.

use faer::Accum;
use multiversion::multiversion;
use rayon::prelude::*;

use crate::gemm::{gemm, gemm_bias, rows, rows_mut};
use crate::simd::add_columns;

/// Rows summed by one task: fixed, so that the sum does not depend on the number of threads.
const ROWS_PER_TASK: usize = 128;

/// `y [n, out] = x [n, k] W^T + b`, `w [out, k]`.
///
/// # Panics
/// Slices of other lengths.
pub fn forward(y: &mut [f32], x: &[f32], w: &[f32], bias: Option<&[f32]>, k: usize, out: usize) {
    let n = y.len() / out;
    let (y, x, w) = (rows_mut(y, n, out), rows(x, n, k), rows(w, out, k).transpose());
    match bias {
        Some(b) => gemm_bias(y, b, x, w),
        None => gemm(y, Accum::Replace, x, w),
    }
}

/// `dx [n, k]`, `dW [out, k]` and, where there is a bias, `db [out]` from `dy [n, out]`: in one parallel region, so that
/// no thread waits for another between them.
///
/// # Panics
/// Slices of other lengths.
pub fn backward(
    (dx, dw, db): (&mut [f32], &mut [f32], Option<&mut [f32]>),
    dy: &[f32],
    x: &[f32],
    w: &[f32],
    (out, k): (usize, usize),
) {
    let n = dy.len() / out;
    let (dx, dw) = (rows_mut(dx, n, k), rows_mut(dw, out, k));
    let d = rows(dy, n, out);
    rayon::join(
        || gemm(dx, Accum::Replace, d, rows(w, out, k)),
        || {
            rayon::join(
                || gemm(dw, Accum::Replace, d.transpose(), rows(x, n, k)),
                || db.map(|db| column_sums(dy, out, db)),
            )
        },
    );
}

/// Sum of each column of a row-major `[n, cols]` matrix.
fn column_sums(a: &[f32], cols: usize, total: &mut [f32]) {
    let partial: Vec<Vec<f32>> = a
        .par_chunks(ROWS_PER_TASK * cols)
        .map(|block| {
            let mut acc = vec![0f32; cols];
            sum_block(&mut acc, block);
            acc
        })
        .collect();
    total.fill(0.0);
    for p in &partial {
        total.iter_mut().zip(p).for_each(|(t, v)| *t += v);
    }
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn sum_block(acc: &mut [f32], block: &[f32]) {
    add_columns(acc, block);
}
