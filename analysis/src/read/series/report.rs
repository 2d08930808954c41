//! What [`super::series`] returns. A value that is undefined over a whole bin is NaN.

use serde::Serialize;

use crate::source::AttentionSource;

use super::by_head::{Ablations, HeadSplit};
use crate::read::window::Window;

/// Data of all figures of one run. Steps are means over bins of recorded steps, hence fractional.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Name of the run.
    pub label: String,
    /// Layers of the model.
    pub layers: usize,
    /// Heads of each layer.
    pub heads: usize,
    /// The window of steps that everything else is cut to.
    pub window: Window,
    /// Training loss, nat/token.
    pub train_loss: Curve,
    /// Held-out loss, nat/token.
    pub eval_loss: EstimateCurve,
    /// When the intervention slowed its target; none without one.
    pub hold: Option<Hold>,
    /// Where `spread` and `entropy` come from.
    pub attention_source: AttentionSource,
    /// Spread of each layer, mean over heads.
    pub spread: LayerCurves,
    /// Attention entropy over ln(row length) of each half, mean over layers and heads.
    pub entropy: HalfCurves,
    /// Residual writes of each layer.
    pub writes: WriteCurves,
    /// Predicted and measured parts of the growth, interval by interval.
    pub prediction: PredictionPairs,
    /// Cumulative growth of each half: measured, predicted, bounded.
    pub growth: GrowthCurves,
    /// The factors of (5.1), in the metric of each interval's start.
    pub factors: FactorCurves,
    /// Who supplies the energy that attention grows on (5.3).
    pub energy_shares: EnergyMatrix,
    /// Where each head's growth came from, `[layer][head]`; empty without intervals.
    pub splits: Vec<Vec<HeadSplit>>,
    /// What the loss loses without parts of attention, as last measured.
    pub ablations: Ablations,
    /// Sharpness of attention (section 8), mean over the half's heads.
    pub sharpness: HalfCurves,
    /// Maturity of the residual basis (section 8).
    pub maturity: MaturityCurves,
    /// What the upper half's attention is worth: reliance (section 8), nat/token.
    pub reliance: EstimateCurve,
    /// Logit change over its bounds (6.1), (6.2).
    pub tightness: TightnessCurves,
    /// Intervals too long to be trusted.
    pub long_intervals: LongIntervals,
}

/// An intervention as it went: states (steps done) between which the multiplier was below 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Hold {
    /// Lowest multiplier.
    pub multiplier: f64,
    /// State at which it set in.
    pub start: u32,
    /// State at which the multiplier began to rise.
    pub release: u32,
    /// State from which it was 1 again, or the last one recorded.
    pub end: u32,
}

/// One curve.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Curve {
    /// Step of each point.
    pub steps: Vec<f64>,
    /// Value of each point.
    pub values: Vec<f64>,
}

/// Measurements with their uncertainty.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EstimateCurve {
    /// Step of each point.
    pub steps: Vec<f64>,
    /// Value of each point.
    pub values: Vec<f64>,
    /// Its standard error; NaN where undefined.
    pub stderr: Vec<f64>,
}

/// One curve a layer over shared steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LayerCurves {
    /// Step of each point.
    pub steps: Vec<f64>,
    /// `layers[l][i]`: layer l (0 at the bottom) at point i.
    pub layers: Vec<Vec<f64>>,
}

/// One curve for each half of the layers over shared steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HalfCurves {
    /// Step of each point.
    pub steps: Vec<f64>,
    /// Layers below that.
    pub lower: Vec<f64>,
    /// Layers from L/2 up, rounded down.
    pub upper: Vec<f64>,
}

/// Residual writes over shared steps; matrices are `[l][i]`, layer by point.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WriteCurves {
    /// Step of each point.
    pub steps: Vec<f64>,
    /// Mean squared norm of the attention write.
    pub attn: Vec<Vec<f64>>,
    /// Mean squared norm of the FFN write.
    pub ffn: Vec<Vec<f64>>,
    /// Attention write's energy over that of the stream that it adds to.
    pub attn_ratio: Vec<Vec<f64>>,
    /// The same of the FFN write.
    pub ffn_ratio: Vec<Vec<f64>>,
}

/// Predicted (4.2) and measured (3.1) parts of the growth over a uniform sample of (probe, layer, head) intervals.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PredictionPairs {
    /// Of the query weights.
    pub query: Pairs,
    /// Of the key weights.
    pub key: Pairs,
    /// Of the features.
    pub features: Pairs,
    /// Intervals that the sample was drawn from; equal to its size if all were kept.
    pub of: u64,
}

/// Pairs of a predicted and a measured number.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pairs {
    /// Predicted.
    pub predicted: Vec<f64>,
    /// Measured.
    pub measured: Vec<f64>,
    /// Their correlation over all intervals, not the sample alone; NaN below two or without variation.
    pub correlation: f64,
}

/// Cumulative log growth since the window's first probe, mean over the heads of a half. An interval adds nothing to
/// either of two curves that are compared where it is undefined in one.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GrowthCurves {
    /// Measured: `sum gamma`.
    pub measured: HalfCurves,
    /// Predicted from weights and moments: the sum of the three predicted parts (4.2).
    pub predicted: HalfCurves,
    /// What the weights made of the features at each interval's start: `sum v(x, W') - v(x, W)`, which (6.3) bounds.
    pub weights: HalfCurves,
    /// Its bound: `sum ln(1 + bound_tight / a)` (6.3).
    pub bound: HalfCurves,
}

/// Factors of the weight path's growth (5.1) over an interval, mean over the heads of a half.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FactorCurves {
    /// Step-size term `eta u` per optimizer step.
    pub step_term: HalfCurves,
    /// Residual energy e.
    pub residual_energy: HalfCurves,
    /// Coherence c.
    pub coherence: HalfCurves,
    /// Its persistent part c0.
    pub persistent: HalfCurves,
    /// Scale a: predicted spread, mid-interval.
    pub scale: HalfCurves,
}

/// Maturity of both halves over one lag.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MaturityCurves {
    /// Steps between the moments compared; all lags are averaged for a run that does not say.
    pub lag: Option<u32>,
    /// Cosine between the key moments, mean over the half's layers.
    pub halves: HalfCurves,
}

/// Intervals (first and last state) in which the logarithm of some head's spread moved by more than 1;
/// neighbours are joined.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LongIntervals {
    /// Of the lower half's heads.
    pub lower: Vec<(u32, u32)>,
    /// Of the upper half's heads.
    pub upper: Vec<(u32, u32)>,
}

/// Energy shares, mean over the run's intervals.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EnergyMatrix {
    /// Name of each write, in residual order, `constant` last.
    pub writes: Vec<String>,
    /// `shares[w][l]`: of write w in layer l's input; NaN where the write lies above the layer.
    pub shares: Vec<Vec<f64>>,
}

/// Logit change that the weights made, over its bound: median over a half's heads, averaged over the bin.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TightnessCurves {
    /// Over the bound from the scatter of the keys (6.2).
    pub tight: HalfCurves,
    /// Its largest value over the heads; never above 1.
    pub tight_max: HalfCurves,
    /// Over the bound `s E omega` (6.1).
    pub cheap: HalfCurves,
}
