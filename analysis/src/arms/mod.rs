//! Arms over seeds: what each run came to, and what an arm's runs say together.
//!
//! [`RunSummary::read`] reads one run down to the numbers that a study's tables hold; [`ArmSummary::over`] puts the runs
//! of one arm together; [`departures`] finds when a run that diverged left a healthy one. Differences between arms are [`crate::compare::seeds`]'s.

mod arm;
mod departure;
mod metrics;
mod run;

pub use arm::{ArmMetric, ArmSummary, VerdictCounts};
pub use departure::{Departure, FACTOR, PATIENCE, departures};
pub use metrics::{METRICS, Metric, Unit};
pub use run::RunSummary;
