//! Everything about one layer between two probe times, with shared work done once.

use std::sync::OnceLock;

use faer::Mat;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::accounting::{HeadAccounting, HeadState, account_projected, observe_projected};
use crate::bound::{HeadBound, bound_with_energy, residual_energy};
use crate::eigen::lambda_max;
use crate::error::{AnalysisError, Result, shape};
use crate::factors::{Factors, energy_bound_of, factorize};
use crate::layer::{Geometry, LayerState};
use crate::moments::Moments;
use crate::prediction::{CornerFactors, Grams, Prediction, predict_heads, predicted_spreads};
use crate::projection::{CornerProjections, Forms, Projected};

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
    /// Worked out when first asked for: by its own row, and by the interval that begins here.
    largest: OnceLock<Largest>,
}

/// Largest eigenvalues of a layer's input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Largest {
    /// Of the query moment.
    pub sq: f64,
    /// Of the key moment.
    pub sk: f64,
    /// [`residual_energy`].
    pub energy: f64,
}

impl Largest {
    pub(crate) fn of(moments: &Moments, x: &[Mat<f64>]) -> Result<Self> {
        let top = |m: &Mat<f64>| lambda_max(m.as_ref());
        let ((sq, sk), energy) =
            rayon::join(|| rayon::join(|| top(&moments.sq), || top(&moments.sk)), || residual_energy(x));
        Ok(Self { sq: sq?, sk: sk?, energy: energy? })
    }
}

/// One head over one probe interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeadInterval {
    /// Measured growth and its parts, and the tight bound (sections 3 and 6).
    pub accounting: HeadAccounting,
    /// Prediction from weights and moments (section 4).
    pub prediction: Prediction,
    /// Factorization of the predicted weight part (5.1).
    pub factors: Factors,
    /// Cheap bound (6.1).
    pub bound: HeadBound,
}

/// One layer over one probe interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerInterval {
    /// One entry a head.
    pub heads: Vec<HeadInterval>,
    /// Upper bound (5.2) on the residual energy e at the earlier time; NaN with rotary positions.
    pub e_max: f64,
}

/// The change of one layer between two probes: what accounting, prediction and attribution all need, done once.
pub struct LayerChange<'a> {
    prev: &'a LayerProbe,
    next: &'a LayerProbe,
    corners: CornerProjections<'a>,
    factors: CornerFactors,
    /// One entry a head, under the moments of the start and of the end.
    grams: Vec<[Grams; 2]>,
}

impl LayerChange<'_> {
    /// Sections 3 to 6 for the interval. `eta`: per head, learning rate times multiplier, summed over its steps.
    ///
    /// # Errors
    /// [`AnalysisError::Shape`] when `eta` has another length than there are heads, [`AnalysisError::StepSize`],
    /// [`AnalysisError::Decomposition`].
    pub fn interval(&self, eta: &[f64]) -> Result<LayerInterval> {
        let (prev, next, geometry) = (self.prev, self.next, &self.prev.geometry);
        check_step_sizes(eta, geometry.heads)?;
        let ((accounting, predictions), largest) = rayon::join(
            || {
                rayon::join(
                    || account_projected(&self.corners, geometry, prev.forms.rotation()),
                    || predict_heads(&prev.forms, &self.grams, &prev.state, &next.state, geometry),
                )
            },
            || prev.largest(),
        );
        let largest = largest?;
        let bounds = bound_with_energy(&prev.state, &next.state, geometry, largest.energy);
        let mut heads = Vec::with_capacity(geometry.heads);
        for (head, ((accounting, prediction), bound)) in
            accounting.into_iter().zip(predictions).zip(bounds).enumerate()
        {
            let factors = factorize(&prediction, eta[head])?;
            heads.push(HeadInterval { accounting, prediction, factors, bound });
        }
        Ok(LayerInterval { heads, e_max: energy_bound_of(largest.sq, largest.sk, geometry) })
    }

    pub(crate) fn prev(&self) -> &LayerProbe {
        self.prev
    }

    pub(crate) fn next(&self) -> &LayerProbe {
        self.next
    }

    pub(crate) fn factors(&self) -> &CornerFactors {
        &self.factors
    }

    pub(crate) fn grams(&self) -> &[[Grams; 2]] {
        &self.grams
    }
}

pub(crate) fn check_step_sizes(eta: &[f64], heads: usize) -> Result<()> {
    if eta.len() != heads {
        return Err(shape("eta", format!("{heads} values, one a head"), eta.len()));
    }
    match eta.iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
        Some(head) => Err(AnalysisError::StepSize { head, value: eta[head] }),
        None => Ok(()),
    }
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
        Ok(Self { geometry, forms, projected, moments: moments?, state, largest: OnceLock::new() })
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

    /// Largest eigenvalues of the input.
    pub(crate) fn largest(&self) -> Result<Largest> {
        if let Some(known) = self.largest.get() {
            return Ok(*known);
        }
        let found = Largest::of(&self.moments, &self.state.x)?;
        Ok(*self.largest.get_or_init(|| found))
    }

    /// Attention statistics of every head, for the first probe of a run.
    pub fn observe(&self) -> Vec<HeadState> {
        observe_projected(&self.projected, &self.geometry, self.forms.rotation())
    }

    /// Predicted spread (4.1) of every head.
    pub fn predicted_spreads(&self) -> Vec<f64> {
        predicted_spreads(&self.forms, &self.projected, &self.geometry)
    }

    /// The change from this probe to `next`.
    ///
    /// # Errors
    /// [`AnalysisError::Geometry`] or [`AnalysisError::Shape`] when the probes do not belong together.
    pub fn change_to<'a>(&'a self, next: &'a Self) -> Result<LayerChange<'a>> {
        self.check_follows(next)?;
        let corners = CornerProjections::new(&self.state, &next.state, &self.projected, &next.projected);
        let factors = CornerFactors::new(&self.forms, &corners);
        let grams = factors.grams(&self.forms, self.geometry.heads);
        Ok(LayerChange { prev: self, next, corners, factors, grams })
    }

    /// Sections 3 to 6 for the interval from this probe to `next`.
    ///
    /// `eta`: per head, learning rate times multiplier, summed over the interval's steps.
    ///
    /// # Errors
    /// As [`LayerProbe::change_to`] and [`LayerChange::interval`].
    pub fn interval(&self, next: &Self, eta: &[f64]) -> Result<LayerInterval> {
        self.change_to(next)?.interval(eta)
    }

    pub(crate) fn forms(&self) -> &Forms {
        &self.forms
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
}

/// Sections 3 to 6 for one layer between two states; [`LayerProbe`] avoids preparing every
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
