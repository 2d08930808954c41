//! One training step: started, and recorded when what it measured is on the host.

use std::time::Instant;

use growthpath_kernels::Stats;

use super::device::TrainingBackend;
use super::dump::Dump;
use super::in_flight::{InFlightStep, Telemetry};
use super::optimizer::StepInfo;
use super::record::CompletedStep;
use super::spectra::Before;
use super::trainer::{Event, Trainer};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::model::backend::Backend;

impl<B: TrainingBackend> Trainer<'_, B> {
    /// Start step `at` and record the steps that the backend has to be done with before the next one.
    pub(super) fn step(&mut self, at: u32, telemetry: Telemetry, on: &mut dyn FnMut(Event)) -> Result<()> {
        let c = self.config;
        self.await_hold()?;
        let started = Instant::now();
        let batch = self.batcher.batch(c.seed, u64::from(at));
        let dump = if c.dump_step == Some(at) { Some(self.dump_before(&batch)?) } else { None };
        let (lr, qk_multiplier) = self.optimizer.schedule(c, at);
        let stats = Stats::when(telemetry != Telemetry::Off);
        // Where steps overlap, the weights before and after one would have to be waited for: see --spectra-every.
        let spectra = stats.taken() && B::IN_FLIGHT == 0 && c.spectra_due(at);
        let before = if spectra { Some(Before::of(&self.model)?) } else { None };
        self.optimizer.step(&mut self.network, c, (at, lr), &batch, stats)?;
        let increments = before.map_or(Ok(Vec::new()), |b| b.increments(&self.model))?;
        let qk_lr = self.optimizer.qk_lr(lr);
        if let Some(p) = &mut self.prober {
            qk_lr.iter().enumerate().for_each(|(l, lr)| p.add_step(l, f64::from(*lr)));
        }
        self.in_flight.push_back(InFlightStep {
            at,
            lr,
            qk_multiplier,
            qk_lr,
            telemetry,
            started,
            increments,
        });
        while self.in_flight.len() > B::IN_FLIGHT {
            self.finish_oldest(on)?;
        }
        match dump {
            Some(d) => {
                self.network.backend().pull(&self.model.params)?;
                d.after(&self.model, self.network.backend().gradients()?, self.run, at)
            }
            None => Ok(()),
        }
    }

    /// What a dump holds from before the update; the pass repeats the step's own, and keeps its writes.
    fn dump_before(&self, batch: &Batch) -> Result<Dump> {
        let backend = self.network.backend();
        backend.pull(&self.model.params)?;
        let mut dump = Dump::default();
        dump.before(&self.model, batch, &backend.writes(&self.model, batch)?)?;
        Ok(dump)
    }
}

impl<B: Backend> Trainer<'_, B> {
    /// Wait for the oldest unread step and record it.
    fn finish_oldest(&mut self, on: &mut dyn FnMut(Event)) -> Result<()> {
        let (Some(s), Some(m)) = (self.in_flight.pop_front(), self.network.read()?) else {
            return Err(Error::usage("a step of the device was lost"));
        };
        let info = StepInfo {
            lr: s.lr,
            qk_multiplier: s.qk_multiplier,
            grad_norm: m.grad_norm,
            clip_scale: m.clip_scale,
        };
        self.healthy(s.at, m.loss, info, &m.layers)?;
        let now = Instant::now();
        // Where steps overlap, a step's time runs from the end of the one before it.
        let since = self.last_done.map_or(s.started, |done| done.max(s.started));
        self.last_done = Some(now);
        self.record(
            &CompletedStep {
                at: s.at,
                info,
                seconds: now.duration_since(since).as_secs_f64(),
                qk_lr: &s.qk_lr,
                recorded: s.telemetry == Telemetry::Recorded,
                stats: &m,
                increments: &s.increments,
            },
            on,
        )
    }

    /// Record every started step.
    pub(super) fn finish_all(&mut self, on: &mut dyn FnMut(Event)) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.finish_oldest(on)?;
        }
        Ok(())
    }

    /// Record every started step and bring what is asked for on the host up to date: the parameters, the optimizer's state.
    pub(super) fn catch_up(
        &mut self,
        (parameters, state): (bool, bool),
        on: &mut dyn FnMut(Event),
    ) -> Result<()> {
        self.finish_all(on)?;
        if parameters {
            self.network.backend().pull(&self.model.params)?;
        }
        if state { self.network.backend().pull_state(&mut self.optimizer.moments) } else { Ok(()) }
    }
}
