//! The training loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::Device;
use growthpath_kernels::optimizer::sum_squares;
use growthpath_trace::{EvalRow, Run, RunWriter, Status, StepRow};

use super::config::TrainConfig;
use super::dump::Dump;
use super::optimizer::{Optimizer, StepInfo};
use super::probe::Prober;
use super::reliance::{self, mean_and_error};
use super::telemetry::{LayerMeasures, head_rows, write_rows};
use super::{checkpoint, run_info};
use crate::data::{Batch, Batcher, Dataset};
use crate::error::{Error, Result};
use crate::model::{Decoder, Options};

/// One step, for a progress display.
#[derive(Debug, Clone, Copy)]
pub struct StepReport {
    /// Steps done.
    pub done: u32,
    /// Loss of the step's batch, nats per token.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Tokens a second over the last steps.
    pub tokens_per_second: f64,
}

/// What the loop tells its caller.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// A step was done.
    Step(StepReport),
    /// A validation was done: steps done, nats per token.
    Eval(u32, f64),
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Last validation loss, nats per token.
    pub valid_loss: f64,
    /// Last checkpoint.
    pub checkpoint: PathBuf,
    /// Seconds in training steps, without probes, validation and checkpoints.
    pub step_seconds: f64,
    /// Seconds in probes and reliance.
    pub probe_seconds: f64,
    /// Tokens trained on by this process.
    pub tokens: u64,
}

struct Session<'a> {
    config: &'a TrainConfig,
    data: &'a Dataset,
    run: &'a Path,
    model: Decoder,
    optimizer: Optimizer,
    prober: Option<Prober>,
    reliance_batch: Option<Batch>,
    eval_batch: Batch,
    batcher: Batcher,
    writer: RunWriter,
    valid_loss: f64,
    step_seconds: f64,
    probe_seconds: f64,
    dump: Option<Dump>,
    last: Option<Last>,
}

/// The last step, for the message of a run that diverges.
struct Last {
    step: u32,
    loss: f64,
    info: StepInfo,
    measures: Vec<LayerMeasures>,
}

/// Train from scratch into the new directory `run`.
///
/// # Errors
/// A configuration or data that cannot be used, a directory that already holds a run, a disk that is full, or
/// [`Error::Diverged`]; what was recorded before stays.
pub fn train(
    config: &TrainConfig,
    data: &Dataset,
    run: &Path,
    label: &str,
    on: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    config.validate()?;
    let model = Decoder::new(config.model.clone(), config.seed, &Device::Cpu)?;
    let optimizer = Optimizer::new(config, &model.params);
    let writer = RunWriter::create(run, &run_info::describe(config, data, label)?)?;
    let mut s = Session::new(config, data, run, model, optimizer, writer)?;
    s.boundary(0, on)?;
    s.steps(0, on)
}

/// Go on from the newest checkpoint of `run`, to the same bits as a run that never stopped.
///
/// # Errors
/// A run that is complete or has no checkpoint, and as [`train`].
pub fn resume(
    config: &TrainConfig,
    data: &Dataset,
    run: &Path,
    on: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    config.validate()?;
    let info = Run::open(run)?.info().clone();
    if info.status == Status::Complete {
        return Err(Error::usage(format!("{}: the run is complete; nothing to resume", run.display())));
    }
    let Some((step, dir)) = checkpoint::latest(run) else {
        return Err(Error::usage(format!(
            "{}: has no checkpoint to resume from; start again with --checkpoint-every",
            run.display()
        )));
    };
    let restored = checkpoint::load(&dir, config)?;
    let writer = RunWriter::resume(run, step)?;
    let mut s = Session::new(config, data, run, restored.model, restored.optimizer, writer)?;
    if let Some(p) = &mut s.prober {
        p.restore(&s.model, step, restored.history)?;
    }
    s.steps(step, on)
}

impl<'a> Session<'a> {
    fn new(
        config: &'a TrainConfig,
        data: &'a Dataset,
        run: &'a Path,
        model: Decoder,
        optimizer: Optimizer,
        writer: RunWriter,
    ) -> Result<Self> {
        let p = &config.probe;
        // With QK-norm the logits are no longer bilinear in W_Q and W_K: sections 3 to 6 do not apply.
        let probing = p.every > 0 && !config.model.qk_norm;
        let prober = if probing {
            Some(Prober::new(config, &model, data.probe_sequences(p.sequences, p.length)?))
        } else {
            None
        };
        let reliance_batch = if p.every > 0 && p.reliance_sequences > 0 {
            Some(data.eval_windows(p.reliance_sequences)?)
        } else {
            None
        };
        Ok(Self {
            eval_batch: data.eval_windows(config.eval_sequences)?,
            batcher: data.batcher(config.batch)?,
            valid_loss: f64::NAN,
            step_seconds: 0.0,
            probe_seconds: 0.0,
            dump: None,
            last: None,
            config,
            data,
            run,
            model,
            optimizer,
            prober,
            reliance_batch,
            writer,
        })
    }

    fn steps(mut self, from: u32, on: &mut dyn FnMut(Event)) -> Result<Outcome> {
        let c = self.config;
        let mut speed = Speed::default();
        for at in from..c.steps {
            let outcome = self.step(at).and_then(|(loss, lr, seconds)| {
                self.step_seconds += seconds;
                let tokens_per_second = speed.add(self.batcher.tokens_per_step() as f64, seconds);
                on(Event::Step(StepReport { done: at + 1, loss, lr, tokens_per_second }));
                self.boundary(at + 1, on)
            });
            match outcome {
                Ok(()) => {}
                Err(e @ Error::Diverged(_)) => {
                    self.writer.finish(Status::Diverged)?;
                    return Err(e);
                }
                Err(e) => return Err(e),
            }
        }
        let tokens = u64::from(c.steps - from) * self.batcher.tokens_per_step();
        self.writer.finish(Status::Complete)?;
        Ok(Outcome {
            valid_loss: self.valid_loss,
            checkpoint: checkpoint::folder(self.run, c.steps),
            step_seconds: self.step_seconds,
            probe_seconds: self.probe_seconds,
            tokens,
        })
    }

    /// One update; returns loss, learning rate and seconds.
    fn step(&mut self, at: u32) -> Result<(f64, f64, f64)> {
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

    fn diverged(&self) -> Error {
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

    /// What is due between steps, with `done` steps done.
    fn boundary(&mut self, done: u32, on: &mut dyn FnMut(Event)) -> Result<()> {
        let c = self.config;
        if (c.probe_due(done) || c.eval_due(done) || c.checkpoint_due(done)) && !self.finite()? {
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
    fn finite(&self) -> Result<bool> {
        for v in &self.model.params.vars {
            if !sum_squares(v.as_tensor())?.is_finite() {
                return Ok(false);
            }
        }
        let one = self.eval_batch.rows(0..1);
        Ok(self.model.loss(&one.inputs, &one.targets, one.context, &Options::default())?.loss.is_finite())
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
        let (batch, size) = (&self.eval_batch, self.config.batch);
        let mut losses = Vec::with_capacity(batch.rows);
        for start in (0..batch.rows).step_by(size) {
            let part = batch.rows(start..start + size);
            let out = self.model.loss(&part.inputs, &part.targets, part.context, &Options::default())?;
            let mean = |s: &[f32]| s.iter().map(|l| f64::from(*l)).sum::<f64>() / s.len() as f64;
            losses.extend(out.losses.chunks_exact(part.context).map(mean));
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

/// Tokens a second, smoothed over about ten steps.
#[derive(Default)]
struct Speed {
    rate: Option<f64>,
}

impl Speed {
    fn add(&mut self, tokens: f64, seconds: f64) -> f64 {
        let now = tokens / seconds.max(1e-9);
        let rate = self.rate.map_or(now, |r| 0.9 * r + 0.1 * now);
        self.rate = Some(rate);
        rate
    }
}
