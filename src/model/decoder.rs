//! The decoder's forward pass: pre-norm blocks whose residual additions are fused with the next norm.

use candle_core::{Device, Tensor};
use growthpath_kernels::activation::{self, Activation, HiddenStats};
use growthpath_kernels::attention::{self, Attention, LogitStats, Shape};
use growthpath_kernels::cross_entropy::{HeadLoss, head_loss};
use growthpath_kernels::norm::{self, AddNorm, NormKind, WriteStats};
use growthpath_kernels::qk_norm::{self, QkNorm};
use growthpath_kernels::rope::Rope;
use growthpath_kernels::{embedding, linear};

use super::config::{Ffn, ModelConfig, Norm, Positions};
use super::params::{Params, Role};
use crate::error::{Error, Result};

/// A decoder: configuration, parameters, rotary tables.
#[derive(Debug)]
pub struct Decoder {
    /// Its shape and arm.
    pub config: ModelConfig,
    /// Its parameters.
    pub params: Params,
    rope: Option<Rope>,
    index: Vec<LayerIndex>,
    top: TopIndex,
}

/// Where each parameter of a layer stands in [`Params`].
#[derive(Debug, Clone, Default)]
pub(super) struct LayerIndex {
    pub attn_norm: usize,
    pub attn_norm_bias: Option<usize>,
    pub qkv: usize,
    pub qkv_bias: Option<usize>,
    pub qk_norm: Option<(usize, usize)>,
    pub out: usize,
    pub out_bias: Option<usize>,
    pub ffn_norm: usize,
    pub ffn_norm_bias: Option<usize>,
    pub up: usize,
    pub up_bias: Option<usize>,
    pub down: usize,
    pub down_bias: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct TopIndex {
    pub wte: usize,
    pub wpe: Option<usize>,
    pub norm: usize,
    pub norm_bias: Option<usize>,
    pub head: usize,
}

/// What one layer keeps for its backward, with its statistics.
pub struct LayerState {
    /// The stream that enters, and the attention input `x` (normalized).
    pub(super) qkv: Tensor,
    pub(super) qk_norm: Option<QkNorm>,
    pub(super) attention: Attention,
    /// Stream after the attention write, and the feed-forward input.
    pub(super) mid: AddNorm,
    pub(super) up: Tensor,
    pub(super) hidden: Tensor,
    /// Statistics of the hidden activations.
    pub hidden_stats: Option<HiddenStats>,
    /// Stream after the feed-forward write, and the next layer's attention input.
    pub(super) after: AddNorm,
    /// The two writes, where they were to be kept.
    pub writes: Option<[Tensor; 2]>,
}

impl LayerState {
    /// Statistics of the logits, one entry a head.
    pub fn logits(&self) -> Option<&[LogitStats]> {
        self.attention.stats.as_deref()
    }

    /// Statistics of the attention and feed-forward writes.
    pub fn write_stats(&self) -> [Option<WriteStats>; 2] {
        [self.mid.stats, self.after.stats]
    }
}

/// What to compute beside the activations.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Statistics of logits, writes and hidden activations.
    pub stats: bool,
    /// Keep every residual write.
    pub keep_writes: bool,
    /// Heads (layer, head) whose attention is replaced by the uniform causal average.
    pub uniform: Vec<(usize, usize)>,
}

/// A forward pass with all that its backward needs.
pub struct Forward {
    pub(super) first: AddNorm,
    /// One entry a layer.
    pub layers: Vec<LayerState>,
    pub(super) shape: Shape,
    /// Input tokens.
    pub tokens: Vec<u32>,
}

impl Forward {
    /// Attention input of a layer, `[N, d]`, gain and bias of the norm included.
    pub fn attention_input(&self, layer: usize) -> &Tensor {
        if layer == 0 { &self.first.x } else { &self.layers[layer - 1].after.x }
    }

    /// Residual stream entering a layer `[N, d]`; `layer = L` is the stream before the last norm.
    pub fn stream(&self, layer: usize) -> &Tensor {
        if layer == 0 { &self.first.h } else { &self.layers[layer - 1].after.h }
    }

    /// Per-token mean and reciprocal deviation of the norm before a layer's attention, `[2, N]`.
    pub fn attention_moments(&self, layer: usize) -> &[f32] {
        if layer == 0 { &self.first.moments } else { &self.layers[layer - 1].after.moments }
    }

    /// Sequence length of the batch.
    pub fn seq_len(&self) -> usize {
        self.shape.seq_len
    }

    /// The residual writes that add up to [`Forward::stream`] of `layer`: embedding, attn_0, ffn_0, ...
    ///
    /// # Errors
    /// When the writes were not kept.
    pub fn writes_before(&self, layer: usize) -> Result<Vec<&Tensor>> {
        let mut out = vec![&self.first.h];
        for l in &self.layers[..layer] {
            match &l.writes {
                Some([a, f]) => out.extend([a, f]),
                None => return Err(Error::usage("the forward kept no writes: ask for Options::keep_writes")),
            }
        }
        Ok(out)
    }

    /// The normalized stream that the vocabulary projection reads.
    pub fn output(&self) -> &Tensor {
        self.layers.last().map_or(&self.first.x, |l| &l.after.x)
    }
}

impl Decoder {
    /// A fresh decoder.
    ///
    /// # Errors
    /// A configuration that does not hold together, or a device that cannot hold it.
    pub fn new(config: ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        config.validate()?;
        let params = Params::init(&config, seed, device)?;
        Self::from_params(config, params)
    }

    /// A decoder over given parameters.
    ///
    /// # Errors
    /// A parameter that the configuration needs and `params` lacks.
    pub fn from_params(config: ModelConfig, params: Params) -> Result<Self> {
        config.validate()?;
        let rope = (config.pos == Positions::Rope)
            .then(|| Rope::new(config.context, config.head_dim(), config.rope_base));
        let find = |role, layer| params.index(role, layer);
        let need = |role, layer| {
            find(role, layer)
                .ok_or_else(|| Error::usage(format!("the parameters lack {role:?} of layer {layer:?}")))
        };
        let mut index = Vec::with_capacity(config.layers);
        for l in (0..config.layers).map(Some) {
            index.push(LayerIndex {
                attn_norm: need(Role::AttnNormGain, l)?,
                attn_norm_bias: find(Role::AttnNormBias, l),
                qkv: need(Role::Qkv, l)?,
                qkv_bias: find(Role::QkvBias, l),
                qk_norm: find(Role::QNormGain, l).zip(find(Role::KNormGain, l)),
                out: need(Role::AttnOut, l)?,
                out_bias: find(Role::AttnOutBias, l),
                ffn_norm: need(Role::FfnNormGain, l)?,
                ffn_norm_bias: find(Role::FfnNormBias, l),
                up: need(Role::Up, l)?,
                up_bias: find(Role::UpBias, l),
                down: need(Role::Down, l)?,
                down_bias: find(Role::DownBias, l),
            });
        }
        let wte = need(Role::TokenEmbedding, None)?;
        let top = TopIndex {
            wte,
            wpe: find(Role::PositionEmbedding, None),
            norm: need(Role::FinalNormGain, None)?,
            norm_bias: find(Role::FinalNormBias, None),
            head: find(Role::Head, None).unwrap_or(wte),
        };
        Ok(Self { config, params, rope, index, top })
    }

    pub(super) fn p(&self, i: usize) -> &Tensor {
        self.params.vars[i].as_tensor()
    }

    pub(super) fn opt(&self, i: Option<usize>) -> Option<&Tensor> {
        i.map(|i| self.p(i))
    }

    pub(super) fn layer_index(&self, layer: usize) -> &LayerIndex {
        &self.index[layer]
    }

    pub(super) fn top_index(&self) -> &TopIndex {
        &self.top
    }

    pub(super) fn rope(&self) -> Option<&Rope> {
        self.rope.as_ref()
    }

    pub(super) fn norm_kind(&self) -> NormKind {
        match self.config.norm {
            Norm::LayerNorm => NormKind::LayerNorm,
            Norm::RmsNorm => NormKind::RmsNorm,
        }
    }

    pub(super) fn activation(&self) -> Activation {
        match self.config.ffn {
            Ffn::Gelu => Activation::Gelu,
            Ffn::Relu => Activation::Relu,
            Ffn::Relu2 => Activation::Relu2,
            Ffn::Silu => Activation::Silu,
            Ffn::Geglu => Activation::Geglu,
            Ffn::Swiglu => Activation::Swiglu,
            Ffn::Reglu => Activation::Reglu,
            Ffn::Bilinear => Activation::Bilinear,
        }
    }

    fn shape(&self, tokens: &[u32], seq_len: usize) -> Result<Shape> {
        let c = &self.config;
        if seq_len == 0 || seq_len > c.context || tokens.is_empty() || !tokens.len().is_multiple_of(seq_len) {
            return Err(Error::usage(format!(
                "{} tokens do not make sequences of {seq_len} (context {})",
                tokens.len(),
                c.context
            )));
        }
        Ok(Shape { batch: tokens.len() / seq_len, seq_len, heads: c.heads, head_dim: c.head_dim() })
    }

    /// Run the blocks over `tokens`, sequences of `seq_len` one after the other.
    ///
    /// # Errors
    /// A token outside the vocabulary, sequences longer than the context.
    pub fn forward(&self, tokens: &[u32], seq_len: usize, options: &Options) -> Result<Forward> {
        let shape = self.shape(tokens, seq_len)?;
        let (kind, eps, act) = (self.norm_kind(), self.config.norm_eps as f32, self.activation());
        let h0 = embedding::forward(tokens, seq_len, self.p(self.top.wte), self.opt(self.top.wpe))?;
        let (g, b) = self.next_norm(0);
        let first = norm::forward(kind, eps, &h0, None, self.p(g), self.opt(b), false)?;
        let mut layers: Vec<LayerState> = Vec::with_capacity(self.config.layers);
        for (l, i) in self.index.iter().enumerate() {
            let input = layers.last().map_or(&first, |s: &LayerState| &s.after);
            let qkv = linear::forward(&input.x, self.p(i.qkv), self.opt(i.qkv_bias))?;
            let qk = match i.qk_norm {
                Some((q, k)) => Some(qk_norm::forward(shape, &qkv, self.p(q), self.p(k))?),
                None => None,
            };
            let heads_in = qk.as_ref().map_or(&qkv, |n| &n.qkv);
            let attention = attention::forward(shape, heads_in, self.rope.as_ref(), options.stats)?;
            let flat: Vec<usize> = options.uniform.iter().filter(|u| u.0 == l).map(|u| u.1).collect();
            if !flat.is_empty() {
                attention::uniform(shape, heads_in, &attention.out, &flat)?;
            }
            let w_attn = linear::forward(&attention.out, self.p(i.out), self.opt(i.out_bias))?;
            let (g, b) = (self.p(i.ffn_norm), self.opt(i.ffn_norm_bias));
            let mid = norm::forward(kind, eps, &input.h, Some(&w_attn), g, b, options.stats)?;
            let up = linear::forward(&mid.x, self.p(i.up), self.opt(i.up_bias))?;
            let (hidden, hidden_stats) = activation::forward(act, &up, options.stats)?;
            let w_ffn = linear::forward(&hidden, self.p(i.down), self.opt(i.down_bias))?;
            let (g, b) = self.next_norm(l + 1);
            let after =
                norm::forward(kind, eps, &mid.h, Some(&w_ffn), self.p(g), self.opt(b), options.stats)?;
            let writes = options.keep_writes.then_some([w_attn, w_ffn]);
            layers.push(LayerState {
                qkv,
                qk_norm: qk,
                attention,
                mid,
                up,
                hidden,
                hidden_stats,
                after,
                writes,
            });
        }
        Ok(Forward { first, layers, shape, tokens: tokens.to_vec() })
    }

    /// The norm that follows block `layer - 1`: before layer `layer`'s attention, or the last one.
    fn next_norm(&self, layer: usize) -> (usize, Option<usize>) {
        match self.index.get(layer) {
            Some(i) => (i.attn_norm, i.attn_norm_bias),
            None => (self.top.norm, self.top.norm_bias),
        }
    }

    /// Loss without gradients: per-token losses of `targets`.
    ///
    /// # Errors
    /// As [`Decoder::forward`], or targets that do not fit.
    pub fn loss(
        &self,
        tokens: &[u32],
        targets: &[u32],
        seq_len: usize,
        options: &Options,
    ) -> Result<HeadLoss> {
        let f = self.forward(tokens, seq_len, options)?;
        Ok(head_loss(f.output(), self.p(self.top.head), targets, false)?)
    }
}
