//! GPT-style and LLaMA-style decoders over the fused operations.

pub mod backend;
pub mod config;
mod decoder;
#[cfg(feature = "cuda")]
mod device_forward;
pub mod hf;
pub mod hf_import;
mod index;
mod network;
pub mod params;
mod passes;
mod stats;

pub use config::ModelConfig;
pub use decoder::Decoder;
#[cfg(feature = "cuda")]
pub use device_forward::DeviceForward;
pub use network::Network;
pub use passes::{Forward, Gradients, Options};
pub use stats::{LayerStats, StepStats};
