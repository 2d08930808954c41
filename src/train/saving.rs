//! Saving a run: what a checkpoint holds, and how a run that is told to stop ends.

use std::time::Instant;

use growthpath_trace::Status;

use super::checkpoint::{self, Beside};
use super::probe::Prober;
use super::stop;
use super::trainer::{Event, Trainer};
use crate::error::{Error, Result};
use crate::model::backend::Backend;

impl<B: Backend> Trainer<'_, B> {
    /// Make every row durable, then the state after `done` steps; older automatic checkpoints go.
    pub(super) fn save(&mut self, done: u32, automatic: bool) -> Result<()> {
        self.collect_all()?;
        let started = Instant::now();
        self.writer.flush()?;
        self.writer.still_ours()?;
        let last_probe = self.prober.as_ref().and_then(Prober::last_step);
        // At a probe the model itself is what was probed.
        let probed = match (&self.probes, last_probe) {
            (Some(p), Some(at)) if at != done => p.probed()?,
            _ => Vec::new(),
        };
        let beside = Beside {
            run: &self.writer.info().id,
            automatic,
            cadence: &self.cadence.state,
            keeper: &self.keeper,
            last_probe,
            probed: &probed,
            eta: self.prober.as_ref().map_or(&[], |p| p.eta()),
        };
        checkpoint::save(self.run, done, &self.model, &self.optimizer, self.data.tokenizer(), &beside)?;
        // A complete run needs none.
        checkpoint::prune(self.run, if done == self.config.steps { 0 } else { checkpoint::KEPT })?;
        self.safeguard.cost = started.elapsed();
        self.safeguard.since = Instant::now();
        self.safeguard.saved = Some(done);
        Ok(())
    }

    /// Stop after `done` steps because of `signal`: everything is made durable, and said how to go on.
    pub(super) fn interrupt(mut self, done: u32, signal: i32, on: &mut dyn FnMut(Event)) -> Result<Error> {
        let unsaved = self.safeguard.saved != Some(done);
        let caught_up = if unsaved { self.catch_up((true, true), on) } else { Ok(()) };
        if let Err(why) = caught_up {
            return self.fail(why);
        }
        self.collect_all()?;
        if unsaved && self.finite()? {
            self.save(done, true)?;
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

    /// End by an error, which is given back: what is being measured is still recorded. An error in that came before.
    pub(super) fn fail(mut self, why: Error) -> Result<Error> {
        // Where the trace cannot be written there is nothing to wait for.
        if !matches!(why, Error::Trace(_)) {
            self.collect_all()?;
        }
        if matches!(why, Error::Diverged(_)) {
            self.writer.finish(Status::Diverged)?;
        }
        Ok(why)
    }
}
