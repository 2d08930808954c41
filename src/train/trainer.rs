//! A run in progress, and what it tells its caller.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use growthpath_trace::RunWriter;
use serde::{Deserialize, Serialize};

use super::cadence::Cadence;
use super::config::TrainConfig;
use super::in_flight::InFlightStep;
use super::moments::{Comparisons, Keeper, KeyMoments};
use super::optimizer::{Optimizer, StepInfo};
use super::probe::{Prober, Probes};
use super::safeguard::Safeguard;
use crate::data::{Batch, Batcher, Dataset};
use crate::model::backend::Backend;
use crate::model::{Decoder, LayerStats, Network};

/// One step, for a progress display.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps done.
    pub done: u32,
    /// Loss of the step's batch, nats per token.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Tokens a second over the last steps.
    pub tokens_per_second: f64,
    /// Spread of the logits in the lower and in the upper half, geometric mean over heads; none at a step without
    /// telemetry.
    pub spread: Option<[f64; 2]>,
}

/// What the loop tells its caller.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A step was done.
    Step(StepReport),
    /// A validation was done: steps done, nats per token.
    Eval(u32, f64),
    /// Before the first step: the device has too little memory for probes, which the host works out while training goes on.
    NoDeviceMemoryForProbes,
}

/// A run in progress.
pub(super) struct Trainer<'a, B: Backend> {
    pub(super) config: &'a TrainConfig,
    pub(super) data: &'a Dataset,
    pub(super) run: &'a Path,
    /// The model on the host: what probes, validation and checkpoints read.
    pub(super) model: Decoder,
    /// The model where it trains.
    pub(super) network: Network<B>,
    pub(super) optimizer: Optimizer,
    pub(super) prober: Option<Prober>,
    pub(super) probes: Option<Box<dyn Probes<B>>>,
    /// What the moments of the measurement under way are compared with.
    pub(super) under_way: Option<Comparisons>,
    pub(super) probe_batch: Option<Batch>,
    pub(super) cadence: Cadence,
    pub(super) keeper: Keeper,
    /// Key moments at the end.
    pub(super) last_moments: Option<KeyMoments>,
    pub(super) reliance_batch: Option<Batch>,
    pub(super) eval_batch: Batch,
    pub(super) batcher: Batcher,
    pub(super) writer: RunWriter,
    pub(super) valid_loss: f64,
    pub(super) step_seconds: f64,
    /// That training waited for what is measured beside it.
    pub(super) probe_seconds: f64,
    /// That it was worked on while training went on.
    pub(super) beside_seconds: f64,
    pub(super) last: Option<Last>,
    pub(super) speed: Speed,
    /// When a checkpoint that nobody asked for is due.
    pub(super) safeguard: Safeguard,
    /// Steps started and not yet recorded, oldest first.
    pub(super) in_flight: VecDeque<InFlightStep>,
    /// When the last step was done.
    pub(super) last_done: Option<Instant>,
}

/// The last step, for the message of a run that diverges.
pub(super) struct Last {
    pub(super) step: u32,
    pub(super) loss: f64,
    pub(super) info: StepInfo,
    pub(super) layers: Vec<LayerStats>,
}

/// Tokens a second, smoothed over about ten steps.
#[derive(Default)]
pub(super) struct Speed {
    rate: Option<f64>,
}

impl Speed {
    pub(super) fn add(&mut self, tokens: f64, seconds: f64) -> f64 {
        let now = tokens / seconds.max(1e-9);
        let rate = self.rate.map_or(now, |r| 0.9 * r + 0.1 * now);
        self.rate = Some(rate);
        rate
    }
}
