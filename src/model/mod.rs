//! GPT-style and LLaMA-style decoders over the fused operations.

pub mod backend;
pub mod config;
mod decoder;
pub mod hf;
pub mod hf_import;
mod index;
mod network;
pub mod params;
mod passes;
mod stats;

pub use config::ModelConfig;
pub use decoder::Decoder;
pub use network::Network;
pub use passes::{Forward, Gradients, Options};
pub use stats::{LayerStats, StepStats};
