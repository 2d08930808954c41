//! Everything about one layer between two probe times, with shared work done once.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::accounting::{
    HeadAccounting, HeadState, Interval, Projected, account_projected, observe_projected,
};
use crate::bound::{HeadBound, PathStep, bound_with_energy, residual_energy};
use crate::error::{AnalysisError, Result, shape};
use crate::factors::{Factors, energy_bound, factorize};
use crate::layer::{Geometry, LayerState};
use crate::maturity::{Basis, basis, maturity};
use crate::moments::Moments;
use crate::prediction::{IntervalFactors, Prediction, SideFactors, WeightStep, predict_factors};
use crate::projection::Forms;
use crate::shares::PathShares;

/// One layer at one probe time, with what both its neighbouring intervals need computed once.
///
/// Keep the probe of time t and call its [`LayerProbe::interval`] with the probe of time t'. It holds
/// the inputs, their projections by W_Q and W_K and two `d x d` moments:
/// `8 (sum T (d + 2 H d_h) + 2 d^2)` bytes a layer, 1.8 MB at the micro size with four sequences.
#[derive(Debug, Clone)]
pub struct LayerProbe {
    geometry: Geometry,
    state: LayerState,
    forms: Forms,
    projected: Projected,
    moments: Moments,
}

/// One head over one probe interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeadInterval {
    /// Exact accounting (section 3).
    pub accounting: HeadAccounting,
    /// Prediction from weights and moments (section 4).
    pub prediction: Prediction,
    /// Factorization of the predicted rate (5.1).
    pub factors: Factors,
    /// Pathwise bound (6.1).
    pub bound: HeadBound,
}

impl HeadInterval {
    /// Exact additive shares of the log growth (3.3).
    pub fn shares(&self) -> PathShares {
        self.accounting.shares()
    }

    /// The interval as a factor of the product form (6.2).
    pub fn path_step(&self) -> PathStep {
        PathStep::new(&self.bound, &self.accounting)
    }
}

/// One layer over one probe interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerInterval {
    /// One entry a head.
    pub heads: Vec<HeadInterval>,
    /// Upper bound (5.2) on the residual energy e at the earlier time; NaN with rotary positions.
    pub e_max: f64,
    /// Cosine between the key moments at the two times.
    pub maturity: f64,
    /// Effective rank and token-distinct fraction at the later time.
    pub basis: Basis,
}

impl LayerProbe {
    /// Prepares a captured state: projections and moments, `O(sum T d (d + H d_h))`.
    ///
    /// # Errors
    /// As [`LayerState::validate`].
    pub fn new(state: LayerState, geometry: Geometry) -> Result<Self> {
        state.validate(&geometry)?;
        let forms = Forms::new(geometry, state.lengths());
        let (projected, moments) =
            rayon::join(|| Projected::new(&state.x, &state.wq, &state.wk), || Moments::new(&state.x));
        Ok(Self { geometry, forms, projected, moments: moments?, state })
    }

    /// The captured state.
    pub fn state(&self) -> &LayerState {
        &self.state
    }

    /// Heads and positions.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Causal-pair moments of the attention input; `moments().sk` is what maturity compares.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Attention statistics of every head, for the first probe of a run.
    pub fn observe(&self) -> Vec<HeadState> {
        observe_projected(&self.projected, &self.geometry, self.forms.rotation())
    }

    /// Sections 3 to 6 and 8 for the interval from this probe to `next`.
    ///
    /// `eta`: per head, learning rate times multiplier, summed over the interval's steps.
    ///
    /// # Errors
    /// [`AnalysisError::Shape`] when the probes do not belong together or `eta` has another length
    /// than there are heads, [`AnalysisError::StepSize`], [`AnalysisError::Decomposition`].
    pub fn interval(&self, next: &Self, eta: &[f64]) -> Result<LayerInterval> {
        self.check(next, eta)?;
        let (geometry, forms) = (&self.geometry, &self.forms);
        let step = WeightStep::new(&self.state, &next.state);
        let (change, moved) = rayon::join(
            || Projected::new(&self.state.x, &step.dq, &step.dk),
            || Projected::new(&self.state.x, &next.state.wq, &next.state.wk),
        );
        let ((accounting, predictions), (energy, e_max)) = rayon::join(
            || {
                let paths =
                    Interval { prev: &self.projected, step: &change, moved: &moved, next: &next.projected };
                let factors = IntervalFactors {
                    prev: SideFactors::new(forms, &self.projected),
                    step: SideFactors::new(forms, &change),
                    moved: SideFactors::new(forms, &moved),
                    next: SideFactors::new(forms, &next.projected),
                };
                rayon::join(
                    || account_projected(&paths, geometry, forms.rotation()),
                    || predict_factors(forms, &factors, &self.state, &step, geometry),
                )
            },
            || rayon::join(|| residual_energy(&self.state.x), || energy_bound(&self.moments, geometry)),
        );
        let bounds = bound_with_energy(&self.state, &next.state, geometry, energy?);
        let mut heads = Vec::with_capacity(geometry.heads);
        for (head, ((accounting, prediction), bound)) in
            accounting.into_iter().zip(predictions).zip(bounds).enumerate()
        {
            let factors = factorize(&prediction, eta[head])?;
            heads.push(HeadInterval { accounting, prediction, factors, bound });
        }
        Ok(LayerInterval {
            heads,
            e_max: e_max?,
            maturity: maturity(&self.moments.sk, &next.moments.sk)?,
            basis: basis(&next.moments),
        })
    }

    pub(crate) fn forms(&self) -> &Forms {
        &self.forms
    }

    pub(crate) fn projected(&self) -> &Projected {
        &self.projected
    }

    /// Whether `next` is a later probe of the same layer.
    pub(crate) fn check_follows(&self, next: &Self) -> Result<()> {
        if self.geometry != next.geometry {
            return Err(AnalysisError::Geometry(format!(
                "the two probes differ: {:?} and {:?}",
                self.geometry, next.geometry
            )));
        }
        self.state.matches(&next.state)
    }

    fn check(&self, next: &Self, eta: &[f64]) -> Result<()> {
        self.check_follows(next)?;
        if eta.len() != self.geometry.heads {
            return Err(shape("eta", format!("{} values, one a head", self.geometry.heads), eta.len()));
        }
        match eta.iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
            Some(head) => Err(AnalysisError::StepSize { head, value: eta[head] }),
            None => Ok(()),
        }
    }
}

/// Sections 3 to 6 and 8 for one layer between two states; [`LayerProbe`] avoids preparing every
/// state twice.
///
/// # Errors
/// As [`LayerProbe::new`] and [`LayerProbe::interval`].
pub fn probe_interval(
    prev: &LayerState,
    next: &LayerState,
    geometry: &Geometry,
    eta: &[f64],
) -> Result<LayerInterval> {
    let prepare = |state: &LayerState| LayerProbe::new(state.clone(), *geometry);
    let (prev, next) = rayon::join(|| prepare(prev), || prepare(next));
    prev?.interval(&next?, eta)
}

/// Prepares all layers of one probe time in parallel.
///
/// # Errors
/// The first layer's error, as [`LayerProbe::new`].
pub fn prepare_layers(states: Vec<LayerState>, geometry: Geometry) -> Result<Vec<LayerProbe>> {
    states.into_par_iter().map(|state| LayerProbe::new(state, geometry)).collect()
}

/// [`LayerProbe::interval`] for all layers in parallel; `eta[l]` belongs to layer l.
///
/// # Errors
/// [`AnalysisError::Shape`] when the lists differ in length, else the first layer's error.
pub fn layer_intervals(
    prev: &[LayerProbe],
    next: &[LayerProbe],
    eta: &[Vec<f64>],
) -> Result<Vec<LayerInterval>> {
    for (what, found) in [("later probes", next.len()), ("step sizes", eta.len())] {
        if found != prev.len() {
            return Err(shape(what, format!("{} layers", prev.len()), found));
        }
    }
    prev.par_iter().zip(next).zip(eta).map(|((prev, next), eta)| prev.interval(next, eta)).collect()
}
