//! The tight bound on the logit change that the weights make (6.2), one head and sequence at a time.
//!
//! At fixed features the change is exactly `dS_W = P[dQ Kbar^T + Qbar dK^T]/sqrt(d_h) = P[A B^T]/sqrt(d_h)` with the
//! rotated rows `A = [dQ, Qbar]`, `B = [Kbar, dK]` and midpoints Qbar, Kbar. Row i of it has the square
//! `A_i Scat_i A_i^T`, `Scat_i` the scatter of the rows `B_0..B_i` about their own mean. Scatter only grows, in the
//! order of positive matrices, with every further key: it is at most that of the keys up to the end of any block
//! that holds i. Blocks that grow by half keep most of the sharpness of single rows at `O(T d_h^2)`.

use faer::{Accum, Mat};

use crate::linear::{inner, mul, mul_into, mul_tn, square_norm};
use crate::projection::RotatedHead;

/// Upper bound on `d_h |dS_W|^2` of one sequence, from the head's rows under the old and the new weights.
pub(crate) fn weight_path_bound(old: &RotatedHead, new: &RotatedHead) -> f64 {
    let (t, width) = old.q.shape();
    let join = |left: &dyn Fn(usize, usize) -> f64, right: &dyn Fn(usize, usize) -> f64| {
        Mat::from_fn(t, 2 * width, |i, j| if j < width { left(i, j) } else { right(i, j - width) })
    };
    let step = |a: &Mat<f64>, b: &Mat<f64>, i: usize, j: usize| b[(i, j)] - a[(i, j)];
    let middle = |a: &Mat<f64>, b: &Mat<f64>, i: usize, j: usize| 0.5 * (a[(i, j)] + b[(i, j)]);
    let a = join(&|i, j| step(&old.q, &new.q, i, j), &|i, j| middle(&old.q, &new.q, i, j));
    let mut b = join(&|i, j| middle(&old.k, &new.k, i, j), &|i, j| step(&old.k, &new.k, i, j));
    centre_columns(&mut b);
    // Gram matrix and sum of the keys so far.
    let mut gram = Mat::zeros(2 * width, 2 * width);
    let mut sum = Mat::zeros(2 * width, 1);
    let mut total = 0.0;
    let mut first = 0;
    while first < t {
        let end = (first + first.div_ceil(2)).clamp(first + 1, t);
        let (queries, keys) = (a.subrows(first, end - first), b.subrows(first, end - first));
        mul_into(gram.as_mut(), Accum::Add, keys.transpose(), keys, 1.0);
        for j in 0..2 * width {
            sum[(j, 0)] += (0..keys.nrows()).map(|i| keys[(i, j)]).sum::<f64>();
        }
        let about_mean = square_norm(mul(queries, sum.as_ref()).as_ref()) / end as f64;
        // tr(A^T A Scat) with Scat = Gram - sum sum^T / n; a square that rounding takes below zero is none.
        total += (inner(&mul_tn(queries, queries), &gram) - about_mean).max(0.0);
        first = end;
    }
    total
}

/// Takes the sequence's mean from every column: the centred logits do not see it, and sums of squares stay small.
fn centre_columns(m: &mut Mat<f64>) {
    for j in 0..m.ncols() {
        let column = m.col_as_slice_mut(j);
        let mean = crate::linear::sum(column) / column.len() as f64;
        column.iter_mut().for_each(|v| *v -= mean);
    }
}
