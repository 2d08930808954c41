//! The kernel distance of two sets of features, with a standard error.

use faer::{Accum, Mat};
use growthpath_kernels::gemm::gemm;

use super::Features;

/// An unbiased squared maximum mean discrepancy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kid {
    /// The estimate; may be slightly negative for equal distributions.
    pub value: f64,
    /// Its standard error over both samples, by the jackknife.
    pub standard_error: f64,
}

/// With the kernel `(x . y / d + 1)^3`, over all pairs of both sets.
///
/// Leaving out each image in turn gives the variance that the choice of images causes. Both sets need 3 images.
pub fn kernel_distance(x: &Features, y: &Features) -> Kid {
    let (n, m) = (x.nrows(), y.nrows());
    if n < 3 || m < 3 {
        return Kid { value: f64::NAN, standard_error: f64::NAN };
    }
    let (xx, yy, xy) = (kernel(x, x), kernel(y, y), kernel(x, y));
    let within = |k: &Mat<f64>| -> Vec<f64> {
        (0..k.nrows()).map(|i| k.row(i).iter().sum::<f64>() - k[(i, i)]).collect()
    };
    let (rx, ry) = (within(&xx), within(&yy));
    let cross_x: Vec<f64> = (0..n).map(|i| xy.row(i).iter().sum()).collect();
    let cross_y: Vec<f64> = (0..m).map(|j| xy.col(j).iter().sum()).collect();
    let (sx, sy, sc): (f64, f64, f64) = (rx.iter().sum(), ry.iter().sum(), cross_x.iter().sum());
    let (n, m) = (n as f64, m as f64);
    let mmd = |sx: f64, n: f64, sy: f64, m: f64, sc: f64| {
        sx / (n * (n - 1.0)) + sy / (m * (m - 1.0)) - 2.0 * sc / (n * m)
    };
    let value = mmd(sx, n, sy, m, sc);
    let without_x = rx.iter().zip(&cross_x).map(|(r, c)| mmd(sx - 2.0 * r, n - 1.0, sy, m, sc - c));
    let without_y = ry.iter().zip(&cross_y).map(|(r, c)| mmd(sx, n, sy - 2.0 * r, m - 1.0, sc - c));
    let variance = jackknife(without_x.collect()) + jackknife(without_y.collect());
    Kid { value, standard_error: variance.sqrt() }
}

fn kernel(x: &Features, y: &Features) -> Mat<f64> {
    let d = x.ncols() as f64;
    let mut dots = Mat::zeros(x.nrows(), y.nrows());
    gemm(dots.as_mut(), Accum::Replace, x.as_ref(), y.transpose());
    Mat::from_fn(x.nrows(), y.nrows(), |i, j| (dots[(i, j)] / d + 1.0).powi(3))
}

/// `(n - 1) / n` of the squared deviations of the leave-one-out estimates.
fn jackknife(estimates: Vec<f64>) -> f64 {
    let n = estimates.len() as f64;
    let mean = estimates.iter().sum::<f64>() / n;
    (n - 1.0) / n * estimates.iter().map(|e| (e - mean) * (e - mean)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    fn normal(n: usize, d: usize, shift: f64, rng: &mut rand_chacha::ChaCha8Rng) -> Features {
        Mat::from_fn(n, d, |_, _| {
            let v: f64 = StandardNormal.sample(rng);
            v + shift
        })
    }

    #[test]
    fn the_definition_pair_by_pair() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let (x, y) = (normal(5, 3, 0.0, &mut rng), normal(4, 3, 1.0, &mut rng));
        let k = |a: &Features, i: usize, b: &Features, j: usize| {
            ((0..3).map(|c| a[(i, c)] * b[(j, c)]).sum::<f64>() / 3.0 + 1.0).powi(3)
        };
        let (mut a, mut b, mut c) = (0.0, 0.0, 0.0);
        for i in 0..5 {
            a += (0..5).filter(|j| *j != i).map(|j| k(&x, i, &x, j)).sum::<f64>() / 20.0;
            c += (0..4).map(|j| k(&x, i, &y, j)).sum::<f64>() / 20.0;
        }
        for i in 0..4 {
            b += (0..4).filter(|j| *j != i).map(|j| k(&y, i, &y, j)).sum::<f64>() / 12.0;
        }
        let got = kernel_distance(&x, &y).value;
        assert!((got - (a + b - 2.0 * c)).abs() < 1e-12 * (a + b), "{got}");
    }

    #[test]
    fn the_standard_error_is_the_spread_over_samples() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        let runs: Vec<Kid> = (0..200)
            .map(|_| kernel_distance(&normal(40, 4, 0.0, &mut rng), &normal(30, 4, 0.5, &mut rng)))
            .collect();
        let mean = runs.iter().map(|k| k.value).sum::<f64>() / 200.0;
        let spread = (runs.iter().map(|k| (k.value - mean).powi(2)).sum::<f64>() / 199.0).sqrt();
        let claimed = (runs.iter().map(|k| k.standard_error.powi(2)).sum::<f64>() / 200.0).sqrt();
        // 200 draws know a spread to 5 %, heavy tails to some 15 %; the jackknife errs upwards by about as much.
        assert!((claimed / spread - 1.0).abs() < 0.35, "{claimed} {spread}");
    }
}
