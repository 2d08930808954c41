//! The training loop.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use growthpath_trace::{Run, RunWriter, Status, disk};

use super::cadence::Cadence;
use super::checkpoint::Restored;
use super::config::{ProbeTimes, TrainConfig};
use super::device::{Device, TrainingBackend, on_device};
use super::in_flight::Telemetry;
use super::init::first_model;
use super::moments::Keeper;
use super::optimizer::Optimizer;
use super::place::{Place, Resume, check_data};
use super::probe::{Measurement, Prober};
use super::safeguard::Safeguard;
use super::trainer::{Event, Speed, Trainer};
use super::{checkpoint, run_info, stop, tokens};
use crate::data::Dataset;
use crate::destination::outside_tables;
use crate::error::{Error, Result};
use crate::model::{Decoder, Network};

/// Key in `extra` of `run.json` under which a run says where its probes were worked out.
const PROBES_KEY: &str = "probes";

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Last validation loss, nats per token.
    pub valid_loss: f64,
    /// Last checkpoint.
    pub checkpoint: PathBuf,
    /// Seconds in training steps, without probes, validation and checkpoints.
    pub step_seconds: f64,
    /// Seconds that training waited for probes, captures and reliance.
    pub probe_seconds: f64,
    /// Seconds that the host worked on them while training went on.
    pub beside_seconds: f64,
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
/// Everything that can be known to be wrong is found before the directory is created, and what fails before the first
/// step leaves none behind.
///
/// # Errors
/// A configuration or data that cannot be used, a directory that already holds a run, a disk that is full,
/// [`Error::Diverged`] or [`Error::Interrupted`]; what was recorded before stays.
pub fn train(
    config: &TrainConfig,
    data: &Dataset,
    run: &Path,
    label: &str,
    device: &Device,
    on: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    config.validate()?;
    outside_tables(run)?;
    check_data(config, data)?;
    let model = first_model(config)?;
    let optimizer = Optimizer::new(config, &model.params);
    device.check(config)?;
    on_device!(device, (config, &model, optimizer.rule()), |network| {
        let info = run_info::describe(config, data, label, device)?;
        let place = Place::take(run)?;
        let writer = match RunWriter::create(run, &info) {
            Ok(writer) => writer,
            Err(e) => return Err(place.give_back(false, e.into())),
        };
        let begun = Trainer::new((config, data, run), model, network, optimizer, writer).and_then(|mut t| {
            t.save_tokens()?;
            t.tell_probes(0, on)?;
            let first = t.boundary(0, on);
            if let Err(e @ Error::Diverged(_)) = first {
                t.writer.finish(Status::Diverged)?;
                return Ok(Err(e));
            }
            first.map(|()| Ok(t))
        });
        match begun {
            Ok(t) => t?.steps(0, on),
            Err(e) => Err(place.give_back(true, e)),
        }
    })
}

/// Go on from a checkpoint, to the same bits as a run that never stopped.
///
/// # Errors
/// As [`train`]; a run without a checkpoint.
pub fn resume(
    config: &TrainConfig,
    data: &Dataset,
    resume: &Resume,
    device: &Device,
    on: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    config.validate()?;
    let run = resume.run();
    let Some(checkpoint::Found { step, dir }) = &resume.from else {
        let run = growthpath_trace::shown_path(run);
        return Err(Error::usage(format!("{run}: has no checkpoint to resume from")));
    };
    let step = *step;
    let restored = checkpoint::load(dir, config)?;
    device.check(config)?;
    on_device!(device, (config, &restored.model, restored.optimizer.rule()), |network| {
        let mut network = network;
        network.push_state(&restored.optimizer.moments)?;
        let mut trainer = resumed(config, data, run, (step, dir), restored, network)?;
        trainer.tell_probes(step, on)?;
        // The run passes these steps once more; what is damaged would stay for good.
        resume.skipped.iter().filter(|s| s.ours).try_for_each(|s| disk::remove_tree(&s.dir))?;
        trainer.steps(step, on)
    })
}

/// The trainer as it was when the checkpoint in `dir` was written, after `step` steps.
fn resumed<'a, B: TrainingBackend>(
    config: &'a TrainConfig,
    data: &'a Dataset,
    run: &'a Path,
    (step, dir): (u32, &Path),
    restored: Restored,
    network: Network<B>,
) -> Result<Trainer<'a, B>> {
    let writer = RunWriter::resume(run, step)?;
    let mut t = Trainer::new((config, data, run), restored.model, network, restored.optimizer, writer)?;
    t.safeguard.saved = Some(step);
    t.cadence.state = restored.state.cadence;
    t.keeper.restore(restored.state.moments, |at| checkpoint::moment(&restored.moments, dir, at))?;
    if let (Some(p), Some(probes), Some(at)) = (&mut t.prober, &mut t.probes, restored.state.last_probe) {
        probes.restore(restored.probed.as_ref().unwrap_or(&t.model), at)?;
        p.restore(at, &restored.state.eta);
    }
    if step >= config.steps {
        // Every step was done and the process ended before it said so: only the end is left to record.
        t.valid_loss = Run::open(run)?.evals()?.last().map_or(f64::NAN, |e| e.loss);
        if let Some(probes) = &mut t.probes {
            let measured =
                probes.measure_now(t.network.backend(), &t.model, Measurement::Moments { step })?;
            t.last_moments = measured.map(|m| m.moments);
        }
    }
    Ok(t)
}

impl<'a, B: TrainingBackend> Trainer<'a, B> {
    pub(super) fn new(
        (config, data, run): (&'a TrainConfig, &'a Dataset, &'a Path),
        model: Decoder,
        network: Network<B>,
        optimizer: Optimizer,
        writer: RunWriter,
    ) -> Result<Self> {
        let p = &config.probe;
        let measuring = p.times != ProbeTimes::Never;
        let probe_batch = measuring.then(|| data.probe_sequences(p.sequences, p.length)).transpose()?;
        // With QK-norm the logits are no longer bilinear in W_Q and W_K: sections 3 to 6 do not apply.
        let prober = (measuring && !config.model.qk_norm).then(|| Prober::new(config.model.layers));
        let probes = probe_batch.clone().map(|b| network.backend().probes(&model, b)).transpose()?;
        let relying = measuring && p.reliance_sequences > 0;
        let reliance_batch = relying.then(|| data.eval_windows(p.reliance_sequences)).transpose()?;
        let cadence = Cadence::new(config);
        Ok(Self {
            eval_batch: data.eval_windows(config.eval_sequences)?,
            batcher: data.batcher(config.batch)?,
            valid_loss: f64::NAN,
            step_seconds: 0.0,
            probe_seconds: 0.0,
            beside_seconds: 0.0,
            last: None,
            speed: Speed::default(),
            safeguard: Safeguard::new(),
            in_flight: VecDeque::new(),
            last_done: None,
            config,
            data,
            run,
            model,
            network,
            optimizer,
            prober,
            probes,
            under_way: None,
            probe_batch,
            keeper: Keeper::new(config, cadence.plan()),
            cadence,
            last_moments: None,
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
            if let Some(signal) = stop::requested() {
                return Err(self.interrupt(at, signal, on)?);
            }
            let telemetry = if c.telemetry_due(at) { Telemetry::Recorded } else { Telemetry::Off };
            if let Err(e) = self.step(at, telemetry, on).and_then(|()| self.boundary(at + 1, on)) {
                return Err(self.fail(e)?);
            }
        }
        self.collect_all()?;
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
            beside_seconds: self.beside_seconds,
            probe_steps: self.cadence.state.spent.total(),
            probe_limit: self.cadence.limit(),
            tokens,
            launches_a_step: self.network.step_launches(),
        })
    }

    /// Say where probes are worked out from step `from` on: in `run.json`, and to the caller where that is not where they would
    /// have been fastest.
    fn tell_probes(&mut self, from: u32, on: &mut dyn FnMut(Event)) -> Result<()> {
        let Some(place) = self.probes.as_ref().map(|p| p.on()) else { return Ok(()) };
        if place.lacks_memory() {
            on(Event::NoDeviceMemoryForProbes);
        }
        let told = self.writer.info().extra.get(PROBES_KEY).and_then(|v| v.as_str());
        let now = match told {
            None if from == 0 => place.describe().to_owned(),
            // A run that was begun before this was recorded.
            None => format!("from step {from} on: {}", place.describe()),
            // Another machine may have gone on with the run.
            Some(told) if told.ends_with(place.describe()) => return Ok(()),
            Some(told) => format!("{told}; from step {from} on: {}", place.describe()),
        };
        Ok(self.writer.update_info(|i| {
            i.extra.insert(PROBES_KEY.into(), now.into());
        })?)
    }
}
