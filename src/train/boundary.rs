//! What is due between steps: validation, checkpoints, and when to measure.

use std::time::Instant;

use growthpath_kernels::optimizer::sum_squares;
use growthpath_trace::{EvalLossRow, EvalRow};

use super::cadence::Due;
use super::reliance::mean_and_error;
use super::session::{Event, Session};
use crate::data::Batch;
use crate::error::Result;
use crate::model::Options;

impl Session<'_> {
    /// What is due between steps, with `done` steps done.
    pub(super) fn boundary(&mut self, done: u32, on: &mut dyn FnMut(Event)) -> Result<()> {
        let c = self.config;
        let due = self.cadence.decide(done);
        let measures = due.probe || due.reliance() || self.keeper.due(done);
        let asked = c.checkpoint_due(done) || (c.checkpoint_probes && due.probe);
        let automatic = !asked && self.safeguard.due();
        if !(measures || asked || automatic || c.eval_due(done)) {
            return Ok(());
        }
        self.fetch(asked || automatic, on)?;
        let outcome = if measures || asked || c.eval_due(done) {
            self.due(done, due, asked, on).and_then(|()| self.save_if(automatic, done))
        } else if self.finite()? {
            self.save_if(automatic, done)
        } else {
            // The record must not depend on when such a checkpoint is due: the next step says what is wrong.
            Ok(())
        };
        self.clock = None; // what was due is no part of the next step's time
        outcome
    }

    fn save_if(&mut self, automatic: bool, done: u32) -> Result<()> {
        if automatic { self.save(done, true) } else { Ok(()) }
    }

    /// Bring the host up to date with the device, with the moments where they are to be saved.
    pub(super) fn fetch(&mut self, moments: bool, on: &mut dyn FnMut(Event)) -> Result<()> {
        let Some(mut device) = self.device.take() else { return Ok(()) };
        let outcome = self.catch_up(&mut *device, moments, on);
        self.device = Some(device);
        outcome
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
        for v in &self.model.params.vars {
            if !sum_squares(v.as_tensor())?.is_finite() {
                return Ok(false);
            }
        }
        let one = self.eval_batch.rows(0..1);
        Ok(self.losses(&one, &[])?.iter().all(|l| l.is_finite()))
    }

    /// Losses of each token of a batch, with the attention of the heads in `uniform` replaced by the causal average; on
    /// the device where there is one, as many rows at a time as it has room for.
    pub(super) fn losses(&mut self, batch: &Batch, uniform: &[(usize, usize)]) -> Result<Vec<f32>> {
        let Some(device) = &mut self.device else {
            let options = Options { uniform: uniform.to_vec(), ..Options::default() };
            return Ok(self.model.loss(&batch.inputs, &batch.targets, batch.context, &options)?.losses);
        };
        let mut all = Vec::with_capacity(batch.inputs.len());
        for start in (0..batch.rows).step_by(self.config.batch) {
            all.extend(device.losses(&batch.rows(start..start + self.config.batch), uniform)?);
        }
        Ok(all)
    }

    fn evaluate(&mut self, done: u32) -> Result<()> {
        let (rows, size) = (self.eval_batch.rows, self.config.batch);
        let mut losses = Vec::with_capacity(rows);
        for start in (0..rows).step_by(size) {
            let part = self.eval_batch.rows(start..start + size);
            let each = self.losses(&part, &[])?;
            let mean = |s: &[f32]| s.iter().map(|l| f64::from(*l)).sum::<f64>() / s.len() as f64;
            losses.extend(each.chunks_exact(part.context).map(mean));
        }
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
