//! The host's processor: the kernels' CPU twins over vectors, parameters where candle keeps them.

use std::mem;

use growthpath_kernels::Stats;
use growthpath_kernels::attention::Shape;
use growthpath_kernels::norm::WriteStats;
use growthpath_kernels::optimizer::{HeadUpdateStats, OptimizerState, Segment, Update};
use growthpath_kernels::rope::Rope;
use growthpath_kernels::{
    activation, attention, cross_entropy, embedding, linear, norm, optimizer, qk_norm, tensor,
};

use super::{Affine, Backend, Normed, shape_of};
use crate::error::{Error, Result};
use crate::model::params::{Params, segments};
use crate::model::stats::{LayerStats, StepStats};
use crate::model::{Decoder, ModelConfig};

/// The host's processor.
pub struct Cpu {
    config: ModelConfig,
    /// The host's own: an update changes what everybody else reads.
    params: Params,
    /// The runs of each parameter that the optimizer treats apart.
    segments: Vec<Vec<Segment>>,
    rope: Option<Rope>,
    /// Tokens that the buffers have room for.
    most: usize,
    shape: Shape,
    tokens: Vec<u32>,
    targets: Vec<u32>,
    uniform: Vec<(usize, usize)>,
    /// One gradient a parameter; none before the first head with gradients.
    grads: Vec<Vec<f32>>,
    /// A chunk of logits; empty before the first head.
    logits: Vec<f32>,
    losses: Vec<f32>,
    measures: Stats,
    /// The step under way.
    stats: StepStats,
    done: Option<StepStats>,
}

impl Cpu {
    /// A backend for `model`, with room for batches of `most` tokens.
    pub fn new(model: &Decoder, most: usize) -> Self {
        let c = model.config.clone();
        Self {
            segments: model.params.specs.iter().map(|s| segments(&c, s)).collect(),
            params: model.params.clone(),
            rope: model.rope(),
            shape: Shape { batch: 0, seq_len: 0, heads: c.heads, head_dim: c.head_dim() },
            config: c,
            most,
            tokens: Vec::new(),
            targets: Vec::new(),
            uniform: Vec::new(),
            grads: Vec::new(),
            logits: Vec::new(),
            losses: Vec::new(),
            measures: Stats::Off,
            stats: StepStats::default(),
            done: None,
        }
    }

    /// What the last pass measured in each layer; empty where nothing was measured.
    pub(in crate::model) fn layer_stats(&self) -> &[LayerStats] {
        &self.stats.layers
    }

    /// What the last pass measured.
    pub(in crate::model) fn pass_stats(&self) -> &StepStats {
        &self.stats
    }

    /// The rows of the batch last sent.
    fn rows<'a>(&self, x: &'a [f32]) -> &'a [f32] {
        &x[..x.len() / self.most * self.shape.tokens()]
    }

    /// The same to write.
    fn room<'a>(&self, x: &'a mut [f32]) -> &'a mut [f32] {
        let len = x.len() / self.most * self.shape.tokens();
        &mut x[..len]
    }

    /// Normalize `to.h`, after adding the write to the stream before it where there is one.
    fn add_norm(
        &self,
        norm: Affine,
        write: Option<(&[f32], &[f32])>,
        to: &mut Normed<Vec<f32>>,
    ) -> Result<Option<WriteStats>> {
        let (gain, bias, c) =
            (self.params.value(norm.weight)?, self.params.value_opt(norm.bias)?, &self.config);
        let args = norm::cpu::Forward {
            kind: c.norm,
            eps: c.norm_eps as f32,
            d: c.width,
            gain: &gain,
            bias: bias.as_deref(),
            stats: self.measures,
        };
        let (x, mean_rstd) = (self.room(&mut to.x), self.room(&mut to.mean_rstd));
        Ok(match write {
            Some((h, write)) => {
                let out = self.room(&mut to.h);
                norm::cpu::forward_add(&args, self.rows(h), self.rows(write), out, x, mean_rstd)
            }
            None => {
                norm::cpu::forward_plain(&args, self.rows(&to.h), x, mean_rstd);
                None
            }
        })
    }
}

/// Gradients of weight and bias.
fn both(grads: &mut [Vec<f32>], p: Affine) -> (&mut [f32], Option<&mut [f32]>) {
    match p.bias {
        None => (&mut grads[p.weight], None),
        Some(bias) => {
            let [weight, bias] = two(grads, (p.weight, bias));
            (weight, Some(bias))
        }
    }
}

/// Two gradients, `first` below `second`: a bias and a key gain come after what they belong to.
fn two(grads: &mut [Vec<f32>], (first, second): (usize, usize)) -> [&mut [f32]; 2] {
    let (below, from) = grads.split_at_mut(second);
    [&mut below[first], &mut from[0]]
}

impl Backend for Cpu {
    type Buffer = Vec<f32>;

    const IN_FLIGHT: usize = 0;

    fn activations(&self, width: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; self.most * width])
    }

    fn floats(&self, width: usize) -> Result<Vec<f32>> {
        self.activations(width)
    }

    fn send(&mut self, tokens: &[u32], targets: &[u32], seq_len: usize) -> Result<()> {
        self.shape = shape_of(&self.config, self.most, tokens, targets, seq_len)?;
        embedding::check("embedding", tokens, seq_len, self.config.vocab)?;
        if let Some(t) = targets.iter().find(|t| **t as usize >= self.config.vocab) {
            return Err(Error::usage(format!(
                "target {t} lies outside the vocabulary of {}",
                self.config.vocab
            )));
        }
        for (to, from) in [(&mut self.tokens, tokens), (&mut self.targets, targets)] {
            to.clear();
            to.extend_from_slice(from);
        }
        Ok(())
    }

    fn begin(&mut self, stats: Stats, uniform: &[(usize, usize)]) -> Result<()> {
        let (layers, heads) = (self.config.layers, self.config.heads);
        if let Some((l, h)) = uniform.iter().find(|(l, h)| *l >= layers || *h >= heads) {
            return Err(Error::usage(format!("there is no head {h} in layer {l}")));
        }
        self.measures = stats;
        self.uniform = uniform.to_vec();
        self.stats = StepStats {
            layers: vec![LayerStats::default(); if stats.taken() { layers } else { 0 }],
            logit_grads: vec![Vec::new(); layers],
            ..StepStats::default()
        };
        Ok(())
    }

    fn embedding(&mut self, wte: usize, wpe: Option<usize>, h: &mut Vec<f32>) -> Result<()> {
        let (e, p, h) = (self.params.value(wte)?, self.params.value_opt(wpe)?, self.room(h));
        embedding::cpu::forward(&self.tokens, self.shape.seq_len, &e, p.as_deref(), h);
        Ok(())
    }

    fn norm(&mut self, norm: Affine, to: &mut Normed<Vec<f32>>) -> Result<()> {
        self.add_norm(norm, None, to)?;
        Ok(())
    }

    fn linear(&mut self, p: Affine, x: &Vec<f32>, y: &mut Vec<f32>) -> Result<()> {
        let (w, b) = (self.params.value(p.weight)?, self.params.value_opt(p.bias)?);
        let (out, k) = self.params.matrix(p.weight);
        linear::cpu::forward(self.room(y), self.rows(x), &w, b.as_deref(), k, out);
        Ok(())
    }

    fn qk_norm(
        &mut self,
        (q, k): (usize, usize),
        qkv: &Vec<f32>,
        out: &mut Vec<f32>,
        rrms: &mut Vec<f32>,
    ) -> Result<()> {
        let (q, k) = (self.params.value(q)?, self.params.value(k)?);
        qk_norm::cpu::forward(self.shape, self.rows(qkv), [&q, &k], self.room(out), self.room(rrms));
        Ok(())
    }

    fn attention(
        &mut self,
        layer: usize,
        qkv: &Vec<f32>,
        out: &mut Vec<f32>,
        lse: &mut Vec<f32>,
    ) -> Result<()> {
        let (shape, qkv, out, lse) = (self.shape, self.rows(qkv), self.room(out), self.room(lse));
        let stats = attention::cpu::forward(shape, qkv, self.rope.as_ref(), out, lse, self.measures);
        if let Some(stats) = stats {
            self.stats.layers[layer].logits = stats;
        }
        let heads: Vec<usize> = self.uniform.iter().filter(|u| u.0 == layer).map(|u| u.1).collect();
        attention::average(shape, qkv, out, &heads);
        Ok(())
    }

    fn linear_add_norm(
        &mut self,
        site: usize,
        (p, norm): (Affine, Affine),
        (x, h): (&Vec<f32>, &Vec<f32>),
        write: &mut Vec<f32>,
        to: &mut Normed<Vec<f32>>,
    ) -> Result<()> {
        self.linear(p, x, write)?;
        if let Some(stats) = self.add_norm(norm, Some((h, write)), to)? {
            self.stats.layers[site / 2].writes[site % 2] = stats;
        }
        Ok(())
    }

    fn linear_activation(
        &mut self,
        layer: usize,
        p: Affine,
        x: &Vec<f32>,
        up: &mut Vec<f32>,
        hidden: &mut Vec<f32>,
    ) -> Result<()> {
        self.linear(p, x, up)?;
        let (ffn, f, hidden) = (self.config.ffn, self.config.hidden_width(), self.room(hidden));
        if let Some(stats) = activation::cpu::forward(ffn, f, self.rows(up), hidden, self.measures) {
            self.stats.layers[layer].hidden = stats;
        }
        Ok(())
    }

    fn lm_head(&mut self, head: usize, x: &Vec<f32>, dx: Option<&mut Vec<f32>>) -> Result<()> {
        let v = self.config.vocab;
        self.logits.resize(cross_entropy::cpu::logits_len(self.most, v), 0.0);
        self.losses.resize(self.shape.tokens(), 0.0);
        if dx.is_some() && self.grads.is_empty() {
            self.grads = self.params.vars.iter().map(|v| vec![0.0; v.elem_count()]).collect();
        }
        let (weight, x, dx) = (self.params.value(head)?, self.rows(x), dx.map(|dx| self.room(dx)));
        let grads = dx.map(|dx| (dx, &mut self.grads[head][..]));
        let (logits, losses) = (&mut self.logits, &mut self.losses);
        (self.stats.loss, self.stats.max_logit) =
            cross_entropy::cpu::head_loss(x, (&weight, v), &self.targets, logits, losses, grads);
        Ok(())
    }

    fn norm_backward(
        &mut self,
        norm: Affine,
        saved: &Normed<Vec<f32>>,
        dx: &Vec<f32>,
        d_residual: Option<&Vec<f32>>,
        dh: &mut Vec<f32>,
    ) -> Result<()> {
        let dh = self.room(dh);
        let args = norm::cpu::Backward {
            kind: self.config.norm,
            h: self.rows(&saved.h),
            mean_rstd: self.rows(&saved.mean_rstd),
            gain: &self.params.value(norm.weight)?,
            dx: self.rows(dx),
            residual: d_residual.map(|r| self.rows(r)),
        };
        let (d_gain, d_bias) = both(&mut self.grads, norm);
        norm::cpu::backward(&args, dh, d_gain, d_bias);
        Ok(())
    }

    fn linear_backward(&mut self, p: Affine, x: &Vec<f32>, dy: &Vec<f32>, dx: &mut Vec<f32>) -> Result<()> {
        let (w, sizes) = (self.params.value(p.weight)?, self.params.matrix(p.weight));
        let (x, dy, dx) = (self.rows(x), self.rows(dy), self.room(dx));
        let (dw, db) = both(&mut self.grads, p);
        linear::cpu::backward((dx, dw, db), dy, x, &w, sizes);
        Ok(())
    }

    fn linear_activation_backward(
        &mut self,
        p: Affine,
        (x, up): (&Vec<f32>, &Vec<f32>),
        d_hidden: &Vec<f32>,
        d_up: &mut Vec<f32>,
        dx: &mut Vec<f32>,
    ) -> Result<()> {
        let (ffn, f) = (self.config.ffn, self.config.hidden_width());
        activation::cpu::backward(ffn, f, self.rows(up), self.rows(d_hidden), self.room(d_up));
        self.linear_backward(p, x, d_up, dx)
    }

    fn attention_backward(
        &mut self,
        layer: usize,
        (qkv, out, lse): (&Vec<f32>, &Vec<f32>, &Vec<f32>),
        d_out: &Vec<f32>,
        d_qkv: &mut Vec<f32>,
    ) -> Result<()> {
        let (qkv, out, lse) = (self.rows(qkv), self.rows(out), self.rows(lse));
        let saved = attention::cpu::Saved { qkv, out, lse, rope: self.rope.as_ref() };
        let (d_out, d_qkv) = (self.rows(d_out), self.room(d_qkv));
        self.stats.logit_grads[layer] = attention::cpu::backward(self.shape, saved, d_out, d_qkv);
        Ok(())
    }

    fn qk_norm_backward(
        &mut self,
        (q, k): (usize, usize),
        (qkv, rrms): (&Vec<f32>, &Vec<f32>),
        d_out: &Vec<f32>,
        d_qkv: &mut Vec<f32>,
    ) -> Result<()> {
        let gains = (self.params.value(q)?, self.params.value(k)?);
        let (qkv, rrms, d_out, d_qkv) = (self.rows(qkv), self.rows(rrms), self.rows(d_out), self.room(d_qkv));
        let d_gains = two(&mut self.grads, (q, k));
        qk_norm::cpu::backward(self.shape, (qkv, rrms), [&gains.0, &gains.1], d_out, d_qkv, d_gains);
        Ok(())
    }

    fn embedding_backward(
        &mut self,
        wte: usize,
        wpe: Option<usize>,
        tied: bool,
        dh: &Vec<f32>,
    ) -> Result<()> {
        let (dh, (seq_len, d)) = (self.rows(dh), (self.shape.seq_len, self.config.width));
        if !tied {
            self.grads[wte].fill(0.0);
        }
        embedding::cpu::backward(&self.tokens, dh, &mut self.grads[wte]);
        if let Some(wpe) = wpe {
            embedding::cpu::positions(dh, seq_len, d, &mut self.grads[wpe]);
        }
        Ok(())
    }

    fn update(&mut self, update: &Update<'_>, clip: f64, state: &mut [OptimizerState]) -> Result<()> {
        let norm = self.grads.iter().map(|g| optimizer::cpu::sum_squares(g)).sum::<f64>().sqrt();
        let clip_scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        let mut stats = mem::take(&mut self.stats);
        (stats.grad_norm, stats.clip_scale) = (norm, clip_scale);
        // A step that is not finite ends the run: the parameters stay as they were before it.
        if stats.loss.is_finite() && norm.is_finite() {
            let update = Update { clip_scale: clip_scale as f32, ..*update };
            let slots = if update.stats.taken() { 2 * self.config.layers * self.config.heads } else { 0 };
            stats.slots = vec![HeadUpdateStats::default(); slots];
            let params = self.params.specs.iter().zip(&self.params.vars);
            for ((i, (spec, var)), state) in params.enumerate().zip(state) {
                let (grad, segments) = (&self.grads[i], &self.segments[i]);
                let mut outcome = Ok(());
                tensor::edit(var.as_tensor(), |w| {
                    outcome = optimizer::cpu::step(
                        &update,
                        w,
                        grad,
                        (spec.decay(), segments),
                        state,
                        &mut stats.slots,
                    );
                })?;
                outcome?;
            }
        }
        self.done = Some(stats);
        Ok(())
    }

    fn unread(&self) -> usize {
        usize::from(self.done.is_some())
    }

    fn read(&mut self) -> Result<Option<StepStats>> {
        Ok(self.done.take())
    }

    fn losses(&self) -> Result<Vec<f32>> {
        Ok(self.losses.clone())
    }

    fn gradients(&self) -> Result<Vec<Vec<f32>>> {
        Ok(self.grads.clone())
    }

    fn finite(&self, params: &Params) -> Result<bool> {
        for v in &params.vars {
            if !optimizer::sum_squares(v.as_tensor())?.is_finite() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn pull(&self, _: &Params) -> Result<()> {
        Ok(())
    }

    fn pull_state(&self, _: &mut [OptimizerState]) -> Result<()> {
        Ok(())
    }

    fn push_state(&mut self, _: &[OptimizerState]) -> Result<()> {
        Ok(())
    }

    fn launches(&self) -> u64 {
        0
    }

    fn roofline(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}
