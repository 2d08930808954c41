//! What a finished step leaves in the trace and tells the display.

use growthpath_analysis::increment::Increment;
use growthpath_trace::{HeadRow, StepRow};

use super::optimizer::StepInfo;
use super::telemetry::{head_rows, write_rows};
use super::trainer::{Event, Last, StepReport, Trainer};
use crate::error::{Error, Result};
use crate::model::backend::Backend;
use crate::model::{LayerStats, StepStats};

/// A step whose statistics are here.
pub(super) struct CompletedStep<'a> {
    pub at: u32,
    pub info: StepInfo,
    pub seconds: f64,
    /// Effective learning rate of each layer's W_Q and W_K.
    pub qk_lr: &'a [f32],
    /// Whether its statistics go to the trace.
    pub recorded: bool,
    pub stats: &'a StepStats,
    /// One entry a head; empty at a step without spectra.
    pub increments: &'a [Increment],
}

impl<B: Backend> Trainer<'_, B> {
    /// Remember what a message about divergence needs, and stop if the step was not healthy.
    pub(super) fn healthy(
        &mut self,
        at: u32,
        loss: f64,
        info: StepInfo,
        layers: &[LayerStats],
    ) -> Result<()> {
        self.last = Some(Last { step: at, loss, info, layers: layers.to_vec() });
        if loss.is_finite() && info.grad_norm.is_finite() { Ok(()) } else { Err(self.diverged()) }
    }

    /// Rows of a finished step, and its report.
    pub(super) fn record(&mut self, f: &CompletedStep<'_>, on: &mut dyn FnMut(Event)) -> Result<()> {
        self.writer.steps(StepRow {
            step: f.at,
            tokens: u64::from(f.at + 1) * self.batcher.tokens_per_step(),
            loss: f.stats.loss as f32,
            lr: f.info.lr as f32,
            qk_mult: f.info.qk_multiplier as f32,
            grad_norm: f.info.grad_norm as f32,
            clip_scale: f.info.clip_scale as f32,
            step_ms: (f.seconds * 1e3) as f32,
        })?;
        let mut spread = None;
        if f.recorded {
            let rows = head_rows(f.at, &self.config.model, f.stats, f.increments, f.qk_lr);
            self.cadence.observe(f.at, &rows);
            spread = Some(halves(&rows, self.config.model.upper_half()));
            self.writer.heads(&rows)?;
            self.writer.writes(&write_rows(f.at, &f.stats.layers))?;
        }
        self.step_seconds += f.seconds;
        let tokens_per_second = self.speed.add(self.batcher.tokens_per_step() as f64, f.seconds);
        let (loss, lr) = (f.stats.loss, f.info.lr);
        on(Event::Step(StepReport { done: f.at + 1, loss, lr, tokens_per_second, spread }));
        Ok(())
    }

    pub(super) fn diverged(&self) -> Error {
        let Some(Last { step, loss, info, layers }) = &self.last else {
            return Error::Diverged("the model is not finite before its first step: lower init_std".into());
        };
        let layers: Vec<String> =
            layers.iter().enumerate().map(|(l, m)| format!("\n  {}", m.describe(l))).collect();
        Error::Diverged(format!(
            "training diverged at step {step}: loss {loss:.4}, gradient norm {:.3e}, learning rate {:.3e}; the trace up to there is whole. Lower --lr, lengthen --warmup or set --clip.{}",
            info.grad_norm,
            info.lr,
            layers.concat()
        ))
    }
}

/// Geometric mean over heads of the spread below layer `upper`, and from there on; 1 for a half without layers.
fn halves(rows: &[HeadRow], upper: usize) -> [f64; 2] {
    [false, true].map(|wanted| {
        let mine = rows.iter().filter(|r| (usize::from(r.layer) >= upper) == wanted);
        let (sum, count) = mine.fold((0.0, 0), |(s, n), r| (s + f64::from(r.spread).ln(), n + 1));
        (sum / f64::from(count.max(1))).exp()
    })
}
