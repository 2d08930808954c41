//! Training: the loop, the optimizer, interventions, telemetry, probes, checkpoints.

pub mod bench;
mod boundary;
pub mod cadence;
mod capture;
pub mod checkpoint;
pub mod config;
pub mod cost;
mod device;
mod dump;
pub mod intervention;
pub mod lags;
mod looping;
mod measure;
pub mod moments;
mod optimizer;
mod probe;
mod record;
pub mod reliance;
pub(crate) mod run_info;
pub mod schedule;
mod session;
mod spectra;
mod step;
mod telemetry;
mod tokens;

pub use config::TrainConfig;
pub use device::Device;
pub use looping::{Outcome, resume, train};
pub use session::{Event, StepReport};
