//! What is measured at a boundary: probes, key moments, reliance.

use super::ablation;
use super::cadence::Due;
use super::moments::{KeyMoments, lower_maturity};
use super::trainer::Trainer;
use crate::data::Batch;
use crate::error::Result;
use crate::model::backend::Backend;

impl<B: Backend> Trainer<'_, B> {
    /// Measure what is due with `done` steps done, and the key moments where they are needed.
    pub(super) fn measure(&mut self, done: u32, due: Due) -> Result<()> {
        let mut moments = None;
        if let Some(probes) = &mut self.probes {
            let from = self.network.backend();
            if let (true, Some(p)) = (due.probe, &mut self.prober) {
                let (rows, now) = probes.probe(from, &self.model, done, p.eta())?;
                p.taken(done);
                self.writer.probe(&rows.heads)?;
                self.writer.probe_layers(&rows.layers)?;
                self.writer.shares(&rows.shares)?;
                moments = Some(now);
            } else if due.probe || self.keeper.due(done) {
                moments = Some(probes.capture(from, &self.model, done)?);
                self.cadence.captured();
            }
        }
        if let Some(m) = moments {
            self.compare(m, due.probe)?;
        }
        if due.reliance() { self.reliance(done, due) } else { Ok(()) }
    }

    /// Maturity now, what an adaptive hold makes of it, and at the end the cosines to the final moments.
    fn compare(&mut self, moment: KeyMoments, probe: bool) -> Result<()> {
        let (c, done) = (self.config, moment.step);
        if done == c.steps {
            self.last_moments = Some(moment.clone());
        }
        let cadence = &mut self.cadence;
        let rows = self.keeper.take(moment, probe, |count| cadence.pay_captures(count, done));
        let lower = lower_maturity(&rows, self.keeper.main_lag(), c.model.upper_half());
        if let (Some(i), Some(maturity)) = (&c.intervention, lower) {
            self.optimizer.hold.observe(i, done, maturity);
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
