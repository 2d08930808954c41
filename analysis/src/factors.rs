//! The factorization of the predicted weight part of the growth (section 5).

use faer::Mat;
use serde::{Deserialize, Serialize};

use crate::eigen::lambda_max;
use crate::error::{AnalysisError, Result};
use crate::layer::{Geometry, Positions};
use crate::moments::Moments;
use crate::prediction::{MetricChange, Prediction};

/// `Gamma^_W = 1/2 sum over both ends S of eta u e_S c_S / a_S` of one head over one probe interval (5.1): exact.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Factors {
    /// Step size: learning rate times the head's multiplier, summed over the interval.
    pub eta: f64,
    /// Update geometry `|dM|_I / eta`; zero where nothing moved, infinite where weights moved with
    /// no step size.
    pub u: f64,
    /// `|dM|_I = eta u`, the step-size term: what the weights did.
    pub dm_i: f64,
    /// In the metric of the interval's start.
    pub start: EndFactor,
    /// In the metric of its end.
    pub end: EndFactor,
}

/// The factors that depend on the metric S.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EndFactor {
    /// Residual energy `|dM|_S / |dM|_I`: RMS logit change per unit of weight change; NaN where nothing moved.
    pub e: f64,
    /// Coherence `<M-bar,dM>_S / (|M-bar|_S |dM|_S)` in [-1, 1]; NaN where nothing moved.
    pub c: f64,
    /// The same with M for M-bar: the persistent part; `c - c0` is the diffusive one.
    pub c0: f64,
    /// Scale `Lambda_S / |M-bar|_S`: the predicted spread mid-interval; Lambda is the logarithmic mean of
    /// `|M|^2_S` and `|M'|^2_S`.
    pub scale: f64,
}

impl Factors {
    /// The product (5.1): the predicted weight part of the growth, where something moved.
    pub fn product(&self) -> f64 {
        0.5 * [self.start, self.end].iter().map(|s| self.dm_i * s.e * s.c / s.scale).sum::<f64>()
    }
}

/// Splits a prediction into its factors (5.1). `eta` is the step size summed over the interval.
///
/// # Errors
/// [`AnalysisError::StepSize`] (naming head 0) when `eta` is negative or not finite.
pub fn factorize(prediction: &Prediction, eta: f64) -> Result<Factors> {
    if !(eta.is_finite() && eta >= 0.0) {
        return Err(AnalysisError::StepSize { head: 0, value: eta });
    }
    let dm_i = prediction.dm_i;
    Ok(Factors {
        eta,
        u: if dm_i > 0.0 { dm_i / eta } else { 0.0 },
        dm_i,
        start: end_factor(&prediction.start, dm_i),
        end: end_factor(&prediction.end, dm_i),
    })
}

fn end_factor(m: &MetricChange, dm_i: f64) -> EndFactor {
    let moved = dm_i > 0.0;
    let step = m.step.sqrt();
    // Cauchy-Schwarz holds up to rounding; the clamp keeps parallel steps at exactly one. A step that moves no
    // logit points nowhere: it is coherent with nothing.
    let coherence = |inner: f64, square: f64| match (moved, step == 0.0) {
        (false, _) => f64::NAN,
        (true, true) => 0.0,
        (true, false) => (inner / (square.sqrt() * step)).clamp(-1.0, 1.0),
    };
    EndFactor {
        e: if moved { step / dm_i } else { f64::NAN },
        c: coherence(m.along, m.mean),
        c0: coherence(m.along - 0.5 * m.step, m.old),
        scale: m.log_mean() / m.mean.sqrt(),
    }
}

/// Upper bound (5.2) on the residual energy of every head:
/// `sqrt(lambda_max(Sq) lambda_max(Sk))`. NaN with rotary positions, where it does not hold.
///
/// # Errors
/// [`AnalysisError::Decomposition`] when an eigenvalue solver does not converge.
pub fn energy_bound(moments: &Moments, geometry: &Geometry) -> Result<f64> {
    if geometry.positions != Positions::Plain {
        return Ok(f64::NAN);
    }
    let top = |m: &Mat<f64>| lambda_max(m.as_ref());
    let (q, k) = rayon::join(|| top(&moments.sq), || top(&moments.sk));
    Ok(energy_bound_of(q?, k?, geometry))
}

/// [`energy_bound`] from the largest eigenvalues of the two moments.
pub(crate) fn energy_bound_of(sq: f64, sk: f64, geometry: &Geometry) -> f64 {
    if geometry.positions == Positions::Plain { (sq * sk).sqrt() } else { f64::NAN }
}
