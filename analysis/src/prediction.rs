//! Growth predicted from weights and second moments alone (section 4): no logits are used.
//!
//! With `M = W_Q W_K^T / sqrt(d_h)` and the metric `<A,B>_S = tr(A Sk B^T Sq)`, every inner product
//! needed is a sum over `d_h x d_h` Gram matrices of projected inputs:
//! `<U V^T, U' V'^T>_S = sum_ab (U^T Sq U')_ab N_ab`, `N = V^T Sk V'`. With rotary positions N is
//! averaged over `R_delta^T N R_delta` with `Sk` about the mean key `mu_k`, and the term of the mean
//! key itself is added: the vectors `R_delta^T V^T mu_k` centred over each row's offsets.
//!
//! Cost a layer: two projections `sum T d H d_h` each and `sum T H d_h^2` for the Gram matrices;
//! neither `d x d` nor `T x T` matrices appear.

use faer::Mat;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::accounting::Projected;
use crate::error::Result;
use crate::layer::{Geometry, LayerState};
use crate::linear::{inner, inner_transposed, mul_tn};
use crate::projection::{Forms, KeyFactor, head_columns};

/// Predicted growth of one head over one probe interval.
///
/// Rates are NaN when the predicted spread is zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Predicted spread `a^ = sqrt(<M,M>_S)` (4.1).
    pub a_hat: f64,
    /// Predicted RMS of the first-order logit step `r^ = sqrt(<dM,dM>_S)` (4.1).
    pub r_hat: f64,
    /// Predicted growth rate `g^ = <M,dM>_S / <M,M>_S` (4.1).
    pub g_hat: f64,
    /// Predicted feature path `(<M',M'>_S' - <M',M'>_S) / (2 <M,M>_S)` (4.2).
    pub gf_hat: f64,
    /// Predicted spread at the later time.
    pub a_hat_next: f64,
    /// Weight step in the metric with both moments the identity, `|dM|_I`: logit units per unit of
    /// input second moment.
    pub dm_i: f64,
    /// `<M,dM>_S`, for the coherence factor.
    pub m_dm: f64,
}

impl Prediction {
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
    let step = WeightStep::new(prev, next);
    let before = Projected::new(&prev.x, &prev.wq, &prev.wk);
    let change = Projected::new(&prev.x, &step.dq, &step.dk);
    let moved = Projected::new(&prev.x, &next.wq, &next.wk);
    let after = Projected::new(&next.x, &next.wq, &next.wk);
    let factors = IntervalFactors {
        prev: SideFactors::new(&forms, &before),
        step: SideFactors::new(&forms, &change),
        moved: SideFactors::new(&forms, &moved),
        next: SideFactors::new(&forms, &after),
    };
    Ok(predict_factors(&forms, &factors, prev, &step, geometry))
}

/// `dW_Q`, `dW_K`.
#[derive(Debug, Clone)]
pub(crate) struct WeightStep {
    pub dq: Mat<f64>,
    pub dk: Mat<f64>,
}

impl WeightStep {
    pub(crate) fn new(prev: &LayerState, next: &LayerState) -> Self {
        Self { dq: &next.wq - &prev.wq, dk: &next.wk - &prev.wk }
    }
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

    /// `<M,M>_S` of one head, times d_h.
    fn square(&self, forms: &Forms, head: usize) -> f64 {
        inner(&forms.head_gram(head, &self.q, &self.q), &forms.key_gram(head, &self.k, &self.k))
    }
}

/// The factors that an interval's predictions use.
pub(crate) struct IntervalFactors {
    pub prev: SideFactors,
    pub step: SideFactors,
    pub moved: SideFactors,
    pub next: SideFactors,
}

pub(crate) fn predict_factors(
    forms: &Forms,
    factors: &IntervalFactors,
    prev: &LayerState,
    step: &WeightStep,
    geometry: &Geometry,
) -> Vec<Prediction> {
    (0..geometry.heads)
        .into_par_iter()
        .map(|head| {
            let metric = head_metric(forms, head, &factors.prev, &factors.step);
            let mm_moved = factors.moved.square(forms, head);
            let mm_next = factors.next.square(forms, head);
            let width = geometry.head_dim as f64;
            // Gram products of rounded factors can leave a square a hair below zero.
            let root = |square: f64| (square.max(0.0) / width).sqrt();
            Prediction {
                a_hat: root(metric.mm),
                r_hat: root(metric.dd),
                g_hat: metric.md / metric.mm,
                gf_hat: (mm_next - mm_moved) / (2.0 * metric.mm),
                a_hat_next: root(mm_next),
                dm_i: root(identity_step(forms, geometry, head, prev, step)),
                m_dm: metric.md / width,
            }
        })
        .collect()
}

/// Inner products of M and dM, times d_h.
struct HeadMetric {
    mm: f64,
    md: f64,
    dd: f64,
}

/// The nine sums behind one head's metric. `A_xy` pairs query factors, `N_xy` key factors, with
/// x, y in {w, d}: dM is `d w^T + w d^T`.
fn combine(a: [&Mat<f64>; 3], n: [&Mat<f64>; 3]) -> HeadMetric {
    let ([a_ww, a_wd, a_dd], [n_ww, n_wd, n_dd]) = (a, n);
    HeadMetric {
        mm: inner(a_ww, n_ww),
        md: inner(a_wd, n_ww) + inner(a_ww, n_wd),
        dd: inner(a_dd, n_ww) + 2.0 * inner_transposed(a_wd, n_wd) + inner(a_ww, n_dd),
    }
}

fn head_metric(forms: &Forms, head: usize, w: &SideFactors, d: &SideFactors) -> HeadMetric {
    combine(
        [
            &forms.head_gram(head, &w.q, &w.q),
            &forms.head_gram(head, &w.q, &d.q),
            &forms.head_gram(head, &d.q, &d.q),
        ],
        [
            &forms.key_gram(head, &w.k, &w.k),
            &forms.key_gram(head, &w.k, &d.k),
            &forms.key_gram(head, &d.k, &d.k),
        ],
    )
}

/// `|dM|_I^2 * d_h`: the same sums with both moments the identity (and so no mean key).
fn identity_step(
    forms: &Forms,
    geometry: &Geometry,
    head: usize,
    prev: &LayerState,
    step: &WeightStep,
) -> f64 {
    let take = |m: &Mat<f64>| head_columns(m, geometry, head);
    let (wq, dq, wk, dk) = (take(&prev.wq), take(&step.dq), take(&prev.wk), take(&step.dk));
    let a = |x: &Mat<f64>, y: &Mat<f64>| mul_tn(x.as_ref(), y.as_ref());
    let n = |x: &Mat<f64>, y: &Mat<f64>| forms.averaged(mul_tn(x.as_ref(), y.as_ref()));
    combine([&a(&wq, &wq), &a(&wq, &dq), &a(&dq, &dq)], [&n(&wk, &wk), &n(&wk, &dk), &n(&dk, &dk)]).dd
}

/// `<dM,dM>_S` of one head, times d_h.
pub(crate) fn predicted_step(forms: &Forms, head: usize, w: &SideFactors, d: &SideFactors) -> f64 {
    head_metric(forms, head, w, d).dd
}
