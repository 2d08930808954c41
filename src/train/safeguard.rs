//! Checkpoints that nobody asked for: by the clock, and when the process is told to stop.
//!
//! The clock decides only when such a checkpoint is written. Nothing that is recorded depends on it: a run has the same
//! rows with any number of checkpoints.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use growthpath_trace::Status;

use super::checkpoint::{self, Beside};
use super::probe::Prober;
use super::stop;
use super::trainer::{Event, Trainer};
use crate::error::{Error, Result};
use crate::model::backend::Backend;

/// Minutes between automatic checkpoints unless [`set_interval`] says otherwise.
pub const MINUTES: f64 = 5.0;

/// Unless told how often, training takes at least this many times as long as saving.
const SHARE: u32 = 50;

/// Milliseconds between automatic checkpoints; 0 = none. Of the whole process, since it is no part of what a run is.
static INTERVAL: AtomicU64 = AtomicU64::new(DEFAULT);

/// [`MINUTES`].
const DEFAULT: u64 = (MINUTES * 60e3) as u64;

/// Let this process write automatic checkpoints every so many minutes; 0 = never.
///
/// # Errors
/// A number that is negative or not finite.
pub fn set_interval(minutes: f64) -> Result<()> {
    if !(minutes.is_finite() && minutes >= 0.0) {
        return Err(Error::usage(format!("--checkpoint-minutes must be 0 or more, got {minutes}")));
    }
    // Never is asked for by 0 alone; saturates for more years than a run takes.
    let milliseconds = (minutes * 60e3).ceil() as u64;
    INTERVAL.store(milliseconds, Ordering::Relaxed);
    Ok(())
}

/// When the next automatic checkpoint is due.
#[derive(Debug)]
pub(super) struct Safeguard {
    /// When the last one, or the run, was begun.
    since: Instant,
    /// What saving took the last time.
    cost: Duration,
    /// Steps done at the last checkpoint, of any kind.
    pub(super) saved: Option<u32>,
}

impl Safeguard {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), cost: Duration::ZERO, saved: None }
    }

    pub(super) fn due(&self) -> bool {
        let milliseconds = INTERVAL.load(Ordering::Relaxed);
        let least = if milliseconds == DEFAULT { self.cost * SHARE } else { Duration::ZERO };
        milliseconds > 0 && self.since.elapsed() >= Duration::from_millis(milliseconds).max(least)
    }
}

impl<B: Backend> Trainer<'_, B> {
    /// Make every row durable, then the state after `done` steps; older automatic checkpoints go.
    pub(super) fn save(&mut self, done: u32, automatic: bool) -> Result<()> {
        let started = Instant::now();
        self.writer.flush()?;
        self.writer.still_ours()?;
        let last_probe = self.prober.as_ref().and_then(Prober::last_step);
        let beside = Beside {
            run: &self.writer.info().id,
            automatic,
            cadence: &self.cadence.state,
            keeper: &self.keeper,
            last_probe,
            // At a probe the model itself is what was probed.
            probed: if last_probe == Some(done) { &[] } else { &self.probed },
            eta: self.prober.as_ref().map_or(&[], |p| p.eta()),
        };
        checkpoint::save(self.run, done, &self.model, &self.optimizer, self.data.tokenizer(), &beside)?;
        checkpoint::prune(self.run, done == self.config.steps)?;
        self.safeguard.cost = started.elapsed();
        self.safeguard.since = Instant::now();
        self.safeguard.saved = Some(done);
        Ok(())
    }

    /// Stop after `done` steps because of `signal`: everything is made durable, and said how to go on.
    pub(super) fn interrupt(mut self, done: u32, signal: i32, on: &mut dyn FnMut(Event)) -> Result<Error> {
        if self.safeguard.saved != Some(done) {
            self.catch_up(true, on)?;
            if self.finite()? {
                self.save(done, true)?;
            }
        }
        let (steps, run) = (self.config.steps, growthpath_trace::shown_path(self.run));
        let name = stop::name(signal);
        let interrupted = Error::Interrupted {
            signal,
            what: format!("stopped by {name} after {done} of {steps} steps; everything up to there is kept"),
            mend: format!("growthpath train --resume --out {run}"),
        };
        self.writer.finish(Status::Interrupted)?;
        Ok(interrupted)
    }
}
