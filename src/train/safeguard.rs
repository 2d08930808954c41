//! When a checkpoint that nobody asked for is due.
//!
//! The clock decides only when such a checkpoint is written. Nothing that is recorded depends on it: a run has the same
//! rows with any number of checkpoints.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

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
    pub(super) since: Instant,
    /// What saving took the last time.
    pub(super) cost: Duration,
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
