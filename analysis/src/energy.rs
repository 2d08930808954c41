//! Which upstream write supplies the energy that attention grows on (5.3).
//!
//! The attention input is, token by token, a sum of contributions of the writes plus a constant
//! part. `r^2 = <dM,dM>_S` is quadratic in the key side; replacing one of its two factors by the
//! moment with one write's contribution makes it linear in the writes, so the shares add up exactly.
//! With rotary positions the mean-key term is treated alike.
//!
//! The linear form is worked out once as a matrix the shape of the input, through `d_h`-wide
//! projections; every write then costs one inner product, `O(sum T d)`.

use faer::Mat;

use crate::accounting::Projected;
use crate::error::Result;
use crate::interval::LayerProbe;
use crate::layer::{Geometry, LayerState};
use crate::prediction::{SideFactors, WeightStep, predicted_step};
use crate::projection::Forms;
use crate::writes::{InputGradient, WriteShares};

/// The predicted squared logit step of a layer, summed over heads, as a linear form on
/// contributions to the attention input.
#[derive(Debug, Clone)]
pub struct EnergySensitivity {
    gradient: InputGradient,
    /// The form applied to the whole input.
    whole: f64,
    /// `sum_h r^2`, from the metric.
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
        let projected = Projected::new(&prev.x, &prev.wq, &prev.wk);
        Ok(Self::build(prev, next, geometry, &forms, &projected))
    }

    /// [`EnergySensitivity::new`] with the projections that prepared probes already hold.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Geometry`] or [`crate::AnalysisError::Shape`] when the probes do not
    /// belong together.
    pub fn between(prev: &LayerProbe, next: &LayerProbe) -> Result<Self> {
        prev.check_follows(next)?;
        Ok(Self::build(prev.state(), next.state(), prev.geometry(), prev.forms(), prev.projected()))
    }

    fn build(
        prev: &LayerState,
        next: &LayerState,
        geometry: &Geometry,
        forms: &Forms,
        projected: &Projected,
    ) -> Self {
        let step = WeightStep::new(prev, next);
        let w = SideFactors::new(forms, projected);
        let d = SideFactors::new(forms, &Projected::new(&prev.x, &step.dq, &step.dk));
        let (mut by_w, mut by_d) = (w.k.zeros_like(), d.k.zeros_like());
        let alpha = 1.0 / geometry.head_dim as f64;
        let mut total = 0.0;
        for head in 0..geometry.heads {
            let a_ww = forms.head_gram(head, &w.q, &w.q);
            let a_wd = forms.head_gram(head, &w.q, &d.q);
            let a_dw = a_wd.transpose().to_owned();
            let a_dd = forms.head_gram(head, &d.q, &d.q);
            // dM = dQ w^T + Q d^T: the second key factor is w beside dQ and d beside Q.
            forms.pull_back(head, &w.k, &a_dd, alpha, &mut by_w);
            forms.pull_back(head, &d.k, &a_wd, alpha, &mut by_w);
            forms.pull_back(head, &w.k, &a_dw, alpha, &mut by_d);
            forms.pull_back(head, &d.k, &a_ww, alpha, &mut by_d);
            total += predicted_step(forms, head, &w, &d) * alpha;
        }
        let mut gradient = InputGradient::new(&prev.lengths(), prev.width());
        gradient.add_projected(&forms.key_adjoint(&by_w), &prev.wk);
        gradient.add_projected(&forms.key_adjoint(&by_d), &step.dk);
        Self { whole: gradient.dot_input(&prev.x), gradient, total }
    }

    /// Sum over heads of `r^2`: the denominator of the shares.
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
        let writes = writes.iter().map(|w| self.share(w)).collect::<Result<Vec<f64>>>()?;
        let constant = self.whole / self.total - writes.iter().sum::<f64>();
        Ok(WriteShares { writes, constant })
    }
}

/// Shares of upstream writes in the energy `sum_h r^2` that a layer's attention grows on (5.3).
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
