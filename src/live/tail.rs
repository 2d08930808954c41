//! Waiting for a run to grow.

use std::path::{Path, PathBuf};
use std::time::Duration;

use growthpath_trace::{Run, RunLock, Status, Table, shown_path};

use crate::error::{Error, Result};
use crate::train::TrainConfig;

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
}

/// What a look at a run found.
#[derive(Debug)]
pub enum Growth {
    /// New parts, or the first look.
    Grown(Run),
    /// Nothing new.
    Same,
    /// Nothing new, and nothing will come: the run says that it has ended.
    Ended(Run),
    /// Nothing new, and nothing will come: the run says that it is being trained, and no process writes it.
    CutOff(Run),
}

/// The last state of a run that says `running` and is written by nobody, since its process died; `None` of any other run,
/// and where the file system cannot tell.
///
/// # Errors
/// A run that can no longer be read.
pub fn cut_off(run: &Run) -> Result<Option<Run>> {
    if run.info().status != Status::Running || RunLock::is_held(run.dir()) != Some(false) {
        return Ok(None);
    }
    // A process that ends well says so before it lets go: what is read after its lock was free is its last word.
    let last = Run::open(run.dir())?;
    Ok((last.info().status == Status::Running).then_some(last))
}

/// Refuses a run of which nothing was recorded.
///
/// # Errors
/// A run without rows, with [`no_rows_words`]; one that can no longer be read.
pub fn with_rows(run: Run) -> Result<Run> {
    if Table::ALL.iter().any(|t| run.rows(*t) > 0) {
        return Ok(run);
    }
    Err(Error::format(run.dir(), no_rows_words(&run)?))
}

/// Why a run has no rows.
///
/// # Errors
/// A run that can no longer be read.
pub fn no_rows_words(run: &Run) -> Result<String> {
    Ok(match (cut_off(run)?, run.info().status) {
        (Some(last), _) => format!("no rows: {}", cut_off_words(&last)),
        (None, Status::Running) => "no rows yet: a run writes its first within 20 seconds".to_owned(),
        (None, _) => "no rows: the run ended without any".to_owned(),
    })
}

/// What is to be said of a run that was cut off.
pub fn cut_off_words(run: &Run) -> String {
    let after = match run.step_span(Table::Steps) {
        Some((_, last)) => format!("after {} of {} steps", last + 1, run.info().steps_planned),
        None => "before its first rows were written".to_owned(),
    };
    let trained = serde_json::from_value::<TrainConfig>(run.info().config.clone()).is_ok();
    let mend = match trained {
        true => format!("; `growthpath train --resume --out {}` goes on", shown_path(run.dir())),
        false => String::new(),
    };
    format!("cut off {after}: no process writes it any more{mend}")
}

impl Tail {
    /// Look at `folder` every so often.
    pub fn new(folder: &Path, every: Duration) -> Self {
        Self { folder: folder.to_owned(), every, parts: None, failed: 0 }
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
            self.parts = Some(parts);
            return Ok(Growth::Grown(run));
        }
        if run.info().status != Status::Running {
            return Ok(Growth::Ended(run));
        }
        match cut_off(&run) {
            Ok(Some(last)) if last.parts().len() != parts => Ok(Growth::Same),
            Ok(Some(last)) => Ok(Growth::CutOff(last)),
            Ok(None) => Ok(Growth::Same),
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
