//! Recording models that are written with candle and trained by its autograd: the same run directory, verified, analysed
//! and drawn by the same commands.
//!
//! The model computes its attention and residual additions with the fused operations
//! ([`causal_attention`](growthpath_kernels::attention::autograd::causal_attention),
//! [`add_norm`](growthpath_kernels::norm::autograd::add_norm)), which leave their statistics in the [`Taps`] of each layer,
//! and updates with [`AdamW`](growthpath_kernels::optimizer::AdamW); `examples/record_candle_model.rs` is a whole program.

use std::path::Path;
use std::time::Instant;

use candle_core::Tensor;
use faer::Mat;
use growthpath_analysis::probe_rows::{first_rows, head_rows as probe_rows, layer_row};
use growthpath_analysis::{Geometry, LayerProbe, LayerState, Positions, prepare_layers};
use growthpath_kernels::activation::HiddenStats;
use growthpath_kernels::attention::autograd::AttentionTap;
use growthpath_kernels::norm::autograd::WriteTap;
use growthpath_kernels::optimizer::{HeadUpdateStats, StepInfo};
use growthpath_trace::{EvalRow, RunInfo, RunWriter, Status, StepRow};
use serde_json::{Value, json};

use super::telemetry::{head_rows, write_rows};
use crate::error::{Error, Result};
use crate::model::{LayerStats, ModelConfig, StepStats};

/// What a run is.
#[derive(Debug, Clone)]
pub struct Description {
    /// Name of the run in figures and tables.
    pub label: String,
    /// Layers L.
    pub layers: usize,
    /// Heads H of each layer.
    pub heads: usize,
    /// Head width d_h.
    pub head_dim: usize,
    /// Rotary base (rotate-half), or none without rotary positions.
    pub rope_base: Option<f64>,
    /// Optimizer steps planned.
    pub steps: u32,
    /// Sequences a batch.
    pub batch: usize,
    /// Their length.
    pub context: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Anything worth keeping of the configuration.
    pub config: Value,
}

/// Where one layer's operations leave their statistics.
#[derive(Debug, Clone, Default)]
pub struct Taps {
    /// For the layer's attention.
    pub attention: AttentionTap,
    /// For the addition of its attention write, and of its feed-forward write.
    pub writes: [WriteTap; 2],
}

/// What attention reads in one layer, on the probe batch.
#[derive(Debug, Clone)]
pub struct AttentionInput {
    /// Normalized stream `[N, d]`, sequences one after the other.
    pub x: Tensor,
    /// Packed projection `[3 D, d]`: query, key and value rows.
    pub qkv: Tensor,
    /// Its bias `[3 D]`.
    pub bias: Option<Tensor>,
}

/// One finished training step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Mean loss, nats per token.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Tokens of the batch.
    pub tokens: u64,
}

/// Records a run.
pub struct Recorder {
    writer: RunWriter,
    geometry: Geometry,
    /// Heads and layers in the terms of the telemetry.
    shape: ModelConfig,
    taps: Vec<Taps>,
    step: u32,
    tokens: u64,
    started: Instant,
    last: Option<(u32, Vec<LayerProbe>)>,
    /// Learning rates summed since the last probe.
    eta: f64,
}

impl Recorder {
    /// Start recording into the new directory `run`.
    ///
    /// # Errors
    /// Numbers that describe no attention, a directory that holds a run already.
    pub fn create(run: &Path, about: &Description) -> Result<Self> {
        let positions = about.rope_base.map_or(Positions::Plain, |base| Positions::Rope { base });
        let geometry = Geometry { heads: about.heads, head_dim: about.head_dim, positions };
        geometry.validate()?;
        let (mut shape, _) = ModelConfig::preset("gpt", "nano")?;
        (shape.layers, shape.heads, shape.width) = (about.layers, about.heads, about.heads * about.head_dim);
        let small = |n: usize, what: &str| {
            u16::try_from(n).map_err(|_| Error::usage(format!("{n} {what} are more than a trace can hold")))
        };
        let (layers, heads) = (small(about.layers, "layers")?, small(about.heads, "heads")?);
        let config = json!({
            "batch": about.batch,
            "model": { "context": about.context, "layers": about.layers, "heads": about.heads },
            "candle": about.config,
        });
        let mut info = RunInfo::new(config, about.steps, layers, heads);
        info.label.clone_from(&about.label);
        info.seeds.insert("model".into(), about.seed);
        info.device = "CPU, candle".into();
        info.versions.insert("growthpath".into(), env!("CARGO_PKG_VERSION").into());
        info.telemetry_every = Some(1);
        Ok(Self {
            writer: RunWriter::create(run, &info)?,
            geometry,
            shape,
            taps: vec![Taps::default(); about.layers],
            step: 0,
            tokens: 0,
            started: Instant::now(),
            last: None,
            eta: 0.0,
        })
    }

    /// The taps of a layer, for its operations.
    pub fn taps(&self, layer: usize) -> &Taps {
        &self.taps[layer]
    }

    /// Record a finished step: forward and backward with the taps, and the optimizer's update. `slices` are those of
    /// [`AdamW::slices`](growthpath_kernels::optimizer::AdamW::slices).
    ///
    /// # Errors
    /// A layer whose operations left nothing in their taps, slices of another model, a disk that is full.
    pub fn step(&mut self, step: Step, info: StepInfo, slices: &[HeadUpdateStats]) -> Result<()> {
        let (layers, heads) = (self.shape.layers, self.shape.heads);
        if slices.len() != 2 * layers * heads {
            return Err(Error::usage(format!(
                "the optimizer has statistics of {} slices, {layers} layers of {heads} heads have {}: add_qkv every layer's projection",
                slices.len(),
                2 * layers * heads
            )));
        }
        let mut stats = StepStats { slots: slices.to_vec(), ..StepStats::default() };
        for (l, taps) in self.taps.iter().enumerate() {
            let missing = |what: &str| {
                Error::usage(format!(
                    "layer {l} recorded nothing of its {what}: pass it its taps in the training step"
                ))
            };
            let logits = taps.attention.take_logits().ok_or_else(|| missing("attention"))?;
            stats
                .logit_grads
                .push(taps.attention.take_gradients().ok_or_else(|| missing("attention's backward"))?);
            let [a, f] = &taps.writes;
            let writes = [
                a.take().ok_or_else(|| missing("attention write"))?,
                f.take().ok_or_else(|| missing("feed-forward write"))?,
            ];
            // The feed-forward block is the model's own: its hidden activations are not seen.
            let hidden = HiddenStats { hidden_ms: f64::NAN, hidden_common: f64::NAN };
            stats.layers.push(LayerStats { logits, writes, hidden });
        }
        self.tokens += step.tokens;
        self.eta += step.lr;
        let milliseconds = self.started.elapsed().as_secs_f64() * 1e3;
        self.started = Instant::now();
        self.writer.steps(StepRow {
            step: self.step,
            tokens: self.tokens,
            loss: step.loss as f32,
            lr: step.lr as f32,
            qk_mult: 1.0,
            grad_norm: info.grad_norm as f32,
            clip_scale: info.clip_scale as f32,
            step_ms: milliseconds as f32,
        })?;
        let rates = vec![step.lr as f32; layers];
        self.writer.heads(&head_rows(self.step, &self.shape, &stats, &[], &rates))?;
        self.writer.writes(&write_rows(self.step, &stats.layers))?;
        self.step += 1;
        Ok(())
    }

    /// Record a validation after the steps done: one mean loss a sequence, nats per token.
    ///
    /// # Errors
    /// No losses, a disk that is full.
    pub fn eval(&mut self, losses: &[f64]) -> Result<()> {
        let n = losses.len() as f64;
        let mean = losses.iter().sum::<f64>() / n;
        if losses.is_empty() || !mean.is_finite() {
            return Err(Error::usage(format!(
                "the mean of {} validation losses is not a number",
                losses.len()
            )));
        }
        let variance = losses.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let row = EvalRow {
            step: self.step,
            tokens: self.tokens,
            loss: mean,
            stderr: (variance / n).sqrt(),
            sequences: losses.len() as u32,
        };
        Ok(self.writer.evals(row)?)
    }

    /// Probe the model after the steps done: what every layer's attention reads on the probe batch, the same tokens each
    /// time, sequences of `seq_len`.
    ///
    /// # Errors
    /// Tensors that do not fit, weights or features that are not finite.
    pub fn probe(&mut self, seq_len: usize, inputs: &[AttentionInput]) -> Result<()> {
        if inputs.len() != self.shape.layers {
            return Err(Error::usage(format!(
                "{} attention inputs for {} layers",
                inputs.len(),
                self.shape.layers
            )));
        }
        let states = inputs.iter().map(|i| self.state(seq_len, i)).collect::<Result<Vec<_>>>()?;
        let now = prepare_layers(states, self.geometry)?;
        let step = self.step;
        let mut heads = Vec::new();
        for (l, probe) in now.iter().enumerate() {
            match &self.last {
                Some((at, before)) => {
                    let interval = before[l].interval(probe, &vec![self.eta; self.geometry.heads])?;
                    heads.extend(probe_rows(step, *at, l, &interval));
                }
                None => heads.extend(first_rows(step, l, probe)),
            }
        }
        let layers = now
            .iter()
            .enumerate()
            .map(|(l, p)| layer_row(step, l, p))
            .collect::<growthpath_analysis::Result<Vec<_>>>()?;
        self.writer.probe(&heads)?;
        self.writer.probe_layers(&layers)?;
        self.last = Some((step, now));
        self.eta = 0.0;
        self.started = Instant::now();
        Ok(())
    }

    /// The float64 matrices of one layer; biases become a last row and a column of ones.
    fn state(&self, seq_len: usize, input: &AttentionInput) -> Result<LayerState> {
        let (n, d) = input.x.dims2()?;
        let width = self.geometry.columns();
        if seq_len == 0 || !n.is_multiple_of(seq_len) || input.qkv.dims() != [3 * width, d] {
            return Err(Error::usage(format!(
                "attention input {:?} and projection {:?} do not fit {} heads of width {} and sequences of {seq_len}",
                input.x.dims(),
                input.qkv.dims(),
                self.geometry.heads,
                self.geometry.head_dim
            )));
        }
        let values = |t: &Tensor| -> Result<Vec<f32>> { Ok(t.flatten_all()?.to_vec1::<f32>()?) };
        let (x, w) = (values(&input.x)?, values(&input.qkv)?);
        let bias = input.bias.as_ref().map(values).transpose()?;
        if let Some(b) = bias.as_ref().filter(|b| b.len() != 3 * width) {
            return Err(Error::usage(format!(
                "a bias of {} values for a projection to {}",
                b.len(),
                3 * width
            )));
        }
        let extra = usize::from(bias.is_some());
        let block = |first: usize| {
            Mat::from_fn(d + extra, width, |i, j| {
                let row = first + j;
                f64::from(if i < d { w[row * d + i] } else { bias.as_ref().map_or(0.0, |b| b[row]) })
            })
        };
        let sequence = |s: &[f32]| {
            Mat::from_fn(seq_len, d + extra, |i, j| if j < d { f64::from(s[i * d + j]) } else { 1.0 })
        };
        Ok(LayerState {
            x: x.chunks_exact(seq_len * d).map(sequence).collect(),
            wq: block(0),
            wk: block(width),
        })
    }

    /// End the run.
    ///
    /// # Errors
    /// What was buffered cannot be written.
    pub fn finish(self) -> Result<()> {
        self.writer.finish(Status::Complete)?;
        Ok(())
    }
}
