//! `y = x W^T + b` and its backward, as plain matrix products without transposed copies.

use candle_core::Tensor;
use faer::Accum;
use rayon::prelude::*;

use crate::error::{Result, shape_error};
use crate::gemm::{gemm, rows, rows_mut};
use crate::tensor::{expect_dims, matrix, read_as, scratch, wrap};

/// Forward.
///
/// # Shapes
/// `x [N, in]`, `weight [out, in]`, `bias [out]` or none; returns `[N, out]`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn forward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    const OP: &str = "linear";
    let (n, k, out) = dims(OP, x, weight)?;
    let mut y = scratch(n * out);
    let (xs, ws) = (read_as(OP, "x", x)?, read_as(OP, "weight", weight)?);
    let accum = match bias {
        Some(b) => {
            expect_dims(OP, "bias", b, &[out])?;
            let b = read_as(OP, "bias", b)?;
            y.par_chunks_mut(out * 64)
                .for_each(|c| c.chunks_exact_mut(out).for_each(|r| r.copy_from_slice(&b)));
            Accum::Add
        }
        None => Accum::Replace,
    };
    gemm(rows_mut(&mut y, n, out), accum, rows(&xs, n, k), rows(&ws, out, k).transpose());
    wrap(y, (n, out))
}

/// Gradients of [`forward`].
pub struct LinearGrads {
    /// `dL/dx [N, in]`.
    pub x: Tensor,
    /// `dL/dW [out, in]`.
    pub weight: Tensor,
    /// `dL/db [out]`, where there is a bias.
    pub bias: Option<Tensor>,
}

/// Backward: `dx = dy W`, `dW = dy^T x`, `db = column sums of dy`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn backward(dy: &Tensor, x: &Tensor, weight: &Tensor, bias: bool) -> Result<LinearGrads> {
    const OP: &str = "linear backward";
    let (n, k, out) = dims(OP, x, weight)?;
    expect_dims(OP, "dy", dy, &[n, out])?;
    let (dys, xs, ws) = (read_as(OP, "dy", dy)?, read_as(OP, "x", x)?, read_as(OP, "weight", weight)?);
    let mut dx = scratch(n * k);
    gemm(rows_mut(&mut dx, n, k), Accum::Replace, rows(&dys, n, out), rows(&ws, out, k));
    let mut dw = scratch(out * k);
    gemm(rows_mut(&mut dw, out, k), Accum::Replace, rows(&dys, n, out).transpose(), rows(&xs, n, k));
    let bias = if bias { Some(wrap(column_sums(&dys, out), out)?) } else { None };
    Ok(LinearGrads { x: wrap(dx, (n, k))?, weight: wrap(dw, (out, k))?, bias })
}

/// Rows summed by one task: fixed, so that the sum does not depend on the number of threads.
const ROWS_PER_TASK: usize = 128;

/// Sum of each column of a row-major `[n, cols]` matrix.
pub(crate) fn column_sums(a: &[f32], cols: usize) -> Vec<f32> {
    let partial: Vec<Vec<f32>> = a
        .par_chunks(ROWS_PER_TASK * cols)
        .map(|block| {
            let mut acc = vec![0f32; cols];
            for r in block.chunks_exact(cols) {
                acc.iter_mut().zip(r).for_each(|(a, v)| *a += v);
            }
            acc
        })
        .collect();
    let mut total = vec![0f32; cols];
    for p in &partial {
        total.iter_mut().zip(p).for_each(|(t, v)| *t += v);
    }
    total
}

fn dims(op: &'static str, x: &Tensor, weight: &Tensor) -> Result<(usize, usize, usize)> {
    let (n, k) = matrix(op, "x", x)?;
    let (out, wk) = matrix(op, "weight", weight)?;
    if wk != k {
        return Err(shape_error(op, "weight", weight.dims(), format!("[out, {k}]")));
    }
    Ok((n, k, out))
}
