//! The factorization of the predicted growth rate (section 5).

use faer::Mat;
use serde::{Deserialize, Serialize};

use crate::eigen::lambda_max;
use crate::error::{AnalysisError, Result};
use crate::layer::{Geometry, Positions};
use crate::moments::Moments;
use crate::prediction::Prediction;

/// `g^ = eta * u * e * c / a^` of one head over one probe interval (5.1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Factors {
    /// Step size: learning rate times the head's multiplier, summed over the interval.
    pub eta: f64,
    /// Update geometry `|dM|_I / eta`; zero where nothing moved, infinite where weights moved with
    /// no step size.
    pub u: f64,
    /// Residual energy `r^ / |dM|_I`: RMS logit change per unit of weight change; NaN where nothing
    /// moved.
    pub e: f64,
    /// Coherence `<M,dM>_S / (|M|_S |dM|_S)` in [-1, 1]; NaN where nothing moved.
    pub c: f64,
    /// Predicted spread.
    pub a_hat: f64,
}

impl Factors {
    /// The product `eta u e c / a^`: the predicted growth rate, where something moved.
    pub fn product(&self) -> f64 {
        self.eta * self.u * self.e * self.c / self.a_hat
    }

    /// Step-size term `eta u`: what the weights did.
    pub fn step_term(&self) -> f64 {
        self.eta * self.u
    }
}

/// Splits a prediction into its five factors (5.1). `eta` is the step size summed over the interval.
///
/// # Errors
/// [`AnalysisError::StepSize`] (naming head 0) when `eta` is negative or not finite.
pub fn factorize(prediction: &Prediction, eta: f64) -> Result<Factors> {
    if !(eta.is_finite() && eta >= 0.0) {
        return Err(AnalysisError::StepSize { head: 0, value: eta });
    }
    let Prediction { a_hat, r_hat, dm_i, m_dm, .. } = *prediction;
    let moved = dm_i > 0.0;
    Ok(Factors {
        eta,
        u: if moved { dm_i / eta } else { 0.0 },
        e: if moved { r_hat / dm_i } else { f64::NAN },
        // Cauchy-Schwarz holds up to rounding; the clamp keeps parallel steps at exactly one.
        c: match moved {
            // A step that moves no logit points nowhere: it is coherent with nothing.
            true if r_hat == 0.0 => 0.0,
            true => (m_dm / (a_hat * r_hat)).clamp(-1.0, 1.0),
            false => f64::NAN,
        },
        a_hat,
    })
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
    Ok((q? * k?).sqrt())
}
