//! Maturity of the residual basis (section 8).

use faer::Mat;
use serde::{Deserialize, Serialize};

use crate::error::{Result, shape};
use crate::linear::{inner, square_norm};
use crate::moments::Moments;

/// The lag in steps over which a run measures maturity; `None` where its configuration does not say.
pub(crate) fn main_lag(run: &growthpath_trace::Run) -> Option<u32> {
    let info = run.info();
    let fraction = info.config.get("probe")?.get("maturity_lag")?.as_f64()?;
    Some(lag_steps(fraction, info.steps_planned))
}

/// A lag given as a fraction of training, in steps: at least one.
pub fn lag_steps(fraction: f64, steps: u32) -> u32 {
    ((fraction * f64::from(steps)).round() as u32).max(1)
}

/// Shape of a layer's key moment at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// Effective rank `(tr Sk)^2 / tr Sk^2`; NaN when all keys are alike.
    pub effective_rank: f64,
    /// Token-distinct fraction `tr Sk / tr Sq`, the constant bias column left out; NaN when the
    /// input is zero.
    pub token_distinct: f64,
    /// Concentration `|Sk|_F / tr Sk`: one when a single direction carries everything; NaN when all
    /// keys are alike.
    pub concentration: f64,
}

/// Effective rank, token-distinct fraction and concentration of a layer's key moment.
pub fn basis(moments: &Moments) -> Basis {
    Basis::of(moments.trace_q(), moments.trace_k(), square_norm(moments.sk.as_ref()))
}

impl Basis {
    /// From `tr Sq`, `tr Sk` and `|Sk|_F^2`.
    pub(crate) fn of(trace_q: f64, trace_k: f64, square_k: f64) -> Self {
        Self {
            effective_rank: trace_k * trace_k / square_k,
            token_distinct: trace_k / trace_q,
            concentration: square_k.sqrt() / trace_k,
        }
    }
}

/// `maturity_l(t)`: cosine between the key moments of a layer at two times,
/// `tr(A B) / (|A|_F |B|_F)`, in [0, 1] for moments. NaN when either is zero.
///
/// # Errors
/// [`crate::AnalysisError::Shape`] when the two differ in width.
pub fn maturity(earlier: &Mat<f64>, later: &Mat<f64>) -> Result<f64> {
    if earlier.shape() != later.shape() {
        return Err(shape(
            "later key moment",
            format!("{} x {}", earlier.nrows(), earlier.ncols()),
            format!("{} x {}", later.nrows(), later.ncols()),
        ));
    }
    let norm = (square_norm(earlier.as_ref()) * square_norm(later.as_ref())).sqrt();
    Ok(inner(earlier, later) / norm)
}
