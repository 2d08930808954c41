//! Studies: arms x seeds from one plan; their runs, their results, their tables.

pub mod plan;
pub mod results;
mod runner;
pub mod slurm;
pub mod tables;

pub use plan::{Arm, Plan};
pub use results::Results;
pub use runner::{Job, State, state};
