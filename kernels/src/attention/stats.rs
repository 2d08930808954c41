//! From totals to statistics: the one place where each is finished, for the CPU twin and for a device.

use super::Shape;
use super::accumulators::{SHARP_KEYS, backward, forward};

/// Statistics of one head's post-scale logits over all causal pairs of the batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitStats {
    /// Largest logit.
    pub s_max: f64,
    /// Smallest logit.
    pub s_min: f64,
    /// Mean square of the logits.
    pub s_ms: f64,
    /// RMS of the row-centred logits: the spread `a`.
    pub spread: f64,
    /// Mean over rows of at least two keys of entropy over ln(row length).
    pub entropy: f64,
    /// Mean over rows of at least [`SHARP_KEYS`] keys of 1 - entropy over ln(row length); NaN without such rows.
    pub sharpness: f64,
    /// Mean over rows of the largest attention weight.
    pub top1: f64,
    /// Mean over rows `i` of `i - j` with `j` the key of the largest logit, the earliest of several.
    pub max_distance: f64,
    /// RMS norm of the queries, `sqrt(mean |q|^2)` over tokens, as attention sees them.
    pub q_rms: f64,
    /// RMS norm of the keys.
    pub k_rms: f64,
    /// Cosine between queries and keys as paired: `sum q.k / sqrt(sum |q|^2 sum |k|^2)`, sums over causal pairs. NaN
    /// where either side is zero.
    pub qk_cos: f64,
    /// Worst violation of the bracket (2.5); not above rounding when it holds.
    pub lse_gap: f64,
}

/// Statistics of one head's logit gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitGradStats {
    /// `|G_S|^2` summed over the batch.
    pub gs2: f64,
    /// `<S, G_S>`, the right-hand side of (2.1). Rows of G_S sum to zero, so any number may be taken off a row of S:
    /// `LSE - ln(keys)`, which is the row's mean up to half its variance, so that a large common logit cancels before it
    /// is multiplied by the rounding of G_S.
    pub sgs: f64,
}

impl LogitStats {
    /// One head's statistics from its totals over the batch.
    pub fn finish(shape: Shape, totals: &[f64; forward::COUNT]) -> Self {
        let (b, t) = (shape.batch as f64, shape.seq_len as f64);
        let pairs = b * t * (t + 1.0) / 2.0;
        let sharp_rows = b * (t + 1.0 - SHARP_KEYS as f64);
        Self {
            s_max: totals[forward::TOP],
            s_min: -totals[forward::DEPTH],
            s_ms: totals[forward::SQUARES] / pairs,
            spread: (totals[forward::CENTRED] / pairs).sqrt(),
            entropy: totals[forward::ENTROPY] / (b * (t - 1.0)).max(1.0),
            sharpness: if sharp_rows > 0.0 { totals[forward::SHARPNESS] / sharp_rows } else { f64::NAN },
            top1: totals[forward::TOP1] / (b * t),
            max_distance: totals[forward::DISTANCE] / (b * t),
            q_rms: (totals[forward::QUERY] / (b * t)).sqrt(),
            k_rms: (totals[forward::KEY] / (b * t)).sqrt(),
            qk_cos: totals[forward::LOGITS] * (shape.head_dim as f64).sqrt()
                / (totals[forward::PAIRED_QUERY].sqrt() * totals[forward::PAIRED_KEY].sqrt()),
            lse_gap: totals[forward::BRACKET],
        }
    }
}

impl LogitGradStats {
    /// One head's gradient statistics from its totals over the batch.
    pub fn finish(totals: &[f64; backward::COUNT]) -> Self {
        Self { gs2: totals[backward::SQUARES], sgs: totals[backward::PRODUCT] }
    }
}
