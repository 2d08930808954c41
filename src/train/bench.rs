//! Timed training steps, for paired comparisons within one process.

use std::time::Instant;

use growthpath_analysis::increment::Increment;
use growthpath_kernels::attention::LogitGradStats;
use growthpath_kernels::optimizer::SliceStats;
use growthpath_trace::{RunWriter, StepRow};

use super::accelerator::{Accelerator, Device};
use super::config::TrainConfig;
use super::optimizer::Optimizer;
use super::probe::Prober;
use super::spectra::Before;
use super::telemetry::{head_rows, write_rows};
use crate::data::{Batcher, Dataset};
use crate::error::{Error, Result};
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
    device: Option<Box<dyn Accelerator>>,
    at: u32,
}

/// What a step measured.
struct Measured<'a> {
    at: u32,
    loss: f64,
    layers: &'a [LayerStats],
    logit_grads: &'a [Vec<LogitGradStats>],
    slots: &'a [SliceStats],
    increments: &'a [Increment],
}

impl<'a> Bench<'a> {
    /// A fresh model that writes its trace to `writer`.
    ///
    /// # Errors
    /// A configuration or data that cannot be used.
    pub fn new(config: &'a TrainConfig, data: &Dataset, writer: RunWriter, device: &Device) -> Result<Self> {
        config.validate()?;
        let model = super::init::first_model(config)?;
        let probe = data.probe_sequences(config.probe.sequences, config.probe.length)?;
        let optimizer = Optimizer::new(config, &model.params);
        Ok(Self {
            device: device.accelerate(config, &model, optimizer.rule())?,
            optimizer,
            batcher: data.batcher(config.batch)?,
            prober: Prober::new(&model, probe),
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

    /// The device's copy of the model, where there is one.
    pub fn device(&self) -> Option<&dyn Accelerator> {
        self.device.as_deref()
    }

    /// `steps` steps, what each does given by `mode`; returns seconds a step, rows pushed to the writer included.
    ///
    /// # Errors
    /// When a step cannot be computed or recorded.
    pub fn block(&mut self, steps: usize, mode: &dyn Fn(usize) -> Mode) -> Result<f64> {
        let started = Instant::now();
        match self.device.take() {
            Some(mut device) => {
                let outcome = self.device_block(&mut *device, steps, mode);
                self.device = Some(device);
                outcome?;
            }
            None => (0..steps).try_for_each(|i| self.host_step(mode(i)))?,
        }
        Ok(started.elapsed().as_secs_f64() / steps as f64)
    }

    fn host_step(&mut self, mode: Mode) -> Result<()> {
        let (c, at) = (self.config, self.at);
        let batch = self.batcher.batch(c.seed, u64::from(at));
        let stats = mode != Mode::Off;
        let mut forward =
            self.model.forward(&batch.inputs, batch.context, &Options { stats, ..Options::default() })?;
        let layers: Vec<LayerStats> = forward.layers.iter().filter_map(LayerStats::take).collect();
        let g = self.model.backward(&mut forward, &batch.targets)?;
        let info = self.optimizer.prepare(c, at, &g.grads)?;
        let before = if stats && c.spectra_due(at) { Some(Before::of(&self.model)?) } else { None };
        let slots = self.optimizer.apply(c, at, &info, &self.model.params, &g.grads, stats)?.to_vec();
        let increments = before.map_or(Ok(Vec::new()), |b| b.increments(&self.model))?;
        let qk_lr = self.optimizer.qk_lr(info.lr);
        if mode == Mode::Record {
            let (loss, layers, increments) = (g.loss, &layers[..], &increments[..]);
            let (logit_grads, slots) = (&g.logit_grads, &slots);
            self.record(&Measured { at, loss, layers, logit_grads, slots, increments }, &qk_lr)?;
        }
        self.count(&qk_lr);
        Ok(())
    }

    fn device_block(
        &mut self,
        device: &mut dyn Accelerator,
        steps: usize,
        mode: &dyn Fn(usize) -> Mode,
    ) -> Result<()> {
        let c = self.config;
        let first = self.at;
        for i in 0..=steps {
            if i < steps {
                let batch = self.batcher.batch(c.seed, u64::from(self.at));
                let (lr, _) = self.optimizer.schedule(c, self.at);
                let update = self.optimizer.update(c, self.at, lr, 1.0, mode(i) != Mode::Off);
                device.start(&batch, &update, c.clip as f32)?;
                let qk_lr = self.optimizer.qk_lr(lr);
                self.count(&qk_lr);
            }
            // As in training: a step is read while the next one runs, the last one at once.
            let Some(read) = i.checked_sub(1) else { continue };
            let s = device.read()?.ok_or_else(|| Error::usage("a step of the device was lost"))?;
            if mode(read) == Mode::Record {
                let at = first + read as u32;
                let lr = self.optimizer.schedule(c, at).0;
                let qk_lr = self.optimizer.qk_lr(lr);
                let (layers, logit_grads, slots) = (&s.layers, &s.logit_grads, &s.slots);
                let loss = s.loss;
                self.record(&Measured { at, loss, layers, logit_grads, slots, increments: &[] }, &qk_lr)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, m: &Measured<'_>, qk_lr: &[f32]) -> Result<()> {
        let model = &self.config.model;
        self.writer.heads(&head_rows(m.at, model, m.layers, m.logit_grads, m.slots, m.increments, qk_lr))?;
        self.writer.writes(&write_rows(m.at, m.layers))?;
        Ok(self.writer.steps(StepRow { step: m.at, loss: m.loss as f32, ..StepRow::default() })?)
    }

    fn count(&mut self, qk_lr: &[f32]) {
        for (l, lr) in qk_lr.iter().enumerate() {
            self.prober.add_step(l, f64::from(*lr));
        }
        self.at += 1;
    }

    /// One probe; returns its seconds.
    ///
    /// # Errors
    /// When the model cannot be probed.
    pub fn probe(&mut self) -> Result<f64> {
        let started = Instant::now();
        if let Some(d) = &self.device {
            d.pull(&self.model.params)?;
        }
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
