//! Training: the loop, the optimizer, interventions, telemetry, probes, checkpoints.

pub mod bench;
mod boundary;
mod capture;
pub mod checkpoint;
pub mod config;
mod dump;
pub mod intervention;
mod looping;
mod optimizer;
mod probe;
pub mod reliance;
pub(crate) mod run_info;
pub mod schedule;
mod step;
mod telemetry;

pub use config::TrainConfig;
pub use looping::{Event, Outcome, StepReport, resume, train};
