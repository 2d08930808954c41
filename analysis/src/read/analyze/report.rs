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
    /// How exactly the accounting of section 3 adds up.
    pub accounting: Accounting,
    /// One entry a layer, from the bottom.
    pub layers: Vec<LayerAnalysis>,
    /// The Euler identity (2.1) over the window.
    pub euler: EulerSummary,
    /// Held-out loss of the last evaluation in the window, nat/token.
    pub val_loss: f64,
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
    /// Part of each write in each layer's predicted feature path (4.2), summed over the window's
    /// intervals.
    pub drift_shares: Vec<LayerShares>,
    /// Time and tokens; `None` without `steps` rows.
    pub cost: Option<Cost>,
}

/// How exactly (3.1)-(3.3) hold over the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accounting {
    /// Largest recorded residual of (3.1), relative to the spread.
    pub max_abs_residual: f64,
    /// Largest `|gamma - ln(1 + 2 sum g + rho2)/2|` (3.2).
    pub max_growth_residual: f64,
    /// (probe, layer, head) intervals that count.
    pub intervals: u64,
    /// Intervals without a defined growth (uniform attention at an end): left out of every sum.
    pub undefined: u64,
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
    /// Share of the weight path, first order (3.3); the four add up to `growth`.
    pub weight_path: f64,
    /// Share of the weight path, second order.
    pub weight_curvature: f64,
    /// Share of the feature path.
    pub feature_path: f64,
    /// Share of the rotation of the logits.
    pub rotation: f64,
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

/// The predictions of section 4, over the (probe, layer, head) intervals of the window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PredictionSummary {
    /// Correlation of `g_hat` with `g_d`.
    pub rate_correlation: f64,
    /// Correlation of `ln r_hat` with `ln r_d`.
    pub step_log_correlation: f64,
    /// Median of `r_hat / r_d`.
    pub step_ratio_median: f64,
    /// `sum g_hat / sum g_d` of each layer, heads averaged.
    pub cumulative_ratio_by_layer: Vec<f64>,
    /// Median over layers of `|ratio - 1|` of the ratios above.
    pub cumulative_error_median: f64,
    /// Correlation of `ln(a_hat / a_hat_prev)` with `gamma` (4.2).
    pub total_growth_correlation: f64,
    /// Median of `|ln(a_hat / a_hat_prev) - gamma|`.
    pub total_growth_error_median: f64,
    /// Intervals compared.
    pub intervals: u64,
}

/// The bounds of section 6.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BoundSummary {
    /// Intervals that break (6.1) or (6.2) beyond rounding: each one is a bug.
    pub violations: u64,
    /// Median of `r_d / bound_rms`.
    pub tightness_median: f64,
    /// Largest `r_d / bound_rms`.
    pub tightness_max: f64,
    /// The lower half of the layers.
    pub lower: BoundHalf,
    /// The upper half.
    pub upper: BoundHalf,
}

/// The product form (6.2) over one half of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BoundHalf {
    /// Decimal logarithm of `prod(1 + bound_t + feature_t)`, mean over layers and heads.
    pub product_log10: f64,
    /// Decimal logarithm of the measured growth factor, mean over layers and heads.
    pub growth_log10: f64,
    /// Median of `r_d / bound_rms`.
    pub tightness_median: f64,
    /// Largest `r_d / bound_rms`.
    pub tightness_max: f64,
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
    /// Step-size term `eta u` of an interval, mean.
    pub step_term: f64,
    /// Residual energy e, mean weighted by the intervals' lengths in steps.
    pub residual_energy: f64,
    /// Coherence c, mean.
    pub coherence: f64,
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
