//! The normalizations, and what is measured of a write.

use serde::{Deserialize, Serialize};

/// Which normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Subtract the mean, divide by the standard deviation.
    LayerNorm,
    /// Divide by the root mean square.
    RmsNorm,
}

/// Means over tokens of what one sub-block wrote into the residual stream.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WriteStats {
    /// `mean |w|^2` per token.
    pub energy: f64,
    /// `|token mean of w|^2`: the energy that all tokens share.
    pub common: f64,
    /// `mean <w, h_before>`.
    pub dot: f64,
    /// `mean |h_before|^2`.
    pub h2_before: f64,
    /// `mean |h_after|^2`.
    pub h2_after: f64,
}

impl WriteStats {
    /// From the sums over `tokens` tokens of `|w|^2`, `<w, h_before>`, `|h_before|^2`, `|h_after|^2`, and the squared norm
    /// of the write's token mean.
    pub fn finish(tokens: usize, sums: [f64; 4], common: f64) -> Self {
        let [energy, dot, h2_before, h2_after] = sums.map(|s| s / tokens as f64);
        Self { energy, common, dot, h2_before, h2_after }
    }
}
