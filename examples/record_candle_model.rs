//! A decoder written with candle, trained by candle's own autograd, recorded: `record_candle_model RUN [STEPS]`.
//!
//! The lines that record are marked; the rest is an ordinary candle program. Afterwards `growthpath verify RUN`,
//! `growthpath analyze RUN` and `growthpath plot RUN --figure all --out figures` work as on any run.

use std::path::Path;
use std::sync::Arc;

use candle_core::{D, DType, Device, IndexOp, Result, Tensor, Var};
use growthpath::data::{Dataset, Source, TokenizerSpec};
use growthpath::train::recorder::{AttentionInput, Description, Recorder, Step};
use growthpath_kernels::attention::{Shape, autograd::causal_attention};
use growthpath_kernels::norm::{Norm, NormParams, autograd::add_norm};
use growthpath_kernels::optimizer::{AdamW, AdamWSettings, Decay};
use growthpath_kernels::rope::Rope;

pub(crate) const WIDTH: usize = 64;
const LAYERS: usize = 3;
pub(crate) const HEADS: usize = 4;
pub(crate) const CONTEXT: usize = 64;
const BATCH: usize = 8;
pub(crate) const BASE: f64 = 10_000.0;

/// A pre-norm block with a gated feed-forward: rotary attention, SwiGLU, no biases.
pub(crate) struct Block {
    pub(crate) norms: [Var; 2],
    pub(crate) qkv: Var,
    pub(crate) out: Var,
    pub(crate) gate: Var,
    pub(crate) up: Var,
    pub(crate) down: Var,
}

pub(crate) struct Model {
    pub(crate) embedding: Var,
    pub(crate) blocks: Vec<Block>,
    pub(crate) last_norm: Var,
    rope: Arc<Rope>,
}

fn matrix(rows: usize, columns: usize, deviation: f64) -> Result<Var> {
    Var::from_tensor(&(Tensor::randn(0f32, 1.0, (rows, columns), &Device::Cpu)? * deviation)?)
}

fn ones() -> Result<Var> {
    Var::ones(WIDTH, DType::F32, &Device::Cpu)
}

impl Model {
    pub(crate) fn new(vocabulary: usize) -> Result<Self> {
        let residual = 0.02 / (2.0 * LAYERS as f64).sqrt();
        let hidden = 8 * WIDTH / 3;
        let block = |_| {
            Ok(Block {
                norms: [ones()?, ones()?],
                qkv: matrix(3 * WIDTH, WIDTH, 0.02)?,
                out: matrix(WIDTH, WIDTH, residual)?,
                gate: matrix(hidden, WIDTH, 0.02)?,
                up: matrix(hidden, WIDTH, 0.02)?,
                down: matrix(WIDTH, hidden, residual)?,
            })
        };
        Ok(Self {
            embedding: matrix(vocabulary, WIDTH, 0.02)?,
            blocks: (0..LAYERS).map(block).collect::<Result<_>>()?,
            last_norm: ones()?,
            rope: Arc::new(Rope::new(CONTEXT, WIDTH / HEADS, BASE)),
        })
    }

    /// Logits `[N, vocabulary]`, and what each layer's attention reads. With a recorder, operations leave their statistics.
    fn forward(&self, tokens: &Tensor, recorder: Option<&Recorder>) -> Result<(Tensor, Vec<Tensor>)> {
        let (batch, seq_len) = tokens.dims2()?;
        let shape = Shape { batch, seq_len, heads: HEADS, head_dim: WIDTH / HEADS };
        let linear = |x: &Tensor, w: &Var| x.matmul(&w.t()?);
        let norm = |h: &Tensor, write: Option<&Tensor>, gain: &Var, tap| {
            add_norm(NormParams { kind: Norm::RmsNorm, eps: 1e-5, gain, bias: None }, h, write, tap)
                .map_err(candle_core::Error::wrap)
        };
        let mut inputs = Vec::new();
        let h = self.embedding.index_select(&tokens.flatten_all()?, 0)?;
        let (mut h, mut x) = norm(&h, None, &self.blocks[0].norms[0], None)?;
        for (l, b) in self.blocks.iter().enumerate() {
            let taps = recorder.map(|r| r.taps(l)); // recording
            inputs.push(x.clone()); // recording
            let tap = taps.map(|t| &t.attention); // recording
            let attended = causal_attention(&linear(&x, &b.qkv)?, shape, Some(&self.rope), tap)
                .map_err(candle_core::Error::wrap)?;
            let write = linear(&attended, &b.out)?;
            (h, x) = norm(&h, Some(&write), &b.norms[1], taps.map(|t| &t.writes[0]))?;
            let write = linear(&(linear(&x, &b.gate)?.silu()? * linear(&x, &b.up)?)?, &b.down)?;
            let next = self.blocks.get(l + 1).map_or(&self.last_norm, |b| &b.norms[0]);
            (h, x) = norm(&h, Some(&write), next, taps.map(|t| &t.writes[1]))?;
        }
        Ok((linear(&x, &self.embedding)?, inputs))
    }

    /// Cross-entropy of each token.
    pub(crate) fn losses(
        &self,
        tokens: &Tensor,
        targets: &Tensor,
        recorder: Option<&Recorder>,
    ) -> Result<Tensor> {
        let (logits, _) = self.forward(tokens, recorder)?;
        let chosen = logits.gather(&targets.flatten_all()?.unsqueeze(1)?, 1)?.squeeze(1)?;
        logits.log_sum_exp(D::Minus1)? - chosen
    }
}

fn optimizer(model: &Model) -> std::result::Result<AdamW, growthpath_kernels::Error> {
    let mut optimizer = AdamW::new(AdamWSettings::default());
    optimizer.add(&model.embedding, Decay::Applied);
    optimizer.add(&model.last_norm, Decay::Exempt);
    for (l, b) in model.blocks.iter().enumerate() {
        optimizer.add_qkv(&b.qkv, l, HEADS)?; // by head, for the record
        [&b.out, &b.gate, &b.up, &b.down].into_iter().for_each(|m| optimizer.add(m, Decay::Applied));
        b.norms.iter().for_each(|g| optimizer.add(g, Decay::Exempt));
    }
    Ok(optimizer)
}

/// Attention inputs of every layer on the probe batch, with the projections that read them.
fn probe(model: &Model, tokens: &Tensor) -> Result<Vec<AttentionInput>> {
    let (_, inputs) = model.forward(tokens, None)?;
    let pair = |(x, b): (Tensor, &Block)| AttentionInput { x, qkv: b.qkv.as_tensor().clone(), bias: None };
    Ok(inputs.into_iter().zip(&model.blocks).map(pair).collect())
}

pub(crate) fn train(run: &Path, steps: u32) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let source = Source::BuiltIn { seed: 0, bytes: 1 << 20 };
    let data = Dataset::load(&source, &TokenizerSpec::Bytes, CONTEXT, &mut |_, _, _| {})?;
    let tensor = |ids: &[u32]| Tensor::from_slice(ids, (ids.len() / CONTEXT, CONTEXT), &Device::Cpu);
    let (batcher, valid) = (data.batcher(BATCH)?, data.eval_windows(16)?);
    let (valid_inputs, valid_targets) = (tensor(&valid.inputs)?, tensor(&valid.targets)?);
    let probed = valid_inputs.i(..4)?;

    let model = Model::new(data.info().vocab_size)?;
    let mut optimizer = optimizer(&model)?;
    let mut recorder = Recorder::create(
        run,
        &Description {
            label: "candle".into(),
            layers: LAYERS,
            heads: HEADS,
            head_dim: WIDTH / HEADS,
            rope_base: Some(BASE),
            steps,
            batch: BATCH,
            context: CONTEXT,
            seed: 0,
            config: serde_json::json!({"width": WIDTH, "feed_forward": "swiglu"}),
        },
    )?;
    for step in 0..=steps {
        if step % 10 == 0 || step == steps {
            recorder.probe(CONTEXT, &probe(&model, &probed)?)?;
            let losses =
                model.losses(&valid_inputs, &valid_targets, None)?.reshape(((), CONTEXT))?.mean(1)?;
            let losses: Vec<f64> = losses.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
            recorder.eval(&losses)?;
            println!("step {step}: validation loss {:.3}", losses.iter().sum::<f64>() / losses.len() as f64);
        }
        if step == steps {
            break;
        }
        let batch = batcher.batch(1, step.into());
        let loss =
            model.losses(&tensor(&batch.inputs)?, &tensor(&batch.targets)?, Some(&recorder))?.mean_all()?;
        let lr = 3e-3 * (f64::from(step + 1) / 10.0).min(1.0);
        let info = optimizer.step(&loss.backward()?, lr)?;
        let tokens = (BATCH * CONTEXT) as u64;
        let loss = f64::from(loss.to_scalar::<f32>()?);
        recorder.step(Step { loss, lr, tokens }, info, optimizer.slices())?;
    }
    recorder.finish()?;
    Ok(())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let run = arguments.next().ok_or("usage: record_candle_model RUN [STEPS]")?;
    train(Path::new(&run), arguments.next().map_or(Ok(60), |s| s.parse())?)
}
