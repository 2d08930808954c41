//! What is due between steps: probes, validation, checkpoints.

use std::time::Instant;

use growthpath_kernels::optimizer::sum_squares;
use growthpath_trace::{EvalLossRow, EvalRow};

use super::checkpoint;
use super::looping::{Event, Session};
use super::probe::Prober;
use super::reliance::{self, mean_and_error};
use crate::data::Batch;
use crate::error::Result;
use crate::model::Options;

impl Session<'_> {
    /// What is due between steps, with `done` steps done.
    pub(super) fn boundary(&mut self, done: u32, on: &mut dyn FnMut(Event)) -> Result<()> {
        let c = self.config;
        if !(c.probe_due(done) || c.eval_due(done) || c.checkpoint_due(done)) {
            return Ok(());
        }
        if let Some(mut device) = self.device.take() {
            let outcome = self.catch_up(&mut *device, c.checkpoint_due(done), on);
            self.device = Some(device);
            outcome?;
        }
        let outcome = self.due(done, on);
        self.clock = None; // what was due is no part of the next step's time
        outcome
    }

    fn due(&mut self, done: u32, on: &mut dyn FnMut(Event)) -> Result<()> {
        let c = self.config;
        if !self.finite()? {
            return Err(self.diverged());
        }
        if c.probe_due(done) {
            let started = Instant::now();
            self.probe(done)?;
            self.probe_seconds += started.elapsed().as_secs_f64();
        }
        if c.eval_due(done) {
            self.evaluate(done)?;
            on(Event::Eval(done, self.valid_loss));
        }
        if c.checkpoint_due(done) {
            self.writer.flush()?;
            let empty = std::collections::VecDeque::new();
            let history = self.prober.as_ref().map_or(&empty, |p| &p.history);
            checkpoint::save(self.run, done, &self.model, &self.optimizer, self.data.tokenizer(), history)?;
        }
        Ok(())
    }

    /// Whether every parameter and the loss on held-out text are numbers.
    fn finite(&mut self) -> Result<bool> {
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
    fn losses(&mut self, batch: &Batch, uniform: &[(usize, usize)]) -> Result<Vec<f32>> {
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

    fn probe(&mut self, done: u32) -> Result<()> {
        let c = self.config;
        let previous = self.prober.as_ref().and_then(Prober::last_step);
        if let Some(p) = &mut self.prober {
            let rows = p.probe(&self.model, done)?;
            if let Some(i) = &c.intervention {
                self.optimizer.hold.observe(i, done, rows.lower_maturity(c.model.upper_half()));
            }
            self.writer.probe(&rows.heads)?;
            self.writer.probe_layers(&rows.layers)?;
            self.writer.shares(&rows.shares)?;
            self.writer.maturity(&rows.maturity)?;
        }
        let full = reliance::full_due(previous, done, c.steps);
        if !full && !reliance::halves_due(previous, done, c.steps) {
            return Ok(());
        }
        let Some(batch) = self.reliance_batch.take() else { return Ok(()) };
        let losses = |uniform: &[(usize, usize)]| self.losses(&batch, uniform);
        let rows = reliance::measure(&c.model, batch.context, losses, done, full);
        self.reliance_batch = Some(batch);
        Ok(self.writer.reliance(&rows?)?)
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
