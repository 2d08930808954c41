//! Studies: arms x seeds from one plan, trained one after the other, resumable.

pub mod plan;
mod runner;

pub use plan::{Arm, Plan};
pub use runner::{Job, State, state};
