//! Small dense helpers over faer, all sequential: callers parallelise over heads, layers, sequences.
//!
//! Loops compile for several instruction sets and the machine's widest is used; without contraction and with a fixed number of
//! lanes every one gives the same bits.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{BlockStructure, matmul as triangular_matmul};
use faer::{Accum, Mat, MatMut, MatRef, Par};
use multiversion::multiversion;

/// Lanes of the reductions below: sums in independent lanes vectorise, strict order does not.
const LANES: usize = 8;

/// Dot product.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a_main, a_rest) = a.as_chunks::<LANES>();
    let (b_main, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_main.iter().zip(b_main) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Sum.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(crate) fn sum(a: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (main, rest) = a.as_chunks::<LANES>();
    for x in main {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane += x;
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().sum::<f64>()
}

/// `sum (a - mean)^2`: what centring leaves of a row, without writing it.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(crate) fn scatter(a: &[f64]) -> f64 {
    let mean = sum(a) / a.len() as f64;
    let mut lanes = [0.0; LANES];
    let (main, rest) = a.as_chunks::<LANES>();
    for x in main {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane += (x - mean) * (x - mean);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>()
}

/// `|a - b|^2`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(crate) fn difference_square(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a_main, a_rest) = a.as_chunks::<LANES>();
    let (b_main, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_main.iter().zip(b_main) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += (x - y) * (x - y);
        }
    }
    lanes.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(x, y)| (x - y) * (x - y)).sum::<f64>()
}

/// The mean of two matrices.
pub(crate) fn midpoint(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    combine(a, b, mean_into)
}

/// `b - a`.
pub(crate) fn difference(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    combine(a, b, difference_into)
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn mean_into(out: &mut [f64], b: &[f64]) {
    out.iter_mut().zip(b).for_each(|(a, b)| *a = 0.5 * (*a + b));
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn difference_into(out: &mut [f64], b: &[f64]) {
    out.iter_mut().zip(b).for_each(|(a, b)| *a = b - *a);
}

/// Column by column.
fn combine(a: &Mat<f64>, b: &Mat<f64>, f: fn(&mut [f64], &[f64])) -> Mat<f64> {
    let mut out = a.clone();
    for j in 0..out.ncols() {
        f(out.col_as_slice_mut(j), b.col_as_slice(j));
    }
    out
}

/// `sum_ab A_ab B_ab`.
pub(crate) fn inner(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
    (0..a.ncols()).map(|j| dot(a.col_as_slice(j), b.col_as_slice(j))).sum()
}

/// Sum of squares.
pub(crate) fn square_norm(a: MatRef<'_, f64>) -> f64 {
    a.squared_norm_l2()
}

/// `A B`.
pub(crate) fn mul(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    matmul(out.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

/// `A^T B`.
pub(crate) fn mul_tn(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    mul(a.transpose(), b)
}

/// `dst (+)= alpha A B`.
pub(crate) fn mul_into(
    dst: MatMut<'_, f64>,
    accum: Accum,
    a: MatRef<'_, f64>,
    b: MatRef<'_, f64>,
    alpha: f64,
) {
    matmul(dst, accum, a, b, alpha, Par::Seq);
}

/// `A^T A`, symmetric to the last bit, at half the cost of a general product.
pub(crate) fn gram(a: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.ncols(), a.ncols());
    triangular_matmul(
        out.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Replace,
        a.transpose(),
        BlockStructure::Rectangular,
        a,
        BlockStructure::Rectangular,
        1.0,
        Par::Seq,
    );
    for j in 0..out.ncols() {
        for i in 0..j {
            out[(i, j)] = out[(j, i)];
        }
    }
    out
}

/// Multiplies row `i` by `weights[i]`.
pub(crate) fn scale_rows(m: &mut Mat<f64>, weights: &[f64]) {
    for j in 0..m.ncols() {
        times(m.col_as_slice_mut(j), weights);
    }
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn times(column: &mut [f64], weights: &[f64]) {
    column.iter_mut().zip(weights).for_each(|(v, w)| *v *= w);
}

/// Puts matrices of equal width below one another.
pub(crate) fn stack(parts: &[Mat<f64>]) -> Mat<f64> {
    let rows = parts.iter().map(Mat::nrows).sum();
    let cols = parts.first().map_or(0, Mat::ncols);
    let mut out = Mat::zeros(rows, cols);
    for j in 0..cols {
        let mut rest = out.col_as_slice_mut(j);
        for part in parts {
            let (head, tail) = rest.split_at_mut(part.nrows());
            head.copy_from_slice(part.col_as_slice(j));
            rest = tail;
        }
    }
    out
}

/// Cuts a stacked matrix back into parts of the given numbers of rows.
pub(crate) fn unstack(m: &Mat<f64>, rows: &[usize]) -> Vec<Mat<f64>> {
    let mut first = 0;
    rows.iter()
        .map(|&n| {
            let part = m.subrows(first, n).to_owned();
            first += n;
            part
        })
        .collect()
}
