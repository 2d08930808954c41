//! Which upstream write's drift moved the logits: the predicted feature path (4.2), write by write.
//!
//! `<M',M'>_S` is bilinear in the query moment and the key moment, and each moment is quadratic in
//! the inputs. A difference of products equals the mean of one factor times the difference of the
//! other, summed over both; applied twice, the difference between the two probe times is linear in
//! the change of the input, with nothing left over:
//!
//! `B(Sq',Sk') - B(Sq,Sk) = B(mean Sq, dSk) + B(dSq, mean Sk)`,
//! `dS = (x'-x)(mean x)^T + (mean x)(x'-x)^T` under the pair weights.
//!
//! The change of the input is the sum of the changes of the writes' contributions, so the parts add
//! up to the predicted feature path exactly.

use faer::{Accum, Mat};

use crate::accounting::Projected;
use crate::error::{Result, shape};
use crate::interval::LayerProbe;
use crate::layer::{Geometry, LayerState};
use crate::linear::{inner, mul_into};
use crate::prediction::SideFactors;
use crate::projection::Forms;
use crate::writes::{InputGradient, WriteShares};

/// The predicted feature path of a layer, averaged over heads, as a linear form on changes of the
/// attention input.
#[derive(Debug, Clone)]
pub struct DriftSensitivity {
    gradient: InputGradient,
    /// The form applied to the whole change of the input.
    whole: f64,
    /// Mean over heads of the predicted feature path, from the metric.
    total: f64,
}

impl DriftSensitivity {
    /// Works out the form for the interval from `prev` to `next`.
    ///
    /// # Errors
    /// As [`LayerState::validate_pair`].
    pub fn new(prev: &LayerState, next: &LayerState, geometry: &Geometry) -> Result<Self> {
        prev.validate_pair(next, geometry)?;
        let forms = Forms::new(*geometry, prev.lengths());
        let project = |state: &LayerState| Projected::new(&state.x, &state.wq, &state.wk);
        Ok(Self::build(prev, next, geometry, &forms, [&project(prev), &project(next)]))
    }

    /// [`DriftSensitivity::new`] with the projections that prepared probes already hold.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Geometry`] or [`crate::AnalysisError::Shape`] when the probes do not
    /// belong together.
    pub fn between(prev: &LayerProbe, next: &LayerProbe) -> Result<Self> {
        prev.check_follows(next)?;
        let projected = [prev.projected(), next.projected()];
        Ok(Self::build(prev.state(), next.state(), prev.geometry(), prev.forms(), projected))
    }

    /// `projected`: each state's inputs by its own weights.
    fn build(
        prev: &LayerState,
        next: &LayerState,
        geometry: &Geometry,
        forms: &Forms,
        projected: [&Projected; 2],
    ) -> Self {
        let start = SideFactors::new(forms, projected[0]);
        let old = SideFactors::new(forms, &Projected::new(&prev.x, &next.wq, &next.wk));
        let new = SideFactors::new(forms, projected[1]);
        let keys = old.k.midpoint(&new.k);
        let queries = midpoint(&old.q, &new.q);
        let mut by_key = keys.zeros_like();
        let mut by_query = Mat::zeros(queries.nrows(), queries.ncols());
        let mut total = 0.0;
        for head in 0..geometry.heads {
            let square =
                |f: &SideFactors| (forms.head_gram(head, &f.q, &f.q), forms.key_gram(head, &f.k, &f.k));
            let ((a, n), (a_next, n_next)) = (square(&old), square(&new));
            let (a_start, n_start) = square(&start);
            // Rates are over 2 <M,M>_S, then averaged over heads; d_h cancels.
            let weight = 1.0 / (2.0 * inner(&a_start, &n_start) * geometry.heads as f64);
            total += weight * (inner(&a_next, &n_next) - inner(&a, &n));
            let (a_mean, n_mean) = (midpoint(&a, &a_next), midpoint(&n, &n_next));
            forms.pull_back(head, &keys, &a_mean, 2.0 * weight, &mut by_key);
            let (first, width) = (head * geometry.head_dim, geometry.head_dim);
            mul_into(
                by_query.as_mut().subcols_mut(first, width),
                Accum::Add,
                queries.subcols(first, width),
                n_mean.as_ref(),
                2.0 * weight,
            );
        }
        let mut gradient = InputGradient::new(&prev.lengths(), prev.width());
        gradient.add_projected(&forms.key_adjoint(&by_key), &next.wk);
        gradient.add_projected(&forms.query_adjoint(&by_query), &next.wq);
        Self { whole: gradient.dot_input(&next.x) - gradient.dot_input(&prev.x), gradient, total }
    }

    /// Mean over heads of the predicted feature path (4.2): what the parts add up to.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// Part of the feature path that one write's drift makes, in units of the growth rate. `before`
    /// and `after`: its contribution to the attention input at the two times, `T x d` a sequence.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Shape`] or [`crate::AnalysisError::NotFinite`].
    pub fn part(&self, before: &[Mat<f64>], after: &[Mat<f64>]) -> Result<f64> {
        Ok(self.gradient.dot_write(after)? - self.gradient.dot_write(before)?)
    }

    /// Parts of all writes, and of what they leave of the input.
    ///
    /// # Errors
    /// As [`DriftSensitivity::part`], and [`crate::AnalysisError::Shape`] when the lists differ.
    pub fn parts(&self, before: &[Vec<Mat<f64>>], after: &[Vec<Mat<f64>>]) -> Result<WriteShares> {
        if before.len() != after.len() {
            return Err(shape("later write contributions", format!("{} writes", before.len()), after.len()));
        }
        let writes = before.iter().zip(after).map(|(b, a)| self.part(b, a)).collect::<Result<Vec<f64>>>()?;
        let constant = self.whole - writes.iter().sum::<f64>();
        Ok(WriteShares { writes, constant })
    }
}

/// Parts of upstream writes in the predicted feature path of a layer (mean over heads), in units of
/// the growth rate; they add up to it exactly. Contributions as in [`crate::energy_shares`].
///
/// # Errors
/// As [`DriftSensitivity::new`] and [`DriftSensitivity::parts`].
pub fn drift_shares(
    prev: &LayerState,
    next: &LayerState,
    geometry: &Geometry,
    before: &[Vec<Mat<f64>>],
    after: &[Vec<Mat<f64>>],
) -> Result<WriteShares> {
    DriftSensitivity::new(prev, next, geometry)?.parts(before, after)
}

fn midpoint(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| 0.5 * (a[(i, j)] + b[(i, j)]))
}
