//! The training loop.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use growthpath_trace::{Run, RunWriter, Status};

use super::cadence::Cadence;
use super::checkpoint::Restored;
use super::config::{ProbeTimes, TrainConfig};
use super::device::{Device, on_device};
use super::init::first_model;
use super::measure::{capture, copies};
use super::moments::Keeper;
use super::optimizer::Optimizer;
use super::probe::Prober;
use super::step::Telemetry;
use super::trainer::{Event, Speed, Trainer};
use super::{checkpoint, run_info, tokens};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::model::backend::Backend;
use crate::model::{Decoder, Network};

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
    device.check(config)?;
    on_device!(device, (config, &model, optimizer.rule()), |network| {
        let writer = RunWriter::create(run, &run_info::describe(config, data, label, device)?)?;
        let mut t = Trainer::new(config, data, run, model, network, optimizer, writer)?;
        t.save_tokens()?;
        t.boundary(0, on)?;
        t.steps(0, on)
    })
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
    device.check(config)?;
    on_device!(device, (config, &restored.model, restored.optimizer.rule()), |network| {
        let mut network = network;
        network.push_state(&restored.optimizer.moments)?;
        resumed(config, data, run, (step, &dir), restored, network)?.steps(step, on)
    })
}

/// The trainer as it was when the checkpoint in `dir` was written, after `step` steps.
fn resumed<'a, B: Backend>(
    config: &'a TrainConfig,
    data: &'a Dataset,
    run: &'a Path,
    (step, dir): (u32, &Path),
    restored: Restored,
    network: Network<B>,
) -> Result<Trainer<'a, B>> {
    let writer = RunWriter::resume(run, step)?;
    let mut t = Trainer::new(config, data, run, restored.model, network, restored.optimizer, writer)?;
    t.cadence.state = restored.state.cadence;
    t.keeper.restore(restored.state.moments, |at| checkpoint::moment(&restored.moments, dir, at))?;
    if let (Some(p), Some(at)) = (&mut t.prober, restored.state.last_probe) {
        let probed = restored.probed.as_ref().unwrap_or(&t.model);
        p.restore(probed, at, &restored.state.eta)?;
        t.probed = if config.checkpoint_every > 0 { copies(probed)? } else { Vec::new() };
    }
    if step >= config.steps {
        // Every step was done and the process ended before it said so: only the end is left to record.
        t.valid_loss = Run::open(run)?.evals()?.last().map_or(f64::NAN, |e| e.loss);
        t.last_moments = t.probe_batch.as_ref().map(|b| capture(&t.model, b, step)).transpose()?;
    }
    Ok(t)
}

impl<'a, B: Backend> Trainer<'a, B> {
    pub(super) fn new(
        config: &'a TrainConfig,
        data: &'a Dataset,
        run: &'a Path,
        model: Decoder,
        network: Network<B>,
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
            last: None,
            speed: Speed::default(),
            in_flight: VecDeque::new(),
            last_done: None,
            config,
            data,
            run,
            model,
            network,
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

    fn steps(mut self, from: u32, on: &mut dyn FnMut(Event)) -> Result<Outcome> {
        let c = self.config;
        for at in from..c.steps {
            let telemetry = if c.telemetry_due(at) { Telemetry::Recorded } else { Telemetry::Off };
            let outcome = self.step(at, telemetry, on).and_then(|()| self.boundary(at + 1, on));
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
            launches_a_step: self.network.step_launches(),
        })
    }
}
