//! Which upstream write's drift moved the features' part of the growth (4.3), write by write.
//!
//! For fixed weights, `<M,M>_S` is bilinear in the query moment and the key moment, and each moment is quadratic in
//! the inputs. A difference of products equals the mean of one factor times the difference of the
//! other, summed over both; applied twice, the difference between the two probe times is linear in
//! the change of the input, with nothing left over:
//!
//! `B(Sq',Sk') - B(Sq,Sk) = B(mean Sq, dSk) + B(dSq, mean Sk)`,
//! `dS = (x'-x)(mean x)^T + (mean x)(x'-x)^T` under the pair weights.
//!
//! Over twice the logarithmic mean of the two squares it is the log growth under those weights; the mean over the
//! old and the new weights is the predicted `Gamma_F` (4.2). The change of the input is the sum of the changes of
//! the writes' contributions, so the parts add up to it exactly.

use faer::{Accum, Mat};

use crate::corners::{NEW, OLD};
use crate::error::{Result, shape};
use crate::interval::LayerChange;
use crate::layer::{Geometry, LayerState};
use crate::linear::{midpoint, mul_into};
use crate::prediction::{CornerFactors, Grams, log_mean};
use crate::projection::{CornerProjections, Forms, Projected};
use crate::writes::{InputGradient, StreamNorm, WriteShares};

/// The features' part of a layer's predicted growth, averaged over heads, as a linear form on changes of the
/// attention input. Heads whose growth is undefined (zero spread) are left out of the mean.
#[derive(Debug, Clone)]
pub struct DriftSensitivity {
    gradient: InputGradient,
    /// The form applied to the whole change of the input.
    whole: f64,
    /// Mean over heads of the predicted `Gamma_F`, from the metric.
    total: f64,
}

/// What the heads' squares `d_h <M,M>_S` weigh in the derivative of the mean growth.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftWeights {
    /// Of each head, under the old and the new weights; zero where its growth is undefined.
    pub alpha: Vec<[f64; 2]>,
    /// Mean over heads of the predicted `Gamma_F` (4.2); NaN where every head's is undefined.
    pub total: f64,
}

impl DriftWeights {
    /// From the squares of each head, `[weights][features]`.
    pub(crate) fn of(squares: impl Iterator<Item = [[f64; 2]; 2]>) -> Self {
        // Growth of |M|_S^2 under each set of weights, over twice its logarithmic mean; none where it is undefined.
        let weight = |[old, new]: [f64; 2]| {
            let scale = 2.0 * log_mean(old, new, new - old);
            (1.0 / scale, (new - old) / scale)
        };
        let heads: Vec<_> = squares
            .map(|of| of.map(weight))
            .map(|both| both.iter().all(|(w, g)| w.is_finite() && g.is_finite() && *w > 0.0).then_some(both))
            .collect();
        let defined = heads.iter().flatten().count() as f64;
        // Two sets of weights, then the mean over heads; dS is symmetric, which gives the factor of two.
        let share = 0.5 / defined;
        let total = if defined > 0.0 {
            heads.iter().flatten().flatten().map(|(_, growth)| share * growth).sum()
        } else {
            f64::NAN
        };
        let alpha = heads
            .iter()
            .map(|h| h.map_or([0.0; 2], |both| both.map(|(scale, _)| 2.0 * share * scale)))
            .collect();
        Self { alpha, total }
    }
}

impl DriftSensitivity {
    /// Works out the form for the interval from `prev` to `next`.
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

    /// [`DriftSensitivity::new`] with the work that an interval between prepared probes already did.
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
        let squares = |ends: &[Grams; 2]| {
            let inners = [OLD, NEW].map(|x| ends[x].inners());
            [OLD, NEW].map(|w| [OLD, NEW].map(|x| inners[x].square(w, w)))
        };
        let weights = DriftWeights::of(grams.iter().map(squares));
        let mut gradient = InputGradient::new(&prev.lengths(), prev.width());
        for (w, weights_at) in [(OLD, (&prev.wq, &prev.wk)), (NEW, (&next.wq, &next.wk))] {
            let [old, new] = [OLD, NEW].map(|x| &factors.0[x].own[w]);
            let (keys, queries) = (old.k.midpoint(&new.k), midpoint(&old.q, &new.q));
            let mut by_key = keys.zeros_like();
            let mut by_query = Mat::zeros(queries.nrows(), queries.ncols());
            for (head, alpha) in weights.alpha.iter().map(|a| a[w]).enumerate() {
                if alpha == 0.0 {
                    continue;
                }
                let [[a_old, n_old], [a_new, n_new]] = [OLD, NEW].map(|x| grams[head][x].own(w));
                let (a_mean, n_mean) = (midpoint(&a_old, &a_new), midpoint(&n_old, &n_new));
                forms.pull_back(head, &keys, &a_mean, alpha, &mut by_key);
                let (first, width) = (head * geometry.head_dim, geometry.head_dim);
                mul_into(
                    by_query.as_mut().subcols_mut(first, width),
                    Accum::Add,
                    queries.subcols(first, width),
                    n_mean.as_ref(),
                    alpha,
                );
            }
            gradient.add_projected(&forms.key_adjoint(&by_key), weights_at.1);
            gradient.add_projected(&forms.query_adjoint(&by_query), weights_at.0);
        }
        let whole = gradient.dot_input(&next.x) - gradient.dot_input(&prev.x);
        Self { whole, gradient, total: weights.total }
    }

    /// Mean over heads of the predicted `Gamma_F` (4.2): what the parts add up to.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// Part of the growth that one write's drift makes, in units of ln. `before`
    /// and `after`: its contribution to the attention input at the two times, `T x d` a sequence.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Shape`] or [`crate::AnalysisError::NotFinite`].
    pub fn part(&self, before: &[Mat<f64>], after: &[Mat<f64>]) -> Result<f64> {
        Ok(self.gradient.dot_write(after)? - self.gradient.dot_write(before)?)
    }

    /// Parts of all writes, and of what they leave of the input (gains and biases).
    ///
    /// # Errors
    /// As [`DriftSensitivity::part`], and [`crate::AnalysisError::Shape`] when the lists differ.
    pub fn parts(&self, before: &[Vec<Mat<f64>>], after: &[Vec<Mat<f64>>]) -> Result<WriteShares> {
        same_number(before.len(), after.len())?;
        Ok(self
            .with_rest(before.iter().zip(after).map(|(b, a)| self.part(b, a)).collect::<Result<Vec<f64>>>()?))
    }

    /// As [`DriftSensitivity::parts`] for writes as they stand in the stream, `[tokens x d]` row-major each, with the
    /// norms that read it at the two times.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Shape`] or [`crate::AnalysisError::NotFinite`].
    pub fn parts_of_stream(
        &self,
        (norm_before, before): (&StreamNorm<'_>, &[&[f32]]),
        (norm_after, after): (&StreamNorm<'_>, &[&[f32]]),
    ) -> Result<WriteShares> {
        same_number(before.len(), after.len())?;
        let (old, new) = (self.gradient.through(norm_before)?, self.gradient.through(norm_after)?);
        let part = |(b, a): (&&[f32], &&[f32])| Ok(new.dot(a)? - old.dot(b)?);
        Ok(self.with_rest(before.iter().zip(after).map(part).collect::<Result<Vec<f64>>>()?))
    }

    fn with_rest(&self, writes: Vec<f64>) -> WriteShares {
        WriteShares::of(writes, self.whole)
    }
}

fn same_number(before: usize, after: usize) -> Result<()> {
    if before == after { Ok(()) } else { Err(shape("later writes", format!("{before} writes"), after)) }
}

/// Parts of upstream writes in the features' part of a layer's predicted growth (mean over heads), in units of
/// ln; they add up to it exactly. Contributions as in [`crate::energy_shares`].
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
