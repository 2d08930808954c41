//! Training: the loop, the optimizer, interventions, telemetry, probes, checkpoints.

mod accelerator;
pub mod bench;
mod boundary;
mod capture;
pub mod checkpoint;
pub mod config;
mod device_step;
mod dump;
pub mod intervention;
mod looping;
mod optimizer;
mod probe;
mod record;
pub mod reliance;
pub(crate) mod run_info;
pub mod schedule;
mod spectra;
mod step;
mod telemetry;

pub use accelerator::{Accelerator, Device};
pub use config::TrainConfig;
pub use looping::{Event, Outcome, StepReport, resume, train};
