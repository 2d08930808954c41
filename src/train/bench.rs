//! Timed training steps, for paired comparisons within one process.

use std::time::Instant;

use candle_core::Device;
use growthpath_trace::{RunWriter, StepRow};

use super::config::TrainConfig;
use super::optimizer::Optimizer;
use super::probe::Prober;
use super::telemetry::{head_rows, write_rows};
use crate::data::{Batcher, Dataset};
use crate::error::Result;
use crate::model::{Decoder, LayerStats, Options};

/// What a timed step does beside training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Off,
    /// The statistics, dropped.
    Measure,
    /// The statistics, recorded in the trace.
    Record,
}

/// A model under the stopwatch.
pub struct Bench<'a> {
    config: &'a TrainConfig,
    model: Decoder,
    optimizer: Optimizer,
    batcher: Batcher,
    prober: Prober,
    writer: RunWriter,
    at: u32,
}

impl<'a> Bench<'a> {
    /// A fresh model that writes its trace to `writer`.
    ///
    /// # Errors
    /// A configuration or data that cannot be used.
    pub fn new(config: &'a TrainConfig, data: &Dataset, writer: RunWriter) -> Result<Self> {
        config.validate()?;
        let model = Decoder::new(config.model.clone(), config.seed, &Device::Cpu)?;
        let probe = data.probe_sequences(config.probe.sequences, config.probe.length)?;
        Ok(Self {
            optimizer: Optimizer::new(config, &model.params),
            batcher: data.batcher(config.batch)?,
            prober: Prober::new(config, &model, probe),
            config,
            model,
            writer,
            at: 0,
        })
    }

    /// Tokens of a step.
    pub fn tokens(&self) -> u64 {
        self.batcher.tokens_per_step()
    }

    /// One step; returns its seconds, rows pushed to the writer included.
    ///
    /// # Errors
    /// When the step cannot be computed or recorded.
    pub fn step(&mut self, mode: Mode) -> Result<f64> {
        let (c, at) = (self.config, self.at);
        let started = Instant::now();
        let batch = self.batcher.batch(c.seed, u64::from(at));
        let stats = mode != Mode::Off;
        let mut forward =
            self.model.forward(&batch.inputs, batch.context, &Options { stats, ..Options::default() })?;
        let measures: Vec<LayerStats> = forward.layers.iter().filter_map(LayerStats::take).collect();
        let g = self.model.backward(&mut forward, &batch.targets)?;
        let info = self.optimizer.prepare(c, at, &g.grads)?;
        let slots = self.optimizer.apply(c, at, &info, &self.model.params, &g.grads, stats)?.to_vec();
        let qk_lr = self.optimizer.qk_lr(info.lr);
        if mode == Mode::Record {
            let rows = head_rows(at, &c.model, &measures, &g.logit_grads, &slots, &qk_lr);
            self.writer.heads(&rows)?;
            self.writer.writes(&write_rows(at, &measures))?;
            self.writer.steps(StepRow { step: at, loss: g.loss as f32, ..StepRow::default() })?;
        }
        for (l, lr) in qk_lr.iter().enumerate() {
            self.prober.add_step(l, f64::from(*lr));
        }
        self.at += 1;
        Ok(started.elapsed().as_secs_f64())
    }

    /// One probe; returns its seconds.
    ///
    /// # Errors
    /// When the model cannot be probed.
    pub fn probe(&mut self) -> Result<f64> {
        let started = Instant::now();
        self.prober.probe(&self.model, self.at)?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// Write out what was recorded.
    ///
    /// # Errors
    /// When the trace cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.writer.flush()?)
    }
}
