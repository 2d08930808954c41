//! Causal-pair weights, and sums over causal pairs as weighted sums over tokens.
//!
//! The scatter of the keys that row `i` sees grows from row to row by
//! `j/(j+1) y_j y_j^T` with the innovation `y_j = x_j - mean(x_0..x_{j-1})`. Summed over rows, the
//! centred key moment is therefore one Gram matrix of weighted innovations: no cancellation,
//! positive semidefinite by construction, `O(T d)` besides the product itself. Innovations are
//! linear in the inputs, so projections may be taken before or after.

use faer::Mat;

use crate::linear::dot;

/// Number of causal pairs `sum_b T_b (T_b + 1) / 2`.
pub fn causal_pairs(lengths: &[usize]) -> f64 {
    lengths.iter().map(|&t| t as f64 * (t as f64 + 1.0) / 2.0).sum()
}

/// Weight of every row as a query: `(i+1)/P`.
pub(crate) fn query_weights(length: usize, pairs: f64) -> Vec<f64> {
    (0..length).map(|i| (i as f64 + 1.0) / pairs).collect()
}

/// Weight of every row as a key: `(T-j)/P`.
pub(crate) fn key_weights(length: usize, pairs: f64) -> Vec<f64> {
    (0..length).map(|j| (length - j) as f64 / pairs).collect()
}

/// Weight of every offset `delta = i-j` over all sequences: `sum_b max(T_b - delta, 0) / P`.
pub(crate) fn offset_weights(lengths: &[usize], pairs: f64) -> Vec<f64> {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    (0..longest)
        .map(|delta| lengths.iter().map(|&t| t.saturating_sub(delta) as f64).sum::<f64>() / pairs)
        .collect()
}

/// Square root of the weight of innovation `j`, from the weight of key `j`.
pub(crate) fn innovation_scale(j: usize, weight: f64) -> f64 {
    (weight * j as f64 / (j as f64 + 1.0)).sqrt()
}

/// Weighted innovations of sequences, one below another: row `j` of a sequence is
/// `sqrt(w_j j/(j+1)) (x_j - mean of the rows before it)`; row 0 is zero. `Y^T Y` is the
/// pair-weighted scatter about each row's own mean key. `weights`: one list a sequence.
pub(crate) fn innovations(x: &[Mat<f64>], weights: &[Vec<f64>]) -> Mat<f64> {
    let scales: Vec<Vec<f64>> = weights
        .iter()
        .map(|w| w.iter().enumerate().map(|(j, &w)| innovation_scale(j, w)).collect())
        .collect();
    let longest = x.iter().map(Mat::nrows).max().unwrap_or(0);
    let inverses: Vec<f64> = (0..longest).map(|j| 1.0 / (j as f64 + 1.0)).collect();
    let mut out = Mat::zeros(x.iter().map(Mat::nrows).sum(), x.first().map_or(0, Mat::ncols));
    let mut columns: Vec<&mut [f64]> = columns_mut(&mut out);
    for group in (0..columns.len()).step_by(TOGETHER) {
        let mut first = 0;
        for (part, scales) in x.iter().zip(&scales) {
            let rows = part.nrows();
            match &mut columns[group..] {
                [a, b, c, d, ..] => {
                    let source = [0, 1, 2, 3].map(|k| part.col_as_slice(group + k));
                    let target = [a, b, c, d].map(|t| &mut t[first..first + rows]);
                    innovate(source, target, scales, &inverses);
                }
                few => {
                    for (k, target) in few.iter_mut().enumerate() {
                        let target = [&mut target[first..first + rows]];
                        innovate([part.col_as_slice(group + k)], target, scales, &inverses);
                    }
                }
            }
            first += rows;
        }
    }
    out
}

/// Columns worked on at a time: each is a chain of dependent operations.
const TOGETHER: usize = 4;

fn columns_mut(m: &mut Mat<f64>) -> Vec<&mut [f64]> {
    let rows = m.nrows();
    m.col_iter_mut()
        .filter_map(|c| c.try_as_col_major_mut())
        .map(|c| c.as_slice_mut())
        .inspect(|c| debug_assert_eq!(c.len(), rows))
        .collect()
}

fn innovate<const N: usize>(x: [&[f64]; N], y: [&mut [f64]; N], scales: &[f64], inverses: &[f64]) {
    // Row 0 has no rows before it; its scale is zero.
    let mut means = [0.0; N];
    for (t, (scale, inverse)) in scales.iter().zip(inverses).enumerate() {
        for k in 0..N {
            let step = x[k][t] - means[k];
            y[k][t] = scale * step;
            // A running mean stays accurate where a prefix sum over a large offset would not.
            means[k] += step * inverse;
        }
    }
}

/// The transpose of [`innovations`] for one sequence, as a linear map: `<G, innovations(X)> = <adjoint(G), X>`.
pub(crate) fn innovations_adjoint(g: &Mat<f64>, weights: &[f64]) -> Mat<f64> {
    let mut out = Mat::zeros(g.nrows(), g.ncols());
    // Row l enters the mean of every later row j with 1/j; row 0 has none before it.
    let scales: Vec<(f64, f64)> = weights
        .iter()
        .enumerate()
        .map(|(j, &w)| (innovation_scale(j, w), if j > 0 { 1.0 / j as f64 } else { 0.0 }))
        .collect();
    let mut columns = columns_mut(&mut out);
    for group in (0..columns.len()).step_by(TOGETHER) {
        match &mut columns[group..] {
            [a, b, c, d, ..] => {
                innovate_back([0, 1, 2, 3].map(|k| g.col_as_slice(group + k)), [a, b, c, d], &scales);
            }
            few => few
                .iter_mut()
                .enumerate()
                .for_each(|(k, target)| innovate_back([g.col_as_slice(group + k)], [target], &scales)),
        }
    }
    out
}

fn innovate_back<const N: usize>(g: [&[f64]; N], out: [&mut [f64]; N], scales: &[(f64, f64)]) {
    let mut later = [0.0; N];
    for (t, (scale, inverse)) in scales.iter().enumerate().rev() {
        for k in 0..N {
            let own = scale * g[k][t];
            out[k][t] = own - later[k];
            later[k] += own * inverse;
        }
    }
}

/// Pair-weighted mean key of one sequence, `sum_j (T-j) x_j / P_s`, per column. `weights`: of its keys, up to a factor.
pub(crate) fn mean_key(x: &Mat<f64>, weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    (0..x.ncols()).map(|col| dot(x.col_as_slice(col), weights) / total).collect()
}

/// What the weighted squares about the mean key of a sequence of `length` tokens are multiplied by, so that independent
/// keys give the scatter about row means without bias: row i keeps i of its i + 1 keys' variance, a sequence about its
/// weighted mean `1 - sum w_j^2` with `w_j = (T-j)/P_s`. Zero for one token, which has no scatter.
pub(crate) fn row_mean_factor(length: usize) -> f64 {
    if length < 2 {
        return 0.0;
    }
    let t = length as f64;
    let pairs = causal_pairs(&[length]);
    // sum_j (T-j)^2 = T (T+1) (2T+1) / 6.
    let squares = t * (t + 1.0) * (2.0 * t + 1.0) / 6.0 / (pairs * pairs);
    (1.0 - t / pairs) / (1.0 - squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens without anything in common: their scatter about row means is known, and both ways of counting give it.
    #[test]
    fn orthonormal_keys_scatter_alike_about_row_means_and_about_the_sequence_mean() {
        for t in [1, 2, 3, 8, 33] {
            let keys = Mat::from_fn(t, t, |i, j| f64::from(u8::from(i == j)));
            let pairs = causal_pairs(&[t]);
            let weights = key_weights(t, pairs);
            let rows = innovations(std::slice::from_ref(&keys), std::slice::from_ref(&weights));
            let squares =
                |m: &Mat<f64>| -> f64 { (0..t).map(|c| dot(m.col_as_slice(c), m.col_as_slice(c))).sum() };
            let mean = mean_key(&keys, &weights);
            let about = Mat::from_fn(t, t, |i, j| (keys[(i, j)] - mean[j]) * weights[i].sqrt());
            // Sums of t^2 terms of at most 1.
            let wanted = (pairs - t as f64) / pairs;
            assert!((squares(&rows) - wanted).abs() < 1e-13, "{t}");
            assert!((squares(&about) * row_mean_factor(t) - wanted).abs() < 1e-13, "{t}");
        }
    }
}
