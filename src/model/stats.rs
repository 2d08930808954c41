//! What a step measures beside the loss.

use growthpath_kernels::activation::HiddenStats;
use growthpath_kernels::attention::{LogitGradStats, LogitStats};
use growthpath_kernels::norm::WriteStats;
use growthpath_kernels::optimizer::HeadUpdateStats;

/// What the forward measured in one layer, kept while its activations are freed.
#[derive(Debug, Clone, Default)]
pub struct LayerStats {
    /// One entry a head.
    pub logits: Vec<LogitStats>,
    /// Attention and feed-forward writes.
    pub writes: [WriteStats; 2],
    /// Hidden activations.
    pub hidden: HiddenStats,
}

/// Everything that one training step measured.
#[derive(Debug, Clone, Default)]
pub struct StepStats {
    /// Mean loss, nats per token.
    pub loss: f64,
    /// Largest output logit.
    pub max_logit: f32,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Factor that clipping applied.
    pub clip_scale: f64,
    /// One entry a layer; empty where statistics were off.
    pub layers: Vec<LayerStats>,
    /// One entry a layer and head.
    pub logit_grads: Vec<Vec<LogitGradStats>>,
    /// One entry a slot of the optimizer.
    pub slots: Vec<HeadUpdateStats>,
}

impl LayerStats {
    /// One line for error messages.
    pub fn describe(&self, layer: usize) -> String {
        let s_max = self.logits.iter().map(|l| l.s_max).fold(f64::NEG_INFINITY, f64::max);
        let spread = self.logits.iter().map(|l| l.spread).fold(0.0, f64::max);
        let [a, f] = &self.writes;
        format!(
            "layer {layer}: max logit {s_max:.3e}, max spread {spread:.3e}, |w_attn|^2 {:.3e}, |w_ffn|^2 {:.3e}, |h|^2 {:.3e}",
            a.energy, f.energy, f.h2_after
        )
    }
}
