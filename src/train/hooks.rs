//! What is due between steps: validation, checkpoints, and when to measure.

use std::time::Instant;

use growthpath_trace::{EvalLossRow, EvalRow};

use super::ablation::{mean_and_error, sequence_means};
use super::cadence::Due;
use super::trainer::{Event, Trainer};
use crate::data::Batch;
use crate::error::Result;
use crate::model::backend::Backend;

impl<B: Backend> Trainer<'_, B> {
    /// What is due between steps, with `done` steps done.
    pub(super) fn boundary(&mut self, done: u32, on: &mut dyn FnMut(Event)) -> Result<()> {
        let c = self.config;
        self.collect(false)?;
        let due = self.cadence.decide(done);
        let measures = due.probe || due.reliance() || self.keeper.due(done);
        let asked = c.checkpoint_due(done) || (c.checkpoint_probes && due.probe);
        let automatic = !asked && self.safeguard.due();
        if !(measures || asked || automatic || c.eval_due(done)) {
            return Ok(());
        }
        let saves = asked || automatic;
        let host = measures && self.probes.as_ref().is_some_and(|p| p.reads_host());
        self.catch_up((saves || host, saves), on)?;
        if measures || asked || c.eval_due(done) {
            self.due(done, due, asked, on)?;
            self.save_if(automatic, done)
        } else if self.finite()? {
            self.save_if(automatic, done)
        } else {
            // The record must not depend on when such a checkpoint is due: the next step says what is wrong.
            Ok(())
        }
    }

    fn save_if(&mut self, automatic: bool, done: u32) -> Result<()> {
        if automatic { self.save(done, true) } else { Ok(()) }
    }

    fn due(&mut self, done: u32, due: Due, saves: bool, on: &mut dyn FnMut(Event)) -> Result<()> {
        let c = self.config;
        if !self.finite()? {
            return Err(self.diverged());
        }
        let started = Instant::now();
        self.measure(done, due)?;
        self.probe_seconds += started.elapsed().as_secs_f64();
        if c.eval_due(done) {
            self.evaluate(done)?;
            on(Event::Eval(done, self.valid_loss));
        }
        if saves { self.save(done, false) } else { Ok(()) }
    }

    /// Whether every parameter and the loss on held-out text are numbers.
    pub(super) fn finite(&mut self) -> Result<bool> {
        if !self.network.backend().finite(&self.model.params)? {
            return Ok(false);
        }
        let one = self.eval_batch.rows(0..1);
        Ok(self.losses(&one, &[])?.iter().all(|l| l.is_finite()))
    }

    /// Losses of each token of a batch, with the attention of the heads in `uniform` replaced by the causal average; as
    /// many rows at a time as the network has room for.
    pub(super) fn losses(&mut self, batch: &Batch, uniform: &[(usize, usize)]) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(batch.inputs.len());
        for start in (0..batch.rows).step_by(self.config.batch) {
            let part = batch.rows(start..start + self.config.batch);
            all.extend(self.network.losses((&part.inputs, &part.targets, part.context), uniform)?);
        }
        Ok(all)
    }

    fn evaluate(&mut self, done: u32) -> Result<()> {
        let batch = self.eval_batch.clone();
        let losses = sequence_means(&self.losses(&batch, &[])?, batch.context);
        let (loss, stderr) = mean_and_error(&losses);
        self.valid_loss = loss;
        let row = |(i, loss): (usize, &f64)| EvalLossRow { step: done, sequence: i as u32, loss: *loss };
        self.writer.eval_losses(&losses.iter().enumerate().map(row).collect::<Vec<_>>())?;
        Ok(self.writer.evals(EvalRow {
            step: done,
            tokens: u64::from(done) * self.batcher.tokens_per_step(),
            loss,
            stderr,
            sequences: losses.len() as u32,
        })?)
    }
}
