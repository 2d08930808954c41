//! GPT-style and LLaMA-style decoders over the fused operations.

mod backward;
pub mod config;
mod decoder;
#[cfg(feature = "cuda")]
pub mod device;
pub mod hf;
pub mod hf_import;
pub mod params;
mod stats;

pub use backward::Gradients;
pub use config::ModelConfig;
pub use decoder::{Decoder, Forward, LayerState, Options};
pub use stats::{LayerStats, StepStats};
