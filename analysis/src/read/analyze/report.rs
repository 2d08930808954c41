//! What [`super::analyze`] returns. Undefined numbers are NaN, which JSON writes as `null`.

use growthpath_trace::Status;
use serde::Serialize;

use crate::read::names::NamedValues;
use crate::read::window::Window;

/// A window of a run explained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// Name of the run.
    pub label: String,
    /// How the run stands.
    pub status: Status,
    /// Optimizer steps recorded in the window.
    pub steps: u64,
    /// The window.
    pub window: Window,
    /// Where growth came from (3.1), layer by layer.
    pub accounting: Accounting,
    /// One entry a layer, from the bottom.
    pub layers: Vec<LayerAnalysis>,
    /// The Euler identity (2.1) over the window.
    pub euler: EulerSummary,
    /// Held-out loss of the last evaluation in the window, nat/token.
    pub val_loss: f64,
    /// Steps done when it was measured; 0 also where it never was.
    pub val_step: u32,
    /// Its standard error over sequences.
    pub val_loss_stderr: f64,
    /// `exp(val_loss)`.
    pub val_perplexity: f64,
    /// Training loss of the last step in the window, nat/token.
    pub train_loss_last: f64,
    /// The predictions of section 4 against the measurement.
    pub prediction: PredictionSummary,
    /// The bounds of section 6 against the measurement.
    pub bound: BoundSummary,
    /// The factors of (5.1).
    pub factors: Factors,
    /// Share of each write in the energy that each layer's attention grows on (5.3), mean over the
    /// window's intervals.
    pub energy_shares: Vec<LayerShares>,
    /// Part of each write in the features' part of each layer's predicted growth (4.3), summed over the window's
    /// intervals.
    pub drift_shares: Vec<LayerShares>,
    /// Time and tokens; `None` without `steps` rows.
    pub cost: Option<Cost>,
}

/// The growth law (3.1) over the window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accounting {
    /// Where each layer's growth came from, from the bottom.
    pub layers: Vec<LayerSplit>,
    /// Largest `|gamma_q + gamma_k + gamma_f - ln(spread / spread_prev)|`.
    pub max_residual: f64,
    /// (probe, layer, head) intervals that count.
    pub intervals: u64,
    /// Intervals without a defined growth (uniform attention at a corner): left out of every sum.
    pub undefined: u64,
    /// Intervals with a log growth beyond one, up or down: too long for their split to be trusted (3.3).
    pub long: u64,
    /// Longest interval, in steps.
    pub longest_steps: u32,
}

/// Where one layer's growth came from: sums over the window's intervals in units of ln, means over heads. The three
/// parts add up to the growth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LayerSplit {
    /// The layer, from the bottom.
    pub layer: u16,
    /// Part of the query weights.
    pub query: f64,
    /// Part of the key weights.
    pub key: f64,
    /// Part of the features.
    pub features: f64,
    /// Log growth of the spread.
    pub growth: f64,
    /// `1 - cos theta` (3.2), mean over intervals: how far the pattern turns from probe to probe.
    pub turning: f64,
    /// Intervals of this layer that are too long to be trusted, a head each.
    pub long: u64,
}

/// One layer over the window. Growth is in units of ln; sums run over the probe intervals, means over
/// heads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LayerAnalysis {
    /// The layer, from the bottom.
    pub layer: u16,
    /// Log growth of the spread, `sum gamma`, mean over heads.
    pub growth: f64,
    /// `exp(growth)`: geometric mean over heads of the growth factors.
    pub growth_factor: f64,
    /// Spread at the window's first state, mean over heads: on the probe, or without probes on the
    /// training batch; likewise the next four.
    pub spread_first: f64,
    /// Spread at the window's last state.
    pub spread_last: f64,
    /// Attention entropy over ln(row length) at the first state.
    pub entropy_first: f64,
    /// The same at the last state.
    pub entropy_last: f64,
    /// Mean largest attention weight at the last state.
    pub top1_last: f64,
    /// Sharpening pressure `-<W, G_W>` (2.1), mean over Q and K, heads and steps, nat.
    pub sharpening_pressure: f64,
    /// Mean squared norm of the attention write at the window's last recorded step.
    pub attn_energy: f64,
    /// The same of the FFN write.
    pub ffn_energy: f64,
    /// `attn_energy` over the mean squared norm of the stream that it adds to.
    pub attn_ratio: f64,
    /// The same of the FFN write.
    pub ffn_ratio: f64,
    /// Common-mode fraction of the attention write's energy: what all tokens share.
    pub attn_common: f64,
    /// The same of the FFN write.
    pub ffn_common: f64,
    /// Cosine between the key moment at the last probe and a lag earlier (section 8).
    pub maturity: f64,
    /// Effective rank of the key moment at the last probe.
    pub eff_rank: f64,
    /// Token-distinct fraction at the last probe.
    pub distinct: f64,
}

/// The Euler identity (2.1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EulerSummary {
    /// Largest `|<W, G_W> - <S, G_S>|` over `|W||G|`, of Q and K; with QK-norm, of `<W, G_W>` alone.
    pub max_rel_residual: f64,
    /// Head rows in the window.
    pub rows: u64,
    /// Whether queries and keys are normalized.
    pub qk_norm: bool,
}

/// The predictions of section 4 against the measured parts, over the (probe, layer, head) intervals of the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PredictionSummary {
    /// Part of the query weights.
    pub query: PartPrediction,
    /// Part of the key weights.
    pub key: PartPrediction,
    /// Part of the features.
    pub features: PartPrediction,
    /// The whole growth, `ln(a_hat / a_hat_prev)` against `gamma`.
    pub total: PartPrediction,
    /// Intervals compared.
    pub intervals: u64,
}

/// How well one part is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PartPrediction {
    /// Correlation of predicted with measured over intervals.
    pub correlation: f64,
    /// Largest `|sum predicted - sum measured|` over the layers, mean over heads, in ln.
    pub worst_cumulative: f64,
    /// The layer where it occurs.
    pub worst_layer: Option<u16>,
}

/// The bounds of section 6.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BoundSummary {
    /// Intervals that break (6.1), (6.2) or (6.3) beyond rounding: each one is a bug.
    pub violations: u64,
    /// `ds_w / bound_cheap` (6.1).
    pub cheap: Tightness,
    /// `ds_w / bound_tight` (6.2).
    pub tight: Tightness,
    /// Share of coherent growth: the sum of what the weights made of the spread, `gamma_w_start`, over the sum of
    /// its bounds (6.3). One would be growth without a step in vain.
    pub coherent_share: f64,
    /// The lower half of the layers.
    pub lower: BoundHalf,
    /// The upper half.
    pub upper: BoundHalf,
}

/// How close a bound was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tightness {
    /// Median over intervals.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

/// The growth bound (6.3) over one half of the layers: sums over intervals, means over layers and heads, in ln.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BoundHalf {
    /// What the weights made of the spread at each interval's first features.
    pub weights: f64,
    /// The most that they could have.
    pub bound: f64,
    /// `weights / bound`.
    pub coherent_share: f64,
}

/// The factors of (5.1), layer by layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Factors {
    /// One entry a layer, from the bottom.
    pub layers: Vec<FactorLayer>,
}

/// The factors of one layer over the window's intervals, heads averaged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FactorLayer {
    /// The layer, from the bottom.
    pub layer: u16,
    /// Step size summed over the window.
    pub eta: f64,
    /// Step-size term `eta u = |dM|_I` of an interval, mean.
    pub step_term: f64,
    /// Residual energy e at the intervals' starts, mean weighted by their lengths in steps.
    pub residual_energy: f64,
    /// Coherence c at the intervals' starts, mean.
    pub coherence: f64,
    /// Its persistent part c0, mean; the rest is diffusive.
    pub persistent_coherence: f64,
    /// Predicted spread at the last probe.
    pub scale_last: f64,
}

/// Shares of a layer's input by write.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerShares {
    /// The layer, from the bottom.
    pub layer: u16,
    /// Share by write name (`embedding`, `attn_0`, `ffn_0`, ..., `constant`), in residual order.
    pub shares: NamedValues,
}

/// Time and tokens of the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Wall-clock time of the recorded steps.
    pub seconds: f64,
    /// Median time of a step, ms.
    pub step_ms_median: f64,
    /// Tokens trained on up to the window's last step.
    pub tokens: f64,
    /// Tokens a second over the window, its first step left out; NaN for a single step.
    pub tokens_per_second: f64,
}
