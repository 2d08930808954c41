//! GPT-style and LLaMA-style decoders over the fused operations.

mod backward;
pub mod config;
mod decoder;
pub mod foreign;
pub mod hf;
pub mod params;

pub use backward::Gradients;
pub use config::ModelConfig;
pub use decoder::{Decoder, Forward, LayerState, Options};
