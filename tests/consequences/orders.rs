//! The logit change of an update of W_Q and W_K at fixed features, by orders and pair by pair.
//!
//! With `dS_W = D + D2`, `D = P[(X dW_Q) K^T + Q (X dW_K)^T]/sqrt(d_h)` and `D2 = P[(X dW_Q)(X dW_K)^T]/sqrt(d_h)`, an
//! update multiplied by m moves the logits by `m D + m^2 D2`.

use faer::Mat;
use growthpath_analysis::{Geometry, LayerState, Positions};

/// Means over causal pairs of one head.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Orders {
    /// Of D squared.
    pub first: f64,
    /// Of D times D2.
    pub cross: f64,
    /// Of D2 squared.
    pub second: f64,
}

impl Orders {
    /// RMS of the logit change that m times the update makes.
    pub fn of_update_times(&self, m: f64) -> f64 {
        (m.powi(2) * self.first + 2.0 * m.powi(3) * self.cross + m.powi(4) * self.second).sqrt()
    }
}

/// Every head of the update from the weights of `prev` to those of `next`, at the features of `prev`.
pub(crate) fn orders(prev: &LayerState, next: &LayerState, geometry: &Geometry) -> Vec<Orders> {
    let (dq, dk) = (&next.wq - &prev.wq, &next.wk - &prev.wk);
    let head = |h: usize| {
        let mut sums = Orders::default();
        let mut pairs = 0.0;
        for x in &prev.x {
            let rows =
                |w: &Mat<f64>| turned(x * w.subcols(h * geometry.head_dim, geometry.head_dim), geometry);
            let (q, k, dq, dk) = (rows(&prev.wq), rows(&prev.wk), rows(&dq), rows(&dk));
            for i in 0..x.nrows() {
                let products = |a: &Mat<f64>, b: &Mat<f64>| -> Vec<f64> {
                    (0..=i).map(|j| (0..a.ncols()).map(|p| a[(i, p)] * b[(j, p)]).sum()).collect()
                };
                let (left, right) = (products(&dq, &k), products(&q, &dk));
                let first = centred(left.iter().zip(&right).map(|(l, r)| l + r).collect());
                let second = centred(products(&dq, &dk));
                for (d, d2) in first.iter().zip(&second) {
                    sums.first += d * d;
                    sums.cross += d * d2;
                    sums.second += d2 * d2;
                }
                pairs += first.len() as f64;
            }
        }
        let scale = 1.0 / (pairs * geometry.head_dim as f64);
        Orders { first: scale * sums.first, cross: scale * sums.cross, second: scale * sums.second }
    };
    (0..geometry.heads).map(head).collect()
}

fn centred(mut row: Vec<f64>) -> Vec<f64> {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    row.iter_mut().for_each(|v| *v -= mean);
    row
}

/// Row i turned by position i: coordinates p and `p + d_h/2` make a plane.
fn turned(rows: Mat<f64>, geometry: &Geometry) -> Mat<f64> {
    let Positions::Rope { base } = geometry.positions else { return rows };
    let planes = rows.ncols() / 2;
    Mat::from_fn(rows.nrows(), rows.ncols(), |i, j| {
        let p = j % planes;
        let (sin, cos) = (i as f64 * base.powf(-2.0 * p as f64 / rows.ncols() as f64)).sin_cos();
        let (re, im) = (rows[(i, p)], rows[(i, p + planes)]);
        if j < planes { re * cos - im * sin } else { im * cos + re * sin }
    })
}
