//! What is due between steps: probes, validation, checkpoints.

use std::time::Instant;

use growthpath_kernels::optimizer::sum_squares;
use growthpath_trace::EvalRow;

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
        Ok(self.losses(&one)?.iter().all(|l| l.is_finite()))
    }

    /// Losses of each token of a batch, on the device where there is one.
    fn losses(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        match &mut self.device {
            Some(d) => d.losses(batch),
            None => {
                let (inputs, targets) = (&batch.inputs, &batch.targets);
                Ok(self.model.loss(inputs, targets, batch.context, &Options::default())?.losses)
            }
        }
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
        }
        if let Some(batch) = &self.reliance_batch {
            let full = reliance::full_due(previous, done, c.steps);
            if full || reliance::halves_due(previous, done, c.steps) {
                self.writer.reliance(&reliance::measure(&self.model, batch, done, full)?)?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, done: u32) -> Result<()> {
        let (rows, size) = (self.eval_batch.rows, self.config.batch);
        let mut losses = Vec::with_capacity(rows);
        for start in (0..rows).step_by(size) {
            let part = self.eval_batch.rows(start..start + size);
            let each = self.losses(&part)?;
            let mean = |s: &[f32]| s.iter().map(|l| f64::from(*l)).sum::<f64>() / s.len() as f64;
            losses.extend(each.chunks_exact(part.context).map(mean));
        }
        let (loss, stderr) = mean_and_error(&losses);
        self.valid_loss = loss;
        Ok(self.writer.evals(EvalRow {
            step: done,
            tokens: u64::from(done) * self.batcher.tokens_per_step(),
            loss,
            stderr,
            sequences: losses.len() as u32,
        })?)
    }
}
