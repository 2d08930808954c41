//! What is measured at a boundary: probes, key moments, reliance.

use candle_core::Tensor;
use growthpath_analysis::Moments;
use rayon::prelude::*;

use super::ablation;
use super::activations::layer_state;
use super::cadence::Due;
use super::moments::{KeyMoments, lower_maturity};
use super::trainer::Trainer;
use crate::data::Batch;
use crate::error::Result;
use crate::model::backend::Backend;
use crate::model::{Decoder, Options};

impl<B: Backend> Trainer<'_, B> {
    /// Measure what is due with `done` steps done, and the key moments where they are needed.
    pub(super) fn measure(&mut self, done: u32, due: Due) -> Result<()> {
        let mut moments = None;
        if due.probe
            && let Some(p) = &mut self.prober
        {
            let rows = p.probe(&self.model, done)?;
            moments = Some(KeyMoments::pack(done, p.key_moments()));
            self.writer.probe(&rows.heads)?;
            self.writer.probe_layers(&rows.layers)?;
            self.writer.shares(&rows.shares)?;
            self.probed = copies(&self.model)?;
        }
        if moments.is_none()
            && (due.probe || self.keeper.due(done))
            && let Some(batch) = &self.probe_batch
        {
            moments = Some(capture(&self.model, batch, done)?);
            self.cadence.captured();
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

/// Copies of every parameter, in the model's order.
///
/// # Errors
/// When one cannot be copied.
pub fn copies(model: &Decoder) -> Result<Vec<Tensor>> {
    Ok(model.params.vars.iter().map(|v| v.as_tensor().copy()).collect::<candle_core::Result<_>>()?)
}

/// The key moments alone: a forward pass, no logits.
pub(super) fn capture(model: &Decoder, batch: &Batch, step: u32) -> Result<KeyMoments> {
    let forward = model.forward(&batch.inputs, batch.context, &Options::default())?;
    let moments = (0..model.config.layers)
        .into_par_iter()
        .map(|l| Ok(Moments::new(&layer_state(model, &forward, l)?.x)?.sk))
        .collect::<Result<Vec<_>>>()?;
    Ok(KeyMoments::pack(step, moments.iter()))
}
