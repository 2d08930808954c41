//! Everything that decides what a run computes; stored whole in `run.json`.

use std::path::PathBuf;

use growthpath_kernels::optimizer::Rule;
use serde::{Deserialize, Serialize};

use super::intervention::Intervention;
use super::schedule::Schedule;
use crate::data::Source;
use crate::model::ModelConfig;

/// Type that activations are stored in; parameters, moments and statistics are float32 in either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// The upper half of a 32-bit float; on a device only.
    Bf16,
}

/// When to probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum ProbeTimes {
    /// Never; nothing else is measured on the probe batch either.
    Never,
    /// At multiples of `steps`, at powers of two, and at the end.
    Every {
        /// The interval.
        steps: u32,
    },
    /// As soon as a layer's mean ln spread has moved by more than `threshold` since the last probe, and sparsely
    /// whatever happens.
    Auto {
        /// The movement, in ln.
        threshold: f64,
        /// What probes, captures and reliance may cost, as a fraction of the training's arithmetic.
        budget: f64,
    },
    /// When another run was probed, and at the end.
    Like {
        /// Name of the other run's directory.
        run: String,
        /// Its probe times.
        #[serde(with = "listed")]
        steps: Vec<u32>,
        /// As for `Auto`, for captures and reliance.
        budget: f64,
    },
}

impl ProbeTimes {
    /// Whether anything is measured at times that recorded rows decide.
    pub fn are_chosen(&self) -> bool {
        matches!(self, Self::Auto { .. } | Self::Like { .. })
    }
}

/// Steps as one string: a run's description stays readable, and two descriptions differ in one line.
mod listed {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(steps: &[u32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&steps.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u32>, D::Error> {
        let text = String::deserialize(d)?;
        text.split_whitespace().map(|t| t.parse().map_err(D::Error::custom)).collect()
    }
}

/// What is measured beside the step telemetry, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeConfig {
    /// When.
    pub times: ProbeTimes,
    /// Probe sequences.
    pub sequences: usize,
    /// Their length; at most the context.
    pub length: usize,
    /// Sequences that reliance is measured on; 0 = not measured.
    pub reliance_sequences: usize,
    /// Lag of maturity, as a fraction of training.
    pub maturity_lag: f64,
}

/// Where a run's first weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Checkpoint folder.
    pub checkpoint: PathBuf,
    /// Rows of the embedding there: the tokenizer may have fewer entries, not more.
    pub vocab: usize,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// The decoder.
    pub model: ModelConfig,
    /// The text.
    pub data: Source,
    /// `bytes`, `gpt2`, `bpe:N` or a tokenizer file.
    pub tokenizer: String,
    /// The checkpoint whose weights the run begins with; none = random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// Sequences a batch.
    pub batch: usize,
    /// Optimizer steps.
    pub steps: u32,
    /// Seed of the initial weights and of the data order.
    pub seed: u64,
    /// Type of the stored activations.
    #[serde(default)]
    pub precision: Precision,
    /// Update rule.
    pub optimizer: Rule,
    /// Learning rate over time.
    pub schedule: Schedule,
    /// Decoupled decay of matrices.
    pub weight_decay: f64,
    /// Global gradient-norm limit; 0 = none.
    pub clip: f64,
    /// Slowed parameters, if any.
    pub intervention: Option<Intervention>,
    /// Record `heads` and `writes` every so many steps; 0 = never.
    pub telemetry_every: u32,
    /// Spectra of the update (columns `dm_*` of `heads`) every so many steps, where `heads` is recorded; 0 = never.
    pub spectra_every: u32,
    /// Probes.
    pub probe: ProbeConfig,
    /// Validation every so many steps (and at the start and the end).
    pub eval_every: u32,
    /// Validation windows.
    pub eval_sequences: usize,
    /// Checkpoint every so many steps (and at the end); 0 = only at the end.
    pub checkpoint_every: u32,
    /// Checkpoint at every probe, step 0 among them.
    #[serde(default)]
    pub checkpoint_probes: bool,
    /// Write this step's tokens, parameters, gradients and writes to `dumps/`.
    pub dump_step: Option<u32>,
}

impl TrainConfig {
    /// Whether a checkpoint is due when `done` steps are done.
    pub fn checkpoint_due(&self, done: u32) -> bool {
        done == self.steps
            || (done > 0 && self.checkpoint_every > 0 && done.is_multiple_of(self.checkpoint_every))
    }

    /// Whether a validation is due when `done` steps are done.
    pub fn eval_due(&self, done: u32) -> bool {
        done == 0 || done == self.steps || (self.eval_every > 0 && done.is_multiple_of(self.eval_every))
    }

    /// Whether `heads` and `writes` are recorded at step `step`.
    pub fn telemetry_due(&self, step: u32) -> bool {
        self.telemetry_every > 0 && step.is_multiple_of(self.telemetry_every)
    }

    /// Whether the spectra of the update of step `step` are computed.
    pub fn spectra_due(&self, step: u32) -> bool {
        self.spectra_every > 0 && step.is_multiple_of(self.spectra_every) && self.telemetry_due(step)
    }

    /// Name of the arm: the preset, what was changed, and the intervention.
    pub fn label(&self) -> String {
        let slow = match self.intervention.map(|i| i.target) {
            None => "",
            Some(super::intervention::Target::UpperQk) => "+slow-qk",
            Some(super::intervention::Target::LowerQk) => "+slow-lower-qk",
            Some(super::intervention::Target::AllQk) => "+slow-all-qk",
            Some(super::intervention::Target::UpperVo) => "+slow-vo",
        };
        format!("{}{slow}", self.model.preset)
    }
}
