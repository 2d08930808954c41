//! Curves from `probe`.

use growthpath_trace::{ProbeRow, Run};

use super::bins::Bins;
use super::recorded;
use super::report::{
    FactorCurves, GrowthCurves, HalfCurves, LayerCurves, LayerGrowth, LongIntervals, Pairs, PredictionPairs,
    TightnessCurves,
};
use crate::error::Result;
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::running::{Correlation, Mean, mean};
use crate::read::sample::Sample;
use crate::read::window::Window;
use crate::statistics::median;

/// Intervals kept for the scatter figure.
const PAIRS: usize = 20_000;

/// Log growth of a head above which an interval is too long to be trusted (3.3).
const LONG: f64 = 1.0;

/// Curves with a value for each half, by their place among the bins' curves; cumulative ones come first.
#[derive(Clone, Copy)]
enum Of {
    Measured,
    Predicted,
    Weights,
    Bound,
    StepTerm,
    Energy,
    Coherence,
    Persistent,
    Scale,
    Sharpness,
    Entropy,
    Tight,
    TightMax,
    Cheap,
}

const CUMULATIVE: usize = Of::Bound as usize + 1;
const HALF_CURVES: usize = Of::Cheap as usize + 1;

pub(super) struct Probes {
    pub spread: LayerCurves,
    pub entropy: HalfCurves,
    pub sharpness: HalfCurves,
    pub by_layer: Vec<LayerGrowth>,
    pub prediction: PredictionPairs,
    pub growth: GrowthCurves,
    pub factors: FactorCurves,
    pub tightness: TightnessCurves,
    pub long_intervals: LongIntervals,
}

pub(super) fn read(_: &Run, _: Grid, _: Window, _: usize) -> Result<Probes> {
    let h = HalfCurves::default;
    Ok(Probes {
        spread: LayerCurves::default(),
        entropy: h(),
        sharpness: h(),
        by_layer: vec![],
        prediction: Default::default(),
        growth: Default::default(),
        factors: Default::default(),
        tightness: Default::default(),
        long_intervals: Default::default(),
    })
}
