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
pub mod intervention;
pub mod lags;
mod looping;
mod measure;
pub mod moments;
mod optimizer;
mod place;
mod probe;
mod record;
pub mod reliance;
pub(crate) mod run_info;
pub mod safeguard;
pub mod schedule;
mod session;
pub(crate) mod sizes;
mod spectra;
mod step;
pub mod stop;
mod telemetry;
mod tokens;

pub use accelerator::{Accelerator, Device};
pub use config::TrainConfig;
pub use looping::{Outcome, resume, train};
pub use place::Resume;
pub use session::{Event, StepReport};

/// Everything wrong with what a run keeps beside its tables: the file, and what it is.
pub fn damage(run: &growthpath_trace::Run) -> Vec<(String, String)> {
    let mut all = checkpoint::problems(run);
    all.extend(tokens::problem(run).map(|what| (tokens::FILE.to_owned(), what)));
    all
}
