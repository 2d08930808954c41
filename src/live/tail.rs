//! Waiting for a run to grow.

use std::path::{Path, PathBuf};
use std::time::Duration;

use growthpath_trace::{Run, Status};

use super::cut_off::cut_off;
use super::silence::{Silence, silence};
use crate::error::Result;

/// Readings in a row that may fail while a run is being written: one that is resumed has its tables cut, and a reader can
/// come between.
const TRIES: u32 = 5;

/// A run looked at again and again.
#[derive(Debug, Clone)]
pub struct Tail {
    folder: PathBuf,
    every: Duration,
    parts: Option<usize>,
    failed: u32,
    /// How long it had been silent when that was told last.
    told: Option<Duration>,
}

/// What a look at a run found.
#[derive(Debug)]
pub enum Growth {
    /// New parts, or the first look.
    Grown(Run),
    /// Nothing new.
    Same,
    /// Nothing new for so long that the run seems to have stopped: told when it is noticed, and whenever that has doubled.
    Silent(Run, Silence),
    /// Nothing new, and nothing will come: the run says that it has ended.
    Ended(Run),
    /// Nothing new, and nothing will come: the run says that it is being trained, and no process writes it.
    CutOff(Run),
}

impl Tail {
    /// Look at `folder` every so often.
    pub fn new(folder: &Path, every: Duration) -> Self {
        Self { folder: folder.to_owned(), every, parts: None, failed: 0, told: None }
    }

    /// Looks once, without waiting.
    ///
    /// # Errors
    /// A folder that is no run, or one that could not be read several times in a row.
    pub fn look(&mut self) -> Result<Growth> {
        let run = match Run::open(&self.folder) {
            Ok(run) => run,
            Err(e) => return self.later(e.into()),
        };
        self.failed = 0;
        let parts = run.parts().len();
        if self.parts != Some(parts) {
            (self.parts, self.told) = (Some(parts), None);
            return Ok(Growth::Grown(run));
        }
        if run.info().status != Status::Running {
            return Ok(Growth::Ended(run));
        }
        match cut_off(&run) {
            Ok(Some(last)) if last.parts().len() != parts => Ok(Growth::Same),
            Ok(Some(last)) => Ok(Growth::CutOff(last)),
            Ok(None) => self.quiet(run),
            Err(e) => self.later(e),
        }
    }

    /// Nothing new of a run that goes on, as far as can be known.
    fn quiet(&mut self, run: Run) -> Result<Growth> {
        match silence(&run) {
            Ok(Some(s)) if self.told.is_none_or(|told| s.since >= 2 * told) => {
                self.told = Some(s.since);
                Ok(Growth::Silent(run, s))
            }
            Ok(_) => Ok(Growth::Same),
            Err(e) => self.later(e),
        }
    }

    /// Takes note of an error while reading: it is returned once too many came in a row.
    ///
    /// # Errors
    /// The error, then.
    pub fn later(&mut self, e: crate::Error) -> Result<Growth> {
        self.failed += 1;
        // The first look has nothing to come between: what is wrong there is wrong.
        if self.parts.is_none() || self.failed >= TRIES {
            return Err(e);
        }
        // What was read in part is read again.
        self.parts = Some(usize::MAX);
        Ok(Growth::Same)
    }

    /// Sleeps until the next look.
    pub fn wait(&self) {
        std::thread::sleep(self.every);
    }
}
