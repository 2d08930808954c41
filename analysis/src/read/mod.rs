//! Reading saved traces: check them, explain them, draw from them.
//!
//! | function | what it answers |
//! |---|---|
//! | [`agreement`] | do two runs hold the same numbers, column by column |
//! | [`verify`] | do the identities and bounds of the theory hold in this trace, everywhere |
//! | [`analyze`] | how attention grew in a window of steps, and why |
//! | [`leads`] | whether early signals announce growth |
//! | [`series`] | the curves and matrices that figures are drawn from, downsampled |
//!
//! Everything streams: memory depends on the model's layers and heads and on the points asked for,
//! not on the length of the trace.
//!
//! A window `A..B` takes updates `A..B` (rows of `steps`, `heads`, `writes`), the states that these
//! updates lead from and to (rows of `evals` and of the probe tables with `A <= step <= B`), and the
//! probe intervals that lie within (`A <= prev_step`, `step <= B`). The upper half of the layers
//! begins at layer L/2, rounded down.

mod agree;
mod analyze;
mod euler;
mod grid;
mod names;
mod running;
mod sample;
mod series;
mod signals;
mod sketch;
#[cfg(test)]
mod tests;
mod verify;
mod window;

pub use crate::recorded::LONG_INTERVAL;
pub use agree::{Agreement, agreement};
pub use analyze::{
    Accounting, Analysis, BoundHalf, BoundSummary, Cost, EulerSummary, FactorLayer, Factors, LayerAnalysis,
    LayerShares, LayerSplit, PartPrediction, PredictionSummary, Tightness, analyze,
};
pub use names::{NamedValues, write_name};
pub use series::{
    Ablations, Curve, EnergyMatrix, Estimate, EstimateCurve, FactorCurves, GrowthCurves, HalfCurves,
    HeadSplit, Hold, LayerCurves, LongIntervals, MaturityCurves, Pairs, PredictionPairs, Series,
    TightnessCurves, WriteCurves, series, series_in,
};
pub use signals::{LEAD_LAGS, Lead, RankCorrelation, leads};
pub use verify::{Check, Place, Verification, verify};
pub use window::Window;

use growthpath_trace::{Row, Run, StepRange};

use crate::error::Result;

/// Hands every row of a window to `each`, batch by batch.
fn each_row<R: Row>(run: &Run, range: StepRange, mut each: impl FnMut(&R)) -> Result<()> {
    for batch in run.stream::<R>(range) {
        batch?.iter().for_each(&mut each);
    }
    Ok(())
}
