//! One training step: forward, backward, update, rows.

use std::time::Instant;

use growthpath_trace::StepRow;

use super::dump::Dump;
use super::looping::{Last, Session};
use super::telemetry::{LayerMeasures, head_rows, write_rows};
use crate::error::{Error, Result};
use crate::model::Options;

impl Session<'_> {
    /// One update; returns loss, learning rate and seconds.
    pub(super) fn step(&mut self, at: u32) -> Result<(f64, f64, f64)> {
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
        let measures: Vec<LayerMeasures> = forward.layers.iter().filter_map(LayerMeasures::take).collect();
        let g = self.model.backward(&mut forward, &batch.targets)?;
        let info = self.optimizer.prepare(c, at, &g.grads)?;
        let healthy = g.loss.is_finite() && info.grad_norm.is_finite();
        self.last = Some(Last { step: at, loss: g.loss, info, measures: measures.clone() });
        if !healthy {
            return Err(self.diverged());
        }
        let slots = self.optimizer.apply(c, at, &info, &self.model.params, &g.grads, stats)?.to_vec();
        if let Some(p) = &mut self.prober {
            for l in 0..c.model.layers {
                p.add_step(l, self.optimizer.qk_lr(&info, l));
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        self.writer.steps(StepRow {
            step: at,
            tokens: u64::from(at + 1) * self.batcher.tokens_per_step(),
            loss: g.loss as f32,
            lr: info.lr as f32,
            qk_mult: info.multiplier as f32,
            grad_norm: info.grad_norm as f32,
            clip_scale: info.clip_scale as f32,
            step_ms: (seconds * 1e3) as f32,
        })?;
        if stats {
            let optimizer = &self.optimizer;
            self.writer.heads(&head_rows(
                at,
                &c.model,
                &measures,
                &g.logit_grads,
                &slots,
                optimizer,
                &info,
            ))?;
            self.writer.writes(&write_rows(at, &measures))?;
        }
        if let Some(dump) = self.dump.take() {
            dump.after(&self.model, &g.grads, self.run, at)?;
        }
        Ok((g.loss, info.lr, started.elapsed().as_secs_f64()))
    }

    pub(super) fn diverged(&self) -> Error {
        let Some(Last { step, loss, info, measures }) = &self.last else {
            return Error::Diverged("the model is not finite before its first step: lower init_std".into());
        };
        let layers: Vec<String> =
            measures.iter().enumerate().map(|(l, m)| format!("\n  {}", m.describe(l))).collect();
        Error::Diverged(format!(
            "training diverged at step {step}: loss {loss:.4}, gradient norm {:.3e}, learning rate {:.3e}; the trace up to there is whole. Lower --lr, lengthen --warmup or set --clip.{}",
            info.grad_norm,
            info.lr,
            layers.concat()
        ))
    }
}
