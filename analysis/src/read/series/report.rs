//! What [`super::series`] returns. A value that is undefined over a whole bin is NaN.

use serde::Serialize;

use crate::corners::GrowthParts;

/// Data of all figures of one run. Steps are means over bins of recorded steps, hence fractional.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Name of the run.
    pub label: String,
    /// Layers of the model.
    pub layers: usize,
    /// Heads of each layer.
    pub heads: usize,
    /// Training loss, nat/token.
    pub train_loss: Curve,
    /// Held-out loss, nat/token.
    pub eval_loss: LossCurve,
    /// Where `spread` and `entropy` come from.
    pub attention_source: Source,
    /// Spread of each layer, mean over heads.
    pub spread: LayerCurves,
    /// Attention entropy over ln(row length) of each half, mean over layers and heads.
    pub entropy: HalfCurves,
    /// Residual writes of each layer.
    pub writes: WriteCurves,
    /// Log growth of each layer over the whole run and its parts (3.1), mean over heads.
    pub growth_by_layer: Vec<LayerGrowth>,
    /// Predicted and measured growth rates, interval by interval.
    pub rates: RatePairs,
    /// Cumulative growth of each half: measured, predicted, bounded.
    pub growth: GrowthCurves,
    /// Step-size term `eta u` of (5.1) per optimizer step, mean over the half's heads.
    pub step_term: HalfCurves,
    /// Residual energy e of (5.1).
    pub residual_energy: HalfCurves,
    /// Coherence c of (5.1).
    pub coherence: HalfCurves,
    /// Scale `a_hat` (4.1) at the probe.
    pub scale: HalfCurves,
    /// Who supplies the energy that attention grows on (5.3).
    pub energy_shares: EnergyMatrix,
    /// Sharpness of the probe's attention (section 8).
    pub sharpness: HalfCurves,
    /// Maturity of the residual basis (section 8).
    pub maturity: HalfCurves,
    /// `ds_w / bound_tight` (6.2).
    pub tightness: TightnessCurves,
}

/// Which table attention was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Training batches, at every recorded step.
    Heads,
    /// The probe batch, at every probe.
    Probe,
}

/// One curve.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Curve {
    /// Step of each point.
    pub steps: Vec<f64>,
    /// Value of each point.
    pub values: Vec<f64>,
}

/// Losses with their uncertainty.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LossCurve {
    /// Step of each point.
    pub steps: Vec<f64>,
    /// Loss, nat/token.
    pub values: Vec<f64>,
    /// Standard error over sequences; NaN where undefined.
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

/// One layer's growth over the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LayerGrowth {
    /// Log growth; the parts add up to it.
    pub growth: f64,
    /// Its parts (3.1).
    pub parts: GrowthParts,
}

/// A uniform sample of (probe, layer, head) intervals.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RatePairs {
    /// Predicted part of the weights (4.2).
    pub predicted: Vec<f64>,
    /// Measured part of the weights (3.1).
    pub measured: Vec<f64>,
    /// Whether the layer lies in the upper half.
    pub upper: Vec<bool>,
    /// Intervals that the sample was drawn from; equal to its size if all were kept.
    pub of: u64,
}

/// Cumulative log growth since the first probe, mean over the heads of a half. Intervals without a
/// defined growth add nothing to any of the curves.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GrowthCurves {
    /// Measured: `sum gamma`.
    pub measured: HalfCurves,
    /// Predicted from weights and moments: `sum ln(a_hat/a_hat_prev)` (4.2).
    pub predicted: HalfCurves,
    /// Part of the weights, measured.
    pub path_measured: HalfCurves,
    /// Part of the weights, predicted (4.2).
    pub path_predicted: HalfCurves,
    /// The most that the weights could have made of it: sum of the bounds (6.3).
    pub bound: HalfCurves,
}

/// Energy shares, mean over the run's intervals.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EnergyMatrix {
    /// Name of each write, in residual order, `constant` last.
    pub writes: Vec<String>,
    /// `shares[w][l]`: of write w in layer l's input; NaN where the write lies above the layer.
    pub shares: Vec<Vec<f64>>,
}

/// Tightness of (6.2) over a half's heads.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TightnessCurves {
    /// Median over heads, averaged over the bin.
    pub median: HalfCurves,
    /// Largest over heads, averaged over the bin.
    pub max: HalfCurves,
}
