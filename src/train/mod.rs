//! Training: the loop, the optimizer, interventions, telemetry, probes, checkpoints.

mod accelerator;
pub mod bench;
mod boundary;
pub mod cadence;
mod capture;
pub mod checkpoint;
pub mod config;
pub mod cost;
mod device_step;
mod dump;
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
pub mod reliance;
pub(crate) mod run_info;
pub mod schedule;
mod session;
mod spectra;
mod step;
mod telemetry;
mod tokens;

pub use accelerator::{Accelerator, Device};
pub use config::TrainConfig;
pub use looping::{Outcome, resume, train};
pub use session::{Event, StepReport};
