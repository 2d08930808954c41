//! Training: one step, the loop around it, checkpoints.

mod adam;
mod checkpoint;
mod looping;
mod settings;
mod trainer;

pub use adam::{Adam, Rule};
pub use checkpoint::{load_ema, settings_of};
pub(crate) use looping::read_table;
pub use looping::{Event, Plan, Row, run};
pub use settings::Settings;
pub use trainer::{StepReport, Trainer};
