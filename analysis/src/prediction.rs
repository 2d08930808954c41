//! Growth predicted from weights and second moments alone (section 4): no logits are used.
//!
//! With `M = W_Q W_K^T / sqrt(d_h)` and the metric `<A,B>_S = tr(A Sk B^T Sq)`, every inner product
//! needed is a sum over `d_h x d_h` Gram matrices of projected inputs:
//! `<U V^T, U' V'^T>_S = sum_ab (U^T Sq U')_ab N_ab`, `N = V^T Sk V'`. With rotary positions N is
//! averaged over `R_delta^T N R_delta` with `Sk` about each sequence's mean key `mu_s`, and the term of the mean
//! keys themselves is added: the vectors `R_delta^T V^T mu_s` centred over each row's offsets.
//!
//! All eight corners of an interval, and the factors of section 5, share twelve Gram matrices: those of the
//! midpoint and the step of the query weights, and of the key weights, under the moments of either end. Steps are
//! kept as differences: `|dM|^2` comes from them, never from large squares that cancel.

use faer::Mat;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::corners::{Corners, GrowthParts, NEW, OLD};
use crate::error::Result;
use crate::inners::Inners;
use crate::layer::{Geometry, LayerState};
use crate::linear::{difference, inner, midpoint, mul_tn};
use crate::projection::{CornerProjections, Forms, KeyFactor, Projected, head_columns};

/// Predicted growth of one head over one probe interval. Growths are NaN where a predicted spread is zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Predicted spread `a^ = sqrt(<M,M>_S)` at the interval's start (4.1).
    pub a_hat: f64,
    /// Predicted spread at its end.
    pub a_hat_next: f64,
    /// Predicted parts of the log growth (4.2).
    pub parts: GrowthParts,
    /// `R = v^(S',M') - v^(S,M')`: predicted log growth by the features under the new weights (5.4).
    pub feature_step: f64,
    /// The change of M in the metric with both moments the identity, `|dM|_I`: logit units per unit of
    /// input second moment.
    pub dm_i: f64,
    /// The change of M in the metric of the interval's start.
    pub start: MetricChange,
    /// The same in the metric of its end.
    pub end: MetricChange,
}

/// How M moves in one metric S. Squares and inner products are in units of squared logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricChange {
    /// `|M|^2_S` of the old weights.
    pub old: f64,
    /// `|M'|^2_S` of the new weights.
    pub new: f64,
    /// `|M-bar|^2_S` of the mean of M and M'.
    pub mean: f64,
    /// `|dM|^2_S`.
    pub step: f64,
    /// `<M-bar, dM>_S`: half of `new - old`, without the cancellation.
    pub along: f64,
}

impl MetricChange {
    /// `Lambda_S`: the logarithmic mean of `|M|^2_S` and `|M'|^2_S`.
    pub fn log_mean(&self) -> f64 {
        log_mean(self.old, self.new, 2.0 * self.along)
    }
}

/// Logarithmic mean `(b - a)/ln(b/a)` of two positive numbers whose difference is known better than by subtraction.
pub(crate) fn log_mean(a: f64, b: f64, difference: f64) -> f64 {
    // ln(b/a) = 2 artanh(z), z = (b - a)/(b + a): stable when a and b agree to many digits, and only then.
    let z = difference / (a + b);
    match z.abs() {
        0.0 => 0.5 * (a + b),
        near if near < 0.5 => 0.5 * (a + b) * z / z.atanh(),
        _ => difference / (b / a).ln(),
    }
}

impl Prediction {
    /// From the inner products at the interval's start, at its end, and with both moments the identity.
    pub(crate) fn of([start, end, identity]: &[Inners; 3], geometry: &Geometry) -> Self {
        let width = geometry.head_dim as f64;
        let ends = [start, end];
        // Gram products of rounded factors can leave a square a hair below zero.
        let square = |x: usize, q: usize, k: usize| ends[x].square(q, k).max(0.0) / width;
        let corners = Corners::from_squares(square);
        let change = |x: usize| MetricChange {
            old: square(x, OLD, OLD),
            new: square(x, NEW, NEW),
            mean: ends[x].mean().max(0.0) / width,
            step: ends[x].step().max(0.0) / width,
            along: ends[x].along() / width,
        };
        let defined = |v: f64| if v.is_finite() { v } else { f64::NAN };
        Self {
            a_hat: square(OLD, OLD, OLD).sqrt(),
            a_hat_next: square(NEW, NEW, NEW).sqrt(),
            parts: corners.parts(),
            feature_step: defined(corners.features_at_end()),
            dm_i: (identity.step().max(0.0) / width).sqrt(),
            start: change(OLD),
            end: change(NEW),
        }
    }

    /// Predicted total log growth `ln(a^'/a^)` (4.2).
    pub fn gamma_hat(&self) -> f64 {
        (self.a_hat_next / self.a_hat).ln()
    }
}

/// Predictions (4.1), (4.2) of every head from `prev` to `next`.
///
/// # Errors
/// As [`LayerState::validate_pair`].
pub fn predict(prev: &LayerState, next: &LayerState, geometry: &Geometry) -> Result<Vec<Prediction>> {
    prev.validate_pair(next, geometry)?;
    let forms = Forms::new(*geometry, prev.lengths());
    let own = |s: &LayerState| Projected::new(&s.x, &s.wq, &s.wk);
    let (before, after) = (own(prev), own(next));
    let corners = CornerProjections::new(prev, next, &before, &after);
    let grams = CornerFactors::new(&forms, &corners).grams(&forms, geometry.heads);
    Ok(predict_heads(&forms, &grams, prev, next, geometry))
}

/// Query and key factor of one projection.
#[derive(Debug, Clone)]
pub(crate) struct SideFactors {
    pub q: Mat<f64>,
    pub k: KeyFactor,
}

impl SideFactors {
    pub(crate) fn new(forms: &Forms, projected: &Projected) -> Self {
        let (q, k) = rayon::join(|| forms.query(&projected.q), || forms.key(&projected.k));
        Self { q, k }
    }

    /// `d_h <M,M>_S` of one head as its two Gram matrices.
    pub(crate) fn grams(&self, forms: &Forms, head: usize) -> (Mat<f64>, Mat<f64>) {
        (forms.head_gram(head, &self.q, &self.q), forms.key_gram(head, &self.k, &self.k))
    }
}

/// Old and new weights under the moments of one end: their midpoint and step as factors.
#[derive(Debug, Clone)]
pub(crate) struct EndFactors {
    /// By the weights of the start and of the end.
    pub own: [SideFactors; 2],
    pub middle: SideFactors,
    pub step: SideFactors,
}

impl EndFactors {
    fn new(forms: &Forms, corners: &CornerProjections<'_>, x: usize) -> Self {
        let (old, new) = rayon::join(
            || SideFactors::new(forms, corners.at(x, OLD)),
            || SideFactors::new(forms, corners.at(x, NEW)),
        );
        Self {
            middle: SideFactors { q: midpoint(&old.q, &new.q), k: old.k.midpoint(&new.k) },
            step: SideFactors { q: difference(&old.q, &new.q), k: old.k.difference(&new.k) },
            own: [old, new],
        }
    }
}

/// The factors under the moments of the start (0) and of the end (1).
pub(crate) struct CornerFactors(pub [EndFactors; 2]);

impl CornerFactors {
    pub(crate) fn new(forms: &Forms, corners: &CornerProjections<'_>) -> Self {
        let (start, end) =
            rayon::join(|| EndFactors::new(forms, corners, OLD), || EndFactors::new(forms, corners, NEW));
        Self([start, end])
    }

    /// Gram matrices of every head, under the moments of the start and of the end.
    pub(crate) fn grams(&self, forms: &Forms, heads: usize) -> Vec<[Grams; 2]> {
        let head = |h| [OLD, NEW].map(|x| Grams::new(forms, h, &self.0[x]));
        (0..heads).into_par_iter().map(head).collect()
    }
}

/// Gram matrices of midpoint m and step s, on the query side (A) and on the key side (N).
pub(crate) struct Grams {
    pub a_mm: Mat<f64>,
    pub a_ms: Mat<f64>,
    pub a_ss: Mat<f64>,
    n_mm: Mat<f64>,
    n_ms: Mat<f64>,
    n_ss: Mat<f64>,
}

impl Grams {
    fn new(forms: &Forms, head: usize, f: &EndFactors) -> Self {
        let (m, s) = (&f.middle, &f.step);
        Self {
            a_mm: forms.head_gram(head, &m.q, &m.q),
            a_ms: forms.head_gram(head, &m.q, &s.q),
            a_ss: forms.head_gram(head, &s.q, &s.q),
            n_mm: forms.key_gram(head, &m.k, &m.k),
            n_ms: forms.key_gram(head, &m.k, &s.k),
            n_ss: forms.key_gram(head, &s.k, &s.k),
        }
    }

    /// The same with both moments the identity (and so no mean key).
    fn identity(
        forms: &Forms,
        head: usize,
        geometry: &Geometry,
        prev: &LayerState,
        next: &LayerState,
    ) -> Self {
        let take = |m: &Mat<f64>| head_columns(m, geometry, head);
        let pair = |a: &Mat<f64>, b: &Mat<f64>| {
            let (a, b) = (take(a), take(b));
            (midpoint(&a, &b), difference(&a, &b))
        };
        let ((qm, qs), (km, ks)) = (pair(&prev.wq, &next.wq), pair(&prev.wk, &next.wk));
        let a = |x: &Mat<f64>, y: &Mat<f64>| mul_tn(x.as_ref(), y.as_ref());
        let n = |x: &Mat<f64>, y: &Mat<f64>| forms.averaged(mul_tn(x.as_ref(), y.as_ref()));
        Self {
            a_mm: a(&qm, &qm),
            a_ms: a(&qm, &qs),
            a_ss: a(&qs, &qs),
            n_mm: n(&km, &km),
            n_ms: n(&km, &ks),
            n_ss: n(&ks, &ks),
        }
    }

    /// A and N of the old or the new weights.
    pub(crate) fn own(&self, weights: usize) -> [Mat<f64>; 2] {
        [own(&self.a_mm, &self.a_ms, &self.a_ss, weights), own(&self.n_mm, &self.n_ms, &self.n_ss, weights)]
    }

    pub(crate) fn inners(&self) -> Inners {
        let (ms, ns) = (self.a_ms.transpose().to_owned(), self.n_ms.transpose().to_owned());
        let queries = [&self.a_mm, &self.a_ms, &ms, &self.a_ss];
        let keys = [&self.n_mm, &self.n_ms, &ns, &self.n_ss];
        Inners(queries.map(|a| keys.map(|n| inner(a, n))))
    }
}

/// Gram matrix of `m +- s/2` from those of m and s.
fn own(mm: &Mat<f64>, ms: &Mat<f64>, ss: &Mat<f64>, weights: usize) -> Mat<f64> {
    let sign = if weights == OLD { -0.5 } else { 0.5 };
    Mat::from_fn(mm.nrows(), mm.ncols(), |i, j| {
        mm[(i, j)] + sign * (ms[(i, j)] + ms[(j, i)]) + 0.25 * ss[(i, j)]
    })
}

pub(crate) fn predict_heads(
    forms: &Forms,
    grams: &[[Grams; 2]],
    prev: &LayerState,
    next: &LayerState,
    geometry: &Geometry,
) -> Vec<Prediction> {
    grams
        .par_iter()
        .enumerate()
        .map(|(head, [start, end])| {
            let (start, end) = (start.inners(), end.inners());
            Prediction::of(
                &[start, end, Grams::identity(forms, head, geometry, prev, next).inners()],
                geometry,
            )
        })
        .collect()
}

/// Predicted spread (4.1) of every head of one state.
pub(crate) fn predicted_spreads(forms: &Forms, projected: &Projected, geometry: &Geometry) -> Vec<f64> {
    let own = SideFactors::new(forms, projected);
    (0..geometry.heads)
        .map(|head| {
            let (a, n) = own.grams(forms, head);
            (inner(&a, &n).max(0.0) / geometry.head_dim as f64).sqrt()
        })
        .collect()
}
