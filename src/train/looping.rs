//! The training loop.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use growthpath_trace::{Run, RunWriter, Status};

use super::accelerator::Device;
use super::cadence::Cadence;
use super::config::{ProbeTimes, TrainConfig};
use super::init::first_model;
use super::measure::{capture, copies};
use super::moments::Keeper;
use super::optimizer::Optimizer;
use super::probe::Prober;
use super::session::{Event, Session, Speed};
use super::{checkpoint, run_info, tokens};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::model::Decoder;

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Last validation loss, nats per token.
    pub valid_loss: f64,
    /// Last checkpoint.
    pub checkpoint: PathBuf,
    /// Seconds in training steps, without probes, validation and checkpoints.
    pub step_seconds: f64,
    /// Seconds in probes, captures and reliance.
    pub probe_seconds: f64,
    /// What they cost, in training steps counted from the shapes; steps before a resume included.
    pub probe_steps: f64,
    /// The most that they might have cost; none where probe times were given.
    pub probe_limit: Option<f64>,
    /// Tokens trained on by this process.
    pub tokens: u64,
    /// Kernel launches of a training step; 0 on the host.
    pub launches_a_step: u64,
}

/// Train from scratch, or from the checkpoint of [`TrainConfig::init`], into the new directory `run`.
///
/// # Errors
/// A configuration or data that cannot be used, a directory that already holds a run, a disk that is full, or
/// [`Error::Diverged`]; what was recorded before stays.
pub fn train(
    config: &TrainConfig,
    data: &Dataset,
    run: &Path,
    label: &str,
    device: &Device,
    on: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    config.validate()?;
    let model = first_model(config)?;
    let optimizer = Optimizer::new(config, &model.params);
    let accelerator = device.accelerate(config, &model, optimizer.rule())?;
    let writer = RunWriter::create(run, &run_info::describe(config, data, label, device)?)?;
    let mut s = Session::new(config, data, run, model, optimizer, writer)?;
    s.device = accelerator;
    s.save_tokens()?;
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
    device: &Device,
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
    let accelerator = device.accelerate(config, &restored.model, restored.optimizer.rule())?;
    if let Some(d) = &accelerator {
        d.push_moments(&restored.optimizer.moments)?;
    }
    let writer = RunWriter::resume(run, step)?;
    let mut s = Session::new(config, data, run, restored.model, restored.optimizer, writer)?;
    s.device = accelerator;
    s.cadence.state = restored.state.cadence;
    s.keeper.restore(restored.state.moments, |at| checkpoint::moment(&restored.moments, &dir, at))?;
    if let (Some(p), Some(at)) = (&mut s.prober, restored.state.last_probe) {
        let probed = restored.probed.as_ref().unwrap_or(&s.model);
        p.restore(probed, at, &restored.state.eta)?;
        s.probed = if config.checkpoint_every > 0 { copies(probed)? } else { Vec::new() };
    }
    if step >= config.steps {
        // Every step was done and the process ended before it said so: only the end is left to record.
        s.valid_loss = Run::open(run)?.evals()?.last().map_or(f64::NAN, |e| e.loss);
        s.last_moments = s.probe_batch.as_ref().map(|b| capture(&s.model, b, step)).transpose()?;
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
        let measuring = p.times != ProbeTimes::Never;
        let probe_batch = measuring.then(|| data.probe_sequences(p.sequences, p.length)).transpose()?;
        // With QK-norm the logits are no longer bilinear in W_Q and W_K: sections 3 to 6 do not apply.
        let prober = probe_batch.clone().filter(|_| !config.model.qk_norm).map(|b| Prober::new(&model, b));
        let relying = measuring && p.reliance_sequences > 0;
        let reliance_batch = relying.then(|| data.eval_windows(p.reliance_sequences)).transpose()?;
        let cadence = Cadence::new(config);
        Ok(Self {
            eval_batch: data.eval_windows(config.eval_sequences)?,
            batcher: data.batcher(config.batch)?,
            valid_loss: f64::NAN,
            step_seconds: 0.0,
            probe_seconds: 0.0,
            dump: None,
            last: None,
            speed: Speed::default(),
            device: None,
            started: VecDeque::new(),
            clock: None,
            config,
            data,
            run,
            model,
            optimizer,
            prober,
            probe_batch,
            keeper: Keeper::new(config, cadence.plan()),
            cadence,
            last_moments: None,
            probed: Vec::new(),
            reliance_batch,
            writer,
        })
    }

    /// Store what is measured on, so that anybody can measure again.
    fn save_tokens(&mut self) -> Result<()> {
        let batches = [
            ("probe", self.probe_batch.as_ref()),
            ("reliance", self.reliance_batch.as_ref()),
            ("evaluation", Some(&self.eval_batch)),
        ];
        let hash = tokens::save(self.run, &batches)?;
        Ok(self.writer.update_info(|i| {
            i.extra.insert("tokens_blake3".into(), hash.into());
        })?)
    }

    fn step(&mut self, at: u32, on: &mut dyn FnMut(Event)) -> Result<()> {
        let Some(mut device) = self.device.take() else { return self.host_step(at, on) };
        let outcome = self.device_step(&mut *device, at, on);
        self.device = Some(device);
        outcome
    }

    fn steps(mut self, from: u32, on: &mut dyn FnMut(Event)) -> Result<Outcome> {
        let c = self.config;
        for at in from..c.steps {
            let outcome = self.step(at, on).and_then(|()| self.boundary(at + 1, on));
            match outcome {
                Ok(()) => {}
                Err(e @ Error::Diverged(_)) => {
                    self.writer.finish(Status::Diverged)?;
                    return Err(e);
                }
                Err(e) => return Err(e),
            }
        }
        if let Some(last) = &self.last_moments {
            self.writer.settling(&self.keeper.settle(last))?;
        }
        let tokens = u64::from(c.steps - from) * self.batcher.tokens_per_step();
        self.writer.finish(Status::Complete)?;
        Ok(Outcome {
            valid_loss: self.valid_loss,
            checkpoint: checkpoint::folder(self.run, c.steps),
            step_seconds: self.step_seconds,
            probe_seconds: self.probe_seconds,
            probe_steps: self.cadence.state.spent.total(),
            probe_limit: self.cadence.limit(),
            tokens,
            launches_a_step: self.device.as_ref().map_or(0, |d| d.launches()),
        })
    }
}
