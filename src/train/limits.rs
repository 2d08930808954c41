//! Sizes that no machine at hand can hold: found before anything is allocated or written.

use super::config::TrainConfig;
use crate::error::{Error, Result};
use crate::model::params::count;

/// More tokens a step than any run takes are slips of the keyboard.
const MOST_TOKENS: usize = 1 << 31;

/// Check batch, context and model against what can be addressed and what this machine has.
///
/// # Errors
/// [`Error::Usage`] with what is too large and the mend.
pub fn check(config: &TrainConfig) -> Result<()> {
    let tokens = config.batch.checked_mul(config.model.context).filter(|n| *n <= MOST_TOKENS);
    let Some(tokens) = tokens else {
        return Err(Error::usage(format!(
            "--batch {} at context {} is more than {MOST_TOKENS} tokens a step: choose a smaller batch",
            config.batch, config.model.context
        )));
    };
    // Weights, gradients and a moment, and the batch's residual stream: far less than what training takes.
    let needed = 4.0 * (3.0 * count(&config.model).0 as f64 + tokens as f64 * config.model.width as f64);
    match memory() {
        Some(all) if needed > all => Err(Error::usage(format!(
            "the model and its batch need more than {:.0} GB of memory, this machine has {:.0} GB: choose a smaller --size or --batch",
            needed / 1e9,
            all / 1e9
        ))),
        _ => Ok(()),
    }
}

/// This machine's memory in bytes, where the system tells.
fn memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}
