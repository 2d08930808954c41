//! The training flags, resolved to a [`TrainConfig`].

mod combined;

use std::path::PathBuf;

use clap::ValueEnum;
use growthpath_kernels::optimizer::Rule;

use super::values::choice;
use crate::data::{Source, TokenizerSpec};
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::model::config::Positions;
use crate::train::TrainConfig;
use crate::train::cadence::like::like;
use crate::train::checkpoint::unchanged_weights;
use crate::train::config::{Init, Precision, ProbeConfig, ProbeTimes};
use crate::train::intervention::{Hold, Intervention, Target};
use crate::train::schedule::{Schedule, ScheduleShape};

/// When to probe, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProbeArg {
    /// Densely while logits move, sparsely later.
    Auto,
    /// Not at all; maturity and reliance are not measured either.
    Never,
}

/// Update rules by name, with the constants that flags may change.
const RULES: [(&str, &str, Rule); 2] = [
    ("adamw", "Decoupled weight decay", Rule::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 }),
    ("sgd", "Gradient descent with momentum", Rule::Sgd { momentum: 0.9 }),
];

/// Flags that decide what a run computes.
#[derive(Debug, Clone, clap::Args)]
pub struct TrainArgs {
    /// Arm: gpt, llama, gpt+geglu, gpt+swiglu, gpt+silu, gpt+rmsnorm, gpt-nobias, gpt+rope, llama-ungated
    #[arg(long, default_value = "gpt")]
    pub preset: String,
    /// Size: nano, micro, mini, 124m, 270m
    #[arg(long, default_value = "micro")]
    pub size: String,
    /// Change one field of the model, e.g. `--set ffn=geglu --set width=192`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Training text (UTF-8); without it, the built-in formal language
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Validation text; without it, the last tenth of the training text
    #[arg(long, value_name = "FILE", requires = "data")]
    pub valid: Option<PathBuf>,
    /// Begin with the weights of this checkpoint folder: ours, or a Hugging Face GPT-2 or LLaMA that fits the arms. It decides
    /// the model (of --set only context is left) and, unless --tokenizer is given, the tokenizer
    #[arg(long, value_name = "CHECKPOINT", conflicts_with_all = ["preset", "size"])]
    pub init: Option<PathBuf>,
    /// bytes, gpt2, bpe:N (trained on the text) or a tokenizer.json [default: bytes]
    #[arg(long)]
    pub tokenizer: Option<String>,
    /// Optimizer steps
    #[arg(long, default_value_t = 300)]
    pub steps: u32,
    /// Seed of weights and data order
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Sequences a batch [default: by size]
    #[arg(long)]
    pub batch: Option<usize>,
    /// Update rule
    #[arg(long, value_parser = choice(RULES), default_value = "adamw")]
    pub optimizer: Rule,
    /// Peak learning rate [default: by size, 3e-3 for micro; 0.3 for sgd]
    #[arg(long)]
    pub lr: Option<f64>,
    /// Type of the stored activations; bf16 needs --device cuda
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: Precision,
    /// Schedule after warm-up
    #[arg(long, value_enum, default_value = "cosine")]
    pub schedule: ScheduleShape,
    /// Steps of linear warm-up [default: 40, at most a tenth of the steps]
    #[arg(long)]
    pub warmup: Option<u32>,
    /// Final learning rate over the peak, with --schedule cosine or wsd [default: 0.1]
    #[arg(long)]
    pub lr_final: Option<f64>,
    /// AdamW's first-moment decay [default: 0.9]
    #[arg(long)]
    pub beta1: Option<f64>,
    /// AdamW's second-moment decay [default: 0.95]
    #[arg(long)]
    pub beta2: Option<f64>,
    /// SGD's momentum [default: 0.9]
    #[arg(long)]
    pub momentum: Option<f64>,
    /// Decoupled weight decay of matrices
    #[arg(long, default_value_t = 0.1)]
    pub weight_decay: f64,
    /// Global gradient-norm limit; 0 = none
    #[arg(long, default_value_t = 1.0)]
    pub clip: f64,
    /// Slow one part of attention early
    #[arg(long, value_enum)]
    pub intervene: Option<Target>,
    /// With --intervene: factor on its learning rate while held [default: 0.25]
    #[arg(long)]
    pub multiplier: Option<f64>,
    /// With --intervene: hold for this fraction of training, or `adaptive` (until the lower half is mature, 0.12 at most)
    /// [default: 0.04]
    #[arg(long)]
    pub hold: Option<String>,
    /// With --intervene: then rise to 1 over this fraction of training [default: 0.01]
    #[arg(long)]
    pub ramp: Option<f64>,
    /// With --hold adaptive: maturity that counts as settled [default: 0.9]
    #[arg(long)]
    pub maturity_threshold: Option<f64>,
    /// Record heads and writes: every (step), off, or every N steps
    #[arg(long, default_value = "every")]
    pub telemetry: String,
    /// Spectra of the update (heads.dm_f, dm_top, dm_entropy) every N steps; 0 = never. On the CPU only: a device would
    /// have to stop for the weights [default: 50]
    #[arg(long, value_name = "N")]
    pub spectra_every: Option<u32>,
    /// When to probe: auto (as soon as logits have moved, within a budget) or never
    #[arg(long, value_enum, default_value = "auto", conflicts_with_all = ["probe_every", "probe_like"])]
    pub probe: ProbeArg,
    /// Probe at fixed times instead: every N steps, and at 0, 1, 2, 4, 8, ...; 0 = never
    #[arg(long, value_name = "N")]
    pub probe_every: Option<u32>,
    /// Probe exactly when another run was probed, for comparing the two
    #[arg(long, value_name = "RUN", conflicts_with = "probe_every")]
    pub probe_like: Option<PathBuf>,
    /// Probe once a layer's mean ln spread has moved by this much since the last probe [default: 0.25]
    #[arg(long, conflicts_with_all = ["probe_every", "probe_like"])]
    pub probe_threshold: Option<f64>,
    /// What probes, maturity and reliance may cost, as a fraction of the training's arithmetic [default: 0.1]
    #[arg(long, conflicts_with = "probe_every")]
    pub probe_budget: Option<f64>,
    /// Probe sequences [default: 4]
    #[arg(long)]
    pub probe_sequences: Option<usize>,
    /// Their length [default: the context, at most 256]
    #[arg(long)]
    pub probe_length: Option<usize>,
    /// Sequences for reliance by ablation; 0 = not measured [default: 16]
    #[arg(long)]
    pub reliance_sequences: Option<usize>,
    /// Lag of maturity, as a fraction of training [default: 0.02]
    #[arg(long)]
    pub maturity_lag: Option<f64>,
    /// Validate every N steps [default: a tenth of the steps]
    #[arg(long)]
    pub eval_every: Option<u32>,
    /// Validation windows
    #[arg(long, default_value_t = 64)]
    pub eval_sequences: usize,
    /// Checkpoint every N steps (and at the end); 0 = only at the end
    #[arg(long, default_value_t = 0)]
    pub checkpoint_every: u32,
    /// Checkpoint at every probe as well, step 0 among them, so that probes can be recomputed
    #[arg(long)]
    pub checkpoint_probes: bool,
    /// Write step N's tokens, parameters, gradients and writes to RUN/dumps
    #[arg(long, value_name = "N")]
    pub dump_step: Option<u32>,
}

/// Sequences a batch where no size says it.
const INIT_BATCH: usize = 8;

/// Bytes of built-in corpus a run is given.
const BUILT_IN_BYTES: usize = 4 << 20;

impl TrainArgs {
    fn telemetry(&self) -> Result<u32> {
        match self.telemetry.as_str() {
            "every" => Ok(1),
            "off" => Ok(0),
            n => n.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                Error::usage(format!("--telemetry takes every, off or a number of steps, got `{n}`"))
            }),
        }
    }

    fn probe_times(&self) -> Result<ProbeTimes> {
        let budget = self.probe_budget.unwrap_or(0.1);
        Ok(match (&self.probe_like, self.probe_every, self.probe) {
            (Some(run), ..) => like(run, budget)?,
            (None, Some(0), _) | (None, None, ProbeArg::Never) => ProbeTimes::Never,
            (None, Some(steps), _) => ProbeTimes::Every { steps },
            (None, None, ProbeArg::Auto) => {
                ProbeTimes::Auto { threshold: self.probe_threshold.unwrap_or(0.25), budget }
            }
        })
    }

    fn intervention(&self) -> Result<Option<Intervention>> {
        let Some(target) = self.intervene else { return Ok(None) };
        let hold = match self.hold.as_deref().unwrap_or("0.04") {
            "adaptive" => Hold::Adaptive { threshold: self.maturity_threshold.unwrap_or(0.9), probes: 3 },
            f => Hold::Fraction(f.parse().map_err(|_| {
                Error::usage(format!("--hold takes a fraction of training or `adaptive`, got `{f}`"))
            })?),
        };
        if matches!(hold, Hold::Adaptive { .. }) && self.never_probed() {
            return Err(Error::usage("--hold adaptive watches maturity: it needs probes (--probe auto)"));
        }
        let (multiplier, ramp) = (self.multiplier.unwrap_or(0.25), self.ramp.unwrap_or(0.01));
        Ok(Some(Intervention { target, multiplier, hold, ramp }))
    }

    fn never_probed(&self) -> bool {
        self.probe == ProbeArg::Never || self.probe_every == Some(0)
    }

    /// The text source.
    pub fn source(&self) -> Source {
        match &self.data {
            Some(train) => Source::Files { train: train.clone(), valid: self.valid.clone() },
            None => Source::BuiltIn { seed: 0, bytes: BUILT_IN_BYTES },
        }
    }

    /// The model to begin with, its batch size, and the checkpoint that it comes from.
    fn begin(&self) -> Result<(ModelConfig, usize, Option<Init>)> {
        let Some(dir) = &self.init else {
            let (model, batch) = ModelConfig::preset(&self.preset, &self.size)?;
            return Ok((model, batch, None));
        };
        let (init, model) = Init::open(dir)?;
        unchanged_weights(dir)?;
        if let Some(s) = self.set.iter().find(|s| !s.starts_with("context=")) {
            return Err(Error::usage(format!(
                "--set {s}: with --init the checkpoint decides the model; only context may be set"
            )));
        }
        Ok((model, INIT_BATCH, Some(init)))
    }

    fn tokenizer(&self, init: Option<&Init>) -> Result<String> {
        match (&self.tokenizer, init) {
            (Some(t), _) => Ok(t.clone()),
            (None, None) => Ok("bytes".into()),
            (None, Some(init)) => init.tokenizer().map(|p| p.display().to_string()).ok_or_else(|| {
                Error::usage(format!(
                    "--init {}: the checkpoint has no tokenizer.json: say with --tokenizer what its tokens are",
                    init.checkpoint.display()
                ))
            }),
        }
    }

    /// The configuration, but for the vocabulary, which the tokenizer decides.
    ///
    /// # Errors
    /// A value that cannot be used, flags that make no sense together.
    pub fn resolve(&self) -> Result<TrainConfig> {
        self.check_combined()?;
        let (mut model, batch, init) = self.begin()?;
        let most = model.context;
        for s in &self.set {
            model.set(s)?;
        }
        if init.is_some() && model.pos == Positions::Learned && model.context > most {
            return Err(Error::usage(format!(
                "--set context={}: the checkpoint has {most} learned positions and no more",
                model.context
            )));
        }
        self.check_with_model(&model)?;
        let lr = match (self.lr, self.optimizer) {
            (Some(lr), _) => lr,
            (None, Rule::Sgd { .. }) => 0.3,
            (None, Rule::AdamW { .. }) => match model.width {
                0..=192 => 3e-3,
                193..=512 => 1e-3,
                513..=896 => 6e-4,
                _ => 3e-4,
            },
        };
        let optimizer = match self.optimizer {
            Rule::AdamW { beta1, beta2, eps } => {
                Rule::AdamW { beta1: self.beta1.unwrap_or(beta1), beta2: self.beta2.unwrap_or(beta2), eps }
            }
            Rule::Sgd { momentum } => Rule::Sgd { momentum: self.momentum.unwrap_or(momentum) },
        };
        let warmup = self.warmup.unwrap_or((self.steps / 10).clamp(1, 40));
        let probe = ProbeConfig {
            times: self.probe_times()?,
            sequences: self.probe_sequences.unwrap_or(4),
            length: self.probe_length.unwrap_or(model.context.min(256)),
            reliance_sequences: self.reliance_sequences.unwrap_or(16),
            maturity_lag: self.maturity_lag.unwrap_or(0.02),
        };
        Ok(TrainConfig {
            model,
            data: self.source(),
            tokenizer: self.tokenizer(init.as_ref())?,
            init,
            batch: self.batch.unwrap_or(batch),
            steps: self.steps,
            seed: self.seed,
            precision: self.precision,
            optimizer,
            schedule: Schedule {
                shape: self.schedule,
                lr,
                warmup,
                final_fraction: self.lr_final.unwrap_or(0.1),
            },
            weight_decay: self.weight_decay,
            clip: self.clip,
            intervention: self.intervention()?,
            telemetry_every: self.telemetry()?,
            spectra_every: self.spectra_every.unwrap_or(50),
            probe,
            eval_every: self.eval_every.unwrap_or((self.steps / 10).max(1)),
            eval_sequences: self.eval_sequences,
            checkpoint_every: self.checkpoint_every,
            checkpoint_probes: self.checkpoint_probes,
            dump_step: self.dump_step,
        })
    }
}

/// Parse a `--tokenizer` value.
pub fn tokenizer(text: &str) -> Result<TokenizerSpec> {
    Ok(text.parse()?)
}
