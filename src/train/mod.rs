//! Training: the loop, the optimizer, interventions, telemetry, probes, checkpoints.

pub mod ablation;
mod activations;
pub mod bench;
#[cfg(any(test, feature = "cuda"))]
mod beside;
pub mod cadence;
pub mod checkpoint;
pub mod config;
pub mod cost;
mod device;
#[cfg(feature = "cuda")]
mod device_probe;
mod dump;
mod hooks;
mod host_probe;
mod in_flight;
pub mod init;
pub mod intervention;
pub mod lags;
mod looping;
mod measure;
pub mod moments;
mod optimizer;
mod place;
mod probe;
mod record;
pub mod recorder;
pub(crate) mod run_info;
pub mod safeguard;
mod saving;
pub mod schedule;
pub(crate) mod sizes;
mod spectra;
mod step;
pub mod stop;
mod telemetry;
mod tokens;
mod trainer;
mod validate;

pub use config::TrainConfig;
pub use device::Device;
pub use looping::{Outcome, resume, train};
pub use place::Resume;
pub use trainer::{Event, StepReport};

/// Everything wrong with what a run keeps beside its tables: the file, and what it is.
pub fn damage(run: &growthpath_trace::Run) -> Vec<(String, String)> {
    let mut all = checkpoint::problems(run);
    all.extend(tokens::problem(run).map(|what| (tokens::FILE.to_owned(), what)));
    all
}
