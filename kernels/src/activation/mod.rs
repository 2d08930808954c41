//! Feed-forward activations, gated and ungated.

pub mod cpu;
mod forms;
#[cfg(feature = "cuda")]
pub mod gpu;

pub use forms::Activation;

/// Second moments of the hidden activations.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HiddenStats {
    /// Mean square over tokens and hidden units.
    pub hidden_ms: f64,
    /// Mean over hidden units of the squared token mean: the token-shared part of `hidden_ms`.
    pub hidden_common: f64,
}

impl HiddenStats {
    /// From the sum of squares over `tokens` tokens and `width` hidden units, and the squared norm of the token mean.
    pub fn finish(tokens: usize, width: usize, squares: f64, common: f64) -> Self {
        Self { hidden_ms: squares / (tokens * width) as f64, hidden_common: common / width as f64 }
    }
}
