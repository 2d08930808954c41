//! The Frechet distance between normal distributions fitted to two sets of features.

use faer::{Accum, Mat};
use growthpath_kernels::gemm::gemm;

use super::Features;

/// `|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`, covariances with n - 1.
///
/// With `S = A^T A` (`A` the centred rows over `sqrt(n - 1)`), the trace of the root is the sum of the singular values of
/// `A1 A2^T`: no root of a rank-deficient matrix is ever taken.
pub fn frechet_distance(a: &Features, b: &Features) -> f64 {
    let (m1, a) = centred(a);
    let (m2, b) = centred(b);
    let means: f64 = m1.iter().zip(&m2).map(|(x, y)| (x - y) * (x - y)).sum();
    let mut cross = Mat::zeros(a.nrows(), b.nrows());
    gemm(cross.as_mut(), Accum::Replace, a.as_ref(), b.transpose());
    // The singular values cannot fail to converge on finite features; features of a broken network are NaN throughout.
    let root: f64 = cross.singular_values().map_or(f64::NAN, |s| s.iter().sum());
    means + a.squared_norm_l2() + b.squared_norm_l2() - 2.0 * root
}

/// Means, and a matrix `A` with `A^T A` the covariance, with no more rows than columns.
fn centred(x: &Features) -> (Vec<f64>, Mat<f64>) {
    let (n, d) = (x.nrows(), x.ncols());
    let mean: Vec<f64> = (0..d).map(|j| x.col(j).iter().sum::<f64>() / n as f64).collect();
    let scale = 1.0 / ((n.max(2) - 1) as f64).sqrt();
    let a = Mat::from_fn(n, d, |i, j| (x[(i, j)] - mean[j]) * scale);
    if n <= d {
        return (mean, a);
    }
    let r = a.qr().thin_R().to_owned();
    (mean, r)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    fn random(n: usize, d: usize, seed: u64) -> Features {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        Mat::from_fn(n, d, |_, j| rng.random_range(-1.0..1.0) * (j + 1) as f64)
    }

    #[test]
    fn closed_forms() {
        for (n, d) in [(7, 20), (40, 5)] {
            let a = random(n, d, 1);
            assert!(frechet_distance(&a, &a).abs() < 1e-10 * (n * d * d) as f64);
            // Shifted: the squared distance of the means. Scaled by s: (1 - s)^2 of the trace, on top of the means' part.
            let shifted = Mat::from_fn(n, d, |i, j| a[(i, j)] + 2.0);
            assert!((frechet_distance(&a, &shifted) - 4.0 * d as f64).abs() < 1e-9 * (d * d) as f64);
            let (mean, c) = centred(&a);
            let scaled = Mat::from_fn(n, d, |i, j| 3.0 * a[(i, j)]);
            let want = 4.0 * (c.squared_norm_l2() + mean.iter().map(|m| m * m).sum::<f64>());
            assert!((frechet_distance(&a, &scaled) - want).abs() < 1e-9 * want);
        }
    }
}
