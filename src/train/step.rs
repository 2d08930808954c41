//! One training step on the host: forward, backward, update, rows.

use std::time::Instant;

use super::dump::Dump;
use super::record::Finished;
use super::session::{Event, Session};
use super::spectra::Before;
use crate::error::Result;
use crate::model::{LayerStats, Options};

impl Session<'_> {
    /// One update on the host.
    pub(super) fn host_step(&mut self, at: u32, on: &mut dyn FnMut(Event)) -> Result<()> {
        let c = self.config;
        let started = Instant::now();
        let batch = self.batcher.batch(c.seed, u64::from(at));
        let stats = c.telemetry_due(at);
        let dumping = c.dump_step == Some(at);
        let options = Options { stats, keep_writes: dumping, uniform: Vec::new() };
        let mut forward = self.model.forward(&batch.inputs, batch.context, &options)?;
        if dumping {
            let mut dump = Dump::default();
            dump.before(&self.model, &batch, &forward)?;
            self.dump = Some(dump);
        }
        let layers: Vec<LayerStats> = forward.layers.iter().filter_map(LayerStats::take).collect();
        let g = self.model.backward(&mut forward, &batch.targets)?;
        let info = self.optimizer.prepare(c, at, &g.grads)?;
        self.healthy(at, g.loss, info, &layers)?;
        let before = if c.spectra_due(at) { Some(Before::of(&self.model)?) } else { None };
        let slots = self.optimizer.apply(c, at, &info, &self.model.params, &g.grads, stats)?.to_vec();
        let increments = before.map_or(Ok(Vec::new()), |b| b.increments(&self.model))?;
        let qk_lr = self.optimizer.qk_lr(info.lr);
        self.count_step(&qk_lr);
        let finished = Finished {
            at,
            loss: g.loss,
            info,
            seconds: started.elapsed().as_secs_f64(),
            qk_lr: &qk_lr,
            logit_grads: &g.logit_grads,
            slots: if stats { &slots } else { &[] },
            increments: &increments,
        };
        self.record(&finished, &layers, on)?;
        if let Some(dump) = self.dump.take() {
            dump.after(&self.model, &g.grads, self.run, at)?;
        }
        Ok(())
    }

    /// Tell the prober how far this update moves each layer's W_Q and W_K.
    pub(super) fn count_step(&mut self, qk_lr: &[f32]) {
        if let Some(p) = &mut self.prober {
            for (l, lr) in qk_lr.iter().enumerate() {
                p.add_step(l, f64::from(*lr));
            }
        }
    }
}
