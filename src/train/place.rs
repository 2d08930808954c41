//! The directory of a run that is about to begin or to go on.

use std::fs;
use std::path::{Path, PathBuf};

use growthpath_trace::{Run, RunLock, Status, disk};

use super::checkpoint;
use super::config::{ProbeTimes, TrainConfig};
use crate::data::Dataset;
use crate::error::{Error, Result};

/// A run that is about to go on: its newest usable checkpoint, and a guard against other writers.
#[derive(Debug)]
pub struct Resume {
    run: PathBuf,
    lock: RunLock,
    /// Where it goes on; none before its first checkpoint, which is to start again.
    pub from: Option<checkpoint::Found>,
    /// Newer checkpoints that cannot be used.
    pub skipped: Vec<checkpoint::Skipped>,
}

impl Resume {
    /// Look for where `run` can go on.
    ///
    /// # Errors
    /// A run that cannot be read, is complete, or is being written by another process.
    pub fn of(run: &Path) -> Result<Self> {
        Run::open(run)?;
        let lock = RunLock::take(run)?;
        // Once more: what was there before belonged to whoever held the lock.
        if Run::open(run)?.info().status == Status::Complete {
            return Err(Error::format(run, "the run is complete; nothing to resume"));
        }
        let choice = checkpoint::newest(run)?;
        if Run::open(run)?.info().status == Status::Diverged && choice.found.is_none() {
            return Err(Error::format(
                run,
                "the run diverged before its first checkpoint and would again; its trace stays: choose another --out, and another rate or clipping",
            ));
        }
        if let (None, Some(last)) = (&choice.found, choice.skipped.iter().find(|s| s.ours)) {
            return Err(Error::format(
                &last.dir,
                format!(
                    "{}; no other checkpoint can be gone on from. Put an intact copy in its place, or move the run away and train anew",
                    last.why
                ),
            ));
        }
        Ok(Self { run: run.to_owned(), lock, from: choice.found, skipped: choice.skipped })
    }

    /// Its directory.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Remove the run, so that it can be started again.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(self) -> Result<()> {
        self.lock.check()?;
        Ok(disk::remove_tree(&self.run)?)
    }
}

/// A directory for a new run, and what had to be created for it.
pub(super) struct Place {
    run: PathBuf,
    created: Vec<PathBuf>,
    _lock: RunLock,
}

impl Place {
    /// Take a new or empty directory.
    pub(super) fn take(run: &Path) -> Result<Self> {
        let created = disk::create_dirs(run)?;
        let lock = RunLock::take(run).inspect_err(|_| disk::remove_empty(&created))?;
        Ok(Self { run: run.to_owned(), created, _lock: lock })
    }

    /// Leave nothing behind of a run that never took its first step, for the reason given, which is returned. `begun`:
    /// whether what is in the directory is the run's.
    pub(super) fn give_back(self, begun: bool, why: Error) -> Error {
        // What cannot be removed now cannot be helped: the reason why the run never began is the error to report.
        if begun {
            for entry in fs::read_dir(&self.run).into_iter().flatten().flatten() {
                let path = entry.path();
                let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            }
        }
        disk::remove_empty(&self.created);
        why
    }
}

/// Whether the text is long enough for everything that is cut from it.
///
/// # Errors
/// What it is too short for.
pub(super) fn check_data(config: &TrainConfig, data: &Dataset) -> Result<()> {
    let p = &config.probe;
    if p.times != ProbeTimes::Never {
        data.probe_sequences(p.sequences, p.length)?;
        if p.reliance_sequences > 0 {
            data.eval_windows(p.reliance_sequences)?;
        }
    }
    data.eval_windows(config.eval_sequences)?;
    data.batcher(config.batch)?;
    Ok(())
}
