//! On a device: cuBLAS products, bias by a kernel of ours.

use faer::Accum;

use crate::error::Result;
use crate::gpu::{Matrix, Slice, reduce};

/// `y = x W^T + b`.
///
/// # Shapes
/// `x [n, k]`, `weight [out, k]` of one type; `bias [out]` float32; `y [n, out]`.
///
/// # Errors
/// Slices whose lengths do not fit.
pub fn forward(
    n: usize,
    x: Slice<'_>,
    weight: Slice<'_>,
    bias: Option<Slice<'_>>,
    y: Slice<'_>,
) -> Result<()> {
    let (k, out) = (x.len() / n.max(1), y.len() / n.max(1));
    let (x, w) = (Matrix::new(x, n, k)?, Matrix::new(weight, out, k)?);
    y.gpu().gemm(Matrix::new(y, n, out)?, x, w.t(), Accum::Replace)?;
    bias.map_or(Ok(()), |b| reduce::bias_add(y, b))
}

/// `dx = dy W`.
///
/// # Shapes
/// `dy [n, out]`, `weight [out, k]`, `dx [n, k]`.
///
/// # Errors
/// Slices whose lengths do not fit.
pub fn backward_input(n: usize, dy: Slice<'_>, weight: Slice<'_>, dx: Slice<'_>) -> Result<()> {
    let (k, out) = (dx.len() / n.max(1), dy.len() / n.max(1));
    let (dy, w) = (Matrix::new(dy, n, out)?, Matrix::new(weight, out, k)?);
    dx.gpu().gemm(Matrix::new(dx, n, k)?, dy, w, Accum::Replace)
}

/// `dW = dy^T x`, or `dW += dy^T x`, as `accum` says.
///
/// # Shapes
/// `dy [n, out]`, `x [n, k]`, `d_weight [out, k]` float32.
///
/// # Errors
/// Slices whose lengths do not fit.
pub fn backward_weight(
    n: usize,
    dy: Slice<'_>,
    x: Slice<'_>,
    d_weight: Slice<'_>,
    accum: Accum,
) -> Result<()> {
    let (k, out) = (x.len() / n.max(1), dy.len() / n.max(1));
    let (dy, x) = (Matrix::new(dy, n, out)?, Matrix::new(x, n, k)?);
    d_weight.gpu().gemm(Matrix::new(d_weight, out, k)?, dy.t(), x, accum)
}
