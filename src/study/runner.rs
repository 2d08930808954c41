//! What is to be done for each run of a study.

use std::path::{Path, PathBuf};

use growthpath_trace::{Run, Status};

use crate::error::{Error, Result};
use crate::train::{TrainConfig, checkpoint};

/// One run of a study.
#[derive(Debug, Clone)]
pub struct Job {
    /// Name in figures and tables.
    pub label: String,
    /// Its directory.
    pub folder: PathBuf,
    /// What to train.
    pub config: TrainConfig,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing there.
    New,
    /// Complete.
    Done,
    /// Stopped with a checkpoint to go on from.
    Resumable,
    /// Stopped before its first checkpoint: to be started again.
    Restart,
}

/// Look at what is in a run's folder.
///
/// # Errors
/// A folder that is not a run, or one that holds a run of another configuration.
pub fn state(folder: &Path, config: &TrainConfig) -> Result<State> {
    if !folder.exists() {
        return Ok(State::New);
    }
    let run = Run::open(folder)?;
    let stored: Option<TrainConfig> = serde_json::from_value(run.info().config.clone()).ok();
    if stored.as_ref() != Some(config) {
        return Err(Error::usage(format!(
            "{}: holds a run of another configuration; choose another --out or remove it",
            folder.display()
        )));
    }
    Ok(match run.info().status {
        Status::Complete | Status::Diverged => State::Done,
        _ if checkpoint::latest(folder).is_some() => State::Resumable,
        _ => State::Restart,
    })
}
