//! Which upstream write supplies the energy that attention grows on (5.3).
//!
//! The attention input is, token by token, a sum of contributions of the writes plus a constant
//! part. `|dM|_S^2`, in the metric of the interval's start, is quadratic in the key side; replacing one of its two
//! factors by the moment with one write's contribution makes it linear in the writes, so the shares add up exactly.
//! With rotary positions the mean-key term is treated alike.
//!
//! The linear form is worked out once as a matrix the shape of the input, through `d_h`-wide
//! projections; every write then costs one inner product, `O(sum T d)`.

use faer::Mat;

use crate::corners::OLD;
use crate::error::Result;
use crate::interval::LayerChange;
use crate::layer::{Geometry, LayerState};
use crate::linear::{difference, midpoint};
use crate::prediction::{CornerFactors, Grams};
use crate::projection::{CornerProjections, Forms, Projected};
use crate::writes::{InputGradient, StreamNorm, WriteShares};

/// The predicted squared logit change of a layer, summed over heads, as a linear form on
/// contributions to the attention input.
#[derive(Debug, Clone)]
pub struct EnergySensitivity {
    gradient: InputGradient,
    /// The form applied to the whole input.
    whole: f64,
    /// `sum_h |dM|_S^2`, from the metric.
    total: f64,
}

impl EnergySensitivity {
    /// Works out the form for the interval from `prev` to `next`, at the inputs of `prev`.
    ///
    /// # Errors
    /// As [`LayerState::validate_pair`].
    pub fn new(prev: &LayerState, next: &LayerState, geometry: &Geometry) -> Result<Self> {
        prev.validate_pair(next, geometry)?;
        let forms = Forms::new(*geometry, prev.lengths());
        let own = |s: &LayerState| Projected::new(&s.x, &s.wq, &s.wk);
        let (before, after) = (own(prev), own(next));
        let corners = CornerProjections::new(prev, next, &before, &after);
        let factors = CornerFactors::new(&forms, &corners);
        Ok(Self::build((prev, next), geometry, &forms, &factors, &factors.grams(&forms, geometry.heads)))
    }

    /// [`EnergySensitivity::new`] with the work that an interval between prepared probes already did.
    pub fn of(change: &LayerChange<'_>) -> Self {
        let (prev, next) = (change.prev(), change.next());
        let states = (prev.state(), next.state());
        Self::build(states, prev.geometry(), prev.forms(), change.factors(), change.grams())
    }

    fn build(
        (prev, next): (&LayerState, &LayerState),
        geometry: &Geometry,
        forms: &Forms,
        factors: &CornerFactors,
        grams: &[[Grams; 2]],
    ) -> Self {
        let (m, s) = (&factors.0[OLD].middle, &factors.0[OLD].step);
        let (mut by_middle, mut by_step) = (m.k.zeros_like(), s.k.zeros_like());
        let alpha = 1.0 / geometry.head_dim as f64;
        let mut total = 0.0;
        for (head, [start, _]) in grams.iter().enumerate() {
            let a_sm = start.a_ms.transpose().to_owned();
            // dM = s_q m_k^T + m_q s_k^T: the second key factor is m beside s_q and s beside m_q.
            forms.pull_back(head, &m.k, &start.a_ss, alpha, &mut by_middle);
            forms.pull_back(head, &s.k, &start.a_ms, alpha, &mut by_middle);
            forms.pull_back(head, &m.k, &a_sm, alpha, &mut by_step);
            forms.pull_back(head, &s.k, &start.a_mm, alpha, &mut by_step);
            total += alpha * start.inners().step();
        }
        let mut gradient = InputGradient::new(&prev.lengths(), prev.width());
        gradient.add_projected(&forms.key_adjoint(&by_middle), &midpoint(&prev.wk, &next.wk));
        gradient.add_projected(&forms.key_adjoint(&by_step), &difference(&prev.wk, &next.wk));
        Self { whole: gradient.dot_input(&prev.x), gradient, total }
    }

    /// Sum over heads of `|dM|_S^2`: the denominator of the shares.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// Share of one write in the layer's energy. `write`: its contribution to the attention input,
    /// one `T x d` matrix a sequence (bias column left out). NaN when nothing moved.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Shape`] or [`crate::AnalysisError::NotFinite`].
    pub fn share(&self, write: &[Mat<f64>]) -> Result<f64> {
        Ok(self.gradient.dot_write(write)? / self.total)
    }

    /// Share of all writes, and of what they leave of the input: together one, to rounding.
    ///
    /// # Errors
    /// As [`EnergySensitivity::share`].
    pub fn shares(&self, writes: &[Vec<Mat<f64>>]) -> Result<WriteShares> {
        self.with_rest(writes.iter().map(|w| self.share(w)).collect::<Result<Vec<f64>>>()?)
    }

    /// As [`EnergySensitivity::shares`] for writes as they stand in the stream, `[tokens x d]` row-major each; `norm`
    /// is what turned the stream into the attention input at the interval's start.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Shape`] or [`crate::AnalysisError::NotFinite`].
    pub fn shares_of_stream(&self, norm: &StreamNorm<'_>, writes: &[&[f32]]) -> Result<WriteShares> {
        let gradient = self.gradient.through(norm)?;
        let share = |w: &&[f32]| Ok(gradient.dot(w)? / self.total);
        self.with_rest(writes.iter().map(share).collect::<Result<Vec<f64>>>()?)
    }

    fn with_rest(&self, writes: Vec<f64>) -> Result<WriteShares> {
        Ok(WriteShares::of(writes, self.whole / self.total))
    }
}

/// Shares of upstream writes in the energy `sum_h |dM|_S^2` that a layer's attention grows on (5.3).
///
/// `writes[k][b]` is the contribution of write k to sequence b's attention input:
/// `gain * centre(w_k) / rms(h)`, `T x d`, bias column left out.
///
/// # Errors
/// As [`EnergySensitivity::new`] and [`EnergySensitivity::share`].
pub fn energy_shares(
    prev: &LayerState,
    next: &LayerState,
    geometry: &Geometry,
    writes: &[Vec<Mat<f64>>],
) -> Result<WriteShares> {
    EnergySensitivity::new(prev, next, geometry)?.shares(writes)
}
