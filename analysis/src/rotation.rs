//! Rotary positions: turning rows, and averages of rotated matrices over the offset.

use faer::Mat;

use crate::layer::Geometry;
use crate::linear::{mul_tn, scale_rows};
use crate::pairs::innovations;

/// Cosines and sines of `position * theta_p`, one row a position, one column a plane.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    cos: Mat<f64>,
    sin: Mat<f64>,
}

impl Rotation {
    /// Tables for positions `0..length`, or `None` without rotary positions.
    pub(crate) fn new(geometry: &Geometry, length: usize) -> Option<Self> {
        let planes = geometry.head_dim / 2;
        let frequencies: Vec<f64> = (0..planes)
            .map(|p| geometry.positions.frequency(p, geometry.head_dim))
            .collect::<Option<_>>()
            .filter(|f: &Vec<f64>| !f.is_empty())?;
        let angle = |t: usize, p: usize| t as f64 * frequencies[p];
        Some(Self {
            cos: Mat::from_fn(length, planes, |t, p| angle(t, p).cos()),
            sin: Mat::from_fn(length, planes, |t, p| angle(t, p).sin()),
        })
    }

    /// Cosines and sines, one row a position, one column a plane.
    pub(crate) fn tables(&self) -> (&Mat<f64>, &Mat<f64>) {
        (&self.cos, &self.sin)
    }

    /// Planes of a head, d_h / 2.
    fn planes(&self) -> usize {
        self.cos.ncols()
    }

    /// Columns `first..first + d_h` of `m`, row `t` turned by position `t`.
    pub(crate) fn turned(&self, m: &Mat<f64>, first: usize) -> Mat<f64> {
        let planes = self.planes();
        let mut out = Mat::zeros(m.nrows(), 2 * planes);
        for p in 0..planes {
            let re = m.col_as_slice(first + p);
            let im = m.col_as_slice(first + p + planes);
            let (cos, sin) = (self.cos.col_as_slice(p), self.sin.col_as_slice(p));
            let target = out.col_as_slice_mut(p);
            for (t, y) in target.iter_mut().enumerate() {
                *y = re[t] * cos[t] - im[t] * sin[t];
            }
            let target = out.col_as_slice_mut(p + planes);
            for (t, y) in target.iter_mut().enumerate() {
                *y = im[t] * cos[t] + re[t] * sin[t];
            }
        }
        out
    }

    /// Averages `R_delta^T B R_delta` over offsets with the given weights.
    pub(crate) fn offset_average(&self, weights: &[f64]) -> OffsetAverage {
        let roots: Vec<f64> = weights.iter().map(|w| w.sqrt()).collect();
        let (mut re, mut im) = self.inverse(weights.len());
        scale_rows(&mut re, &roots);
        scale_rows(&mut im, &roots);
        OffsetAverage::new(&re, &im)
    }

    /// What rotation leaves of a mean key: `B -> sum_delta Y_delta B Y_delta^T`, `Y_delta` the weighted innovation of
    /// `R_delta^T` over a sequence whose offsets have the given weights. With `B = mu mu^T` it is the pair-weighted scatter of
    /// the vectors `R_delta^T mu` about the mean of those that a row sees.
    pub(crate) fn scatter(&self, weights: &[f64]) -> OffsetAverage {
        let (re, im) = self.inverse(weights.len());
        let weights = [weights.to_vec()];
        OffsetAverage::new(&innovations(&[re], &weights), &innovations(&[im], &weights))
    }

    /// `exp(-i delta theta_p)` for the first `length` offsets: real and imaginary parts.
    fn inverse(&self, length: usize) -> (Mat<f64>, Mat<f64>) {
        let sin = self.sin.subrows(0, length);
        (self.cos.subrows(0, length).to_owned(), Mat::from_fn(length, sin.ncols(), |t, p| -sin[(t, p)]))
    }
}

/// The linear map `B -> sum_delta Y_delta B Y_delta^T` on `d_h x d_h` matrices, where `Y_delta` multiplies plane p, taken as a
/// complex number, by `y_p(delta)`: `sqrt(w_delta) exp(-i delta theta_p)` for an average over rotations.
///
/// A 2 x 2 block between planes p and q acts on complex numbers as `z -> alpha z + beta conj(z)`. The map multiplies alpha
/// by `sum_delta y_p conj(y_q)` and beta by `sum_delta y_p y_q`: a fixed complex factor per block, `O(d_h^2)` a matrix,
/// whatever the sequence length.
#[derive(Debug, Clone)]
pub(crate) struct OffsetAverage {
    minus_re: Mat<f64>,
    minus_im: Mat<f64>,
    plus_re: Mat<f64>,
    plus_im: Mat<f64>,
}

impl OffsetAverage {
    /// From real and imaginary parts of `y`, one row an offset, one column a plane.
    fn new(re: &Mat<f64>, im: &Mat<f64>) -> Self {
        let product = |a: &Mat<f64>, b: &Mat<f64>| mul_tn(a.as_ref(), b.as_ref());
        let (rr, ii, ri, ir) = (product(re, re), product(im, im), product(re, im), product(im, re));
        // The imaginary part of beta's factor is kept with its sign turned.
        Self { minus_re: &rr + &ii, minus_im: &ir - &ri, plus_re: &rr - &ii, plus_im: -(&ir + &ri) }
    }

    /// The fixed factors of blocks: of alpha, then of beta; real parts, then imaginary ones (beta's with its sign turned).
    pub(crate) fn tables(&self) -> [&Mat<f64>; 4] {
        [&self.minus_re, &self.minus_im, &self.plus_re, &self.plus_im]
    }

    /// `sum_delta Y_delta B Y_delta^T`.
    pub(crate) fn apply(&self, b: &Mat<f64>) -> Mat<f64> {
        self.combine(b, 1.0)
    }

    /// The transpose of the map: `sum_delta Y_delta^T A Y_delta`.
    pub(crate) fn adjoint(&self, a: &Mat<f64>) -> Mat<f64> {
        self.combine(a, -1.0)
    }

    fn combine(&self, b: &Mat<f64>, sign: f64) -> Mat<f64> {
        let planes = self.minus_re.nrows();
        let mut out = Mat::zeros(2 * planes, 2 * planes);
        for q in 0..planes {
            for p in 0..planes {
                let (b11, b12) = (b[(p, q)], b[(p, q + planes)]);
                let (b21, b22) = (b[(p + planes, q)], b[(p + planes, q + planes)]);
                let (alpha_re, alpha_im) = (0.5 * (b11 + b22), 0.5 * (b21 - b12));
                let (beta_re, beta_im) = (0.5 * (b11 - b22), 0.5 * (b21 + b12));
                let (f_re, f_im) = (self.minus_re[(p, q)], sign * self.minus_im[(p, q)]);
                let (g_re, g_im) = (self.plus_re[(p, q)], -sign * self.plus_im[(p, q)]);
                let a_re = alpha_re * f_re - alpha_im * f_im;
                let a_im = alpha_re * f_im + alpha_im * f_re;
                let c_re = beta_re * g_re - beta_im * g_im;
                let c_im = beta_re * g_im + beta_im * g_re;
                out[(p, q)] = a_re + c_re;
                out[(p, q + planes)] = c_im - a_im;
                out[(p + planes, q)] = a_im + c_im;
                out[(p + planes, q + planes)] = a_re - c_re;
            }
        }
        out
    }
}
