//! Training: the loop, the optimizer, interventions, telemetry, probes, checkpoints.

pub mod ablation;
mod activations;
pub mod bench;
pub mod cadence;
pub mod checkpoint;
pub mod config;
pub mod cost;
mod device;
mod dump;
mod hooks;
pub mod init;
pub mod intervention;
pub mod lags;
mod looping;
mod measure;
pub mod moments;
mod optimizer;
mod probe;
mod record;
pub mod recorder;
pub(crate) mod run_info;
pub mod schedule;
mod spectra;
mod step;
mod telemetry;
mod tokens;
mod trainer;

pub use config::TrainConfig;
pub use device::Device;
pub use looping::{Outcome, resume, train};
pub use trainer::{Event, StepReport};
