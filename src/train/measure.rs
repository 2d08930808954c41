//! What is measured at a boundary: probes, key moments, reliance. What is worked out while training goes on is recorded at the
//! first boundary after it is done, and waited for before anything rests on it: the next measurement, a checkpoint, an
//! adaptive hold's decision, the end of the run.

use std::time::Instant;

use super::ablation;
use super::cadence::Due;
use super::moments::lower_maturity;
use super::probe::{Measured, Measurement};
use super::trainer::Trainer;
use crate::data::Batch;
use crate::error::Result;
use crate::model::backend::Backend;

impl<B: Backend> Trainer<'_, B> {
    /// Measure what is due with `done` steps done, and the key moments where they are needed.
    pub(super) fn measure(&mut self, done: u32, due: Due) -> Result<()> {
        if due.probe || self.keeper.due(done) {
            self.collect(true)?;
            self.begin(done, due.probe)?;
        }
        if due.reliance() { self.reliance(done, due) } else { Ok(()) }
    }

    /// Begin a probe, or where none is due or possible the key moments alone. Everything about it that later decisions rest on
    /// is settled now, but for the maturity that an adaptive hold sees.
    fn begin(&mut self, done: u32, probe: bool) -> Result<()> {
        let Some(probes) = &mut self.probes else { return Ok(()) };
        let prober = self.prober.as_mut().filter(|_| probe);
        let what = match &prober {
            Some(p) => Measurement::Probe { step: done, eta: p.eta().to_vec() },
            None => Measurement::Moments { step: done },
        };
        let measured = probes.begin(self.network.backend(), &self.model, what)?;
        match prober {
            Some(p) => p.taken(done),
            None => self.cadence.captured(),
        }
        let cadence = &mut self.cadence;
        self.under_way = Some(self.keeper.plan(done, probe, |count| cadence.pay_captures(count, done)));
        match measured {
            Some(measured) => self.keep(measured),
            None => {
                // Rows on disk must not reach beyond what is measured before them.
                self.writer.hold();
                Ok(())
            }
        }
    }

    /// Record the measurement under way if it is done; `wait`: when it is.
    pub(super) fn collect(&mut self, wait: bool) -> Result<()> {
        let Some(probes) = &mut self.probes else { return Ok(()) };
        let Some(measured) = probes.collect(wait)? else { return Ok(()) };
        self.beside_seconds += measured.seconds_beside;
        self.keep(measured)?;
        Ok(self.writer.release()?)
    }

    /// Wait for the measurement under way and record it.
    pub(super) fn collect_all(&mut self) -> Result<()> {
        if self.under_way.is_none() {
            return Ok(());
        }
        let started = Instant::now();
        self.collect(true)?;
        self.probe_seconds += started.elapsed().as_secs_f64();
        Ok(())
    }

    /// Before another step's multipliers are fixed: wait for the maturity that may decide them.
    pub(super) fn await_hold(&mut self) -> Result<()> {
        let holds = self.config.intervention.is_some_and(|i| self.optimizer.hold.waits_for_maturity(&i));
        let lag = self.keeper.main_lag();
        if holds && self.under_way.as_ref().is_some_and(|c| c.over(lag)) {
            self.collect_all()
        } else {
            Ok(())
        }
    }

    /// Record what was measured: rows, maturity and what an adaptive hold makes of it, the moments for later comparisons.
    fn keep(&mut self, measured: Measured) -> Result<()> {
        let Some(planned) = self.under_way.take() else { return Ok(()) };
        let (c, Measured { rows, moments, .. }) = (self.config, measured);
        if let Some(rows) = rows {
            self.writer.probe(&rows.heads)?;
            self.writer.probe_layers(&rows.layers)?;
            self.writer.shares(&rows.shares)?;
        }
        let step = moments.step;
        if step == c.steps {
            self.last_moments = Some(moments.clone());
        }
        let rows = self.keeper.compare(moments, &planned);
        let lower = lower_maturity(&rows, self.keeper.main_lag(), c.model.upper_half());
        if let (Some(i), Some(maturity)) = (&c.intervention, lower) {
            self.optimizer.hold.observe(i, step, maturity);
        }
        Ok(self.writer.maturity(&rows)?)
    }

    fn reliance(&mut self, done: u32, due: Due) -> Result<()> {
        let Some(batch) = self.reliance_batch.take() else { return Ok(()) };
        let model = &self.config.model;
        let losses = |batch: &Batch, uniform: &[(usize, usize)]| self.losses(batch, uniform);
        let rows = ablation::measure(model, &batch, losses, done, due);
        self.reliance_batch = Some(batch);
        Ok(self.writer.reliance(&rows?)?)
    }
}
