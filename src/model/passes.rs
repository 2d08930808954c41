//! Passes of the host's decoder over tokens.

use candle_core::{Device, Tensor};
use growthpath_kernels::Stats;
use growthpath_kernels::attention::LogitGradStats;

use super::backend::{Backend, Cpu, Normed};
use super::decoder::Decoder;
use super::network::Network;
use super::stats::LayerStats;
use crate::error::{Error, Result};

/// What to compute beside the activations.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Statistics of logits, writes and hidden activations.
    pub stats: Stats,
    /// Keep every residual write.
    pub keep_writes: bool,
    /// Heads (layer, head) whose attention is replaced by the uniform causal average.
    pub uniform: Vec<(usize, usize)>,
}

/// A forward pass on the host, with all that its backward needs.
pub struct Forward {
    network: Network<Cpu>,
    seq_len: usize,
    /// Input tokens.
    pub tokens: Vec<u32>,
}

/// Loss and gradients of one batch.
pub struct Gradients {
    /// Mean loss, nats per token.
    pub loss: f64,
    /// Largest output logit.
    pub max_logit: f32,
    /// One gradient a parameter, in the order of [`super::params::Params`].
    pub grads: Vec<Tensor>,
    /// Statistics of the logit gradients, per layer, per head.
    pub logit_grads: Vec<Vec<LogitGradStats>>,
}

impl Forward {
    /// Attention input of a layer, `[N, d]`, gain and bias of the norm included.
    pub fn attention_input(&self, layer: usize) -> &[f32] {
        &self.before(layer).x
    }

    /// Residual stream entering a layer `[N, d]`; `layer = L` is the stream before the last norm.
    pub fn stream(&self, layer: usize) -> &[f32] {
        &self.before(layer).h
    }

    /// Per-token mean and reciprocal deviation of the norm before a layer's attention, `[2, N]`.
    pub fn attention_mean_rstd(&self, layer: usize) -> &[f32] {
        &self.before(layer).mean_rstd
    }

    fn before(&self, layer: usize) -> &Normed<Vec<f32>> {
        if layer == 0 { &self.network.first } else { &self.network.layers[layer - 1].after }
    }

    /// Sequence length of the batch.
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// What each layer measured; empty unless it was asked for.
    pub fn stats(&self) -> &[LayerStats] {
        self.network.backend.layer_stats()
    }

    /// The attention and the feed-forward write of a layer, `[N, d]`; none unless they were asked for.
    pub fn writes(&self, layer: usize) -> Option<[&[f32]; 2]> {
        self.network.layers[layer].writes.as_ref().map(|[a, f]| [&a[..], &f[..]])
    }

    /// The residual writes that add up to [`Forward::stream`] of `layer`: embedding, attn_0, ffn_0, ...
    ///
    /// # Errors
    /// When the writes were not kept.
    pub fn writes_before(&self, layer: usize) -> Result<Vec<&[f32]>> {
        let mut out = vec![&self.network.first.h[..]];
        for l in 0..layer {
            match self.writes(l) {
                Some(both) => out.extend(both),
                None => return Err(Error::usage("the forward kept no writes: ask for Options::keep_writes")),
            }
        }
        Ok(out)
    }
}

impl Decoder {
    /// A network that trains on `backend`.
    ///
    /// # Errors
    /// Too little memory.
    pub fn train_on<B: Backend>(&self, backend: B) -> Result<Network<B>> {
        let mut network = Network::new(backend, &self.config, self.index.clone(), false)?;
        network.reserve_gradients(&self.config)?;
        Ok(network)
    }

    /// Run the blocks over `tokens`, sequences of `seq_len` one after the other.
    ///
    /// # Errors
    /// A token outside the vocabulary, sequences longer than the context.
    pub fn forward(&self, tokens: &[u32], seq_len: usize, options: &Options) -> Result<Forward> {
        let backend = Cpu::new(self, tokens.len());
        let mut network = Network::new(backend, &self.config, self.index.clone(), options.keep_writes)?;
        network.backend.send(tokens, tokens, seq_len)?;
        network.forward(options.stats, &options.uniform)?;
        Ok(Forward { network, seq_len, tokens: tokens.to_vec() })
    }

    /// Loss of `targets` and the gradient of every parameter, after [`Decoder::forward`].
    ///
    /// # Errors
    /// Targets that do not fit the forward's tokens.
    pub fn backward(&self, forward: &mut Forward, targets: &[u32]) -> Result<Gradients> {
        let Forward { network, seq_len, tokens } = forward;
        network.reserve_gradients(&self.config)?;
        network.backend.send(tokens, targets, *seq_len)?;
        network.head(true)?;
        network.backward()?;
        let specs = self.params.specs.iter();
        let grads = network.backend.gradients()?.into_iter().zip(specs);
        let stats = network.backend.pass_stats();
        Ok(Gradients {
            loss: stats.loss,
            max_logit: stats.max_logit,
            grads: grads
                .map(|(g, s)| Ok(Tensor::from_vec(g, s.shape.as_slice(), &Device::Cpu)?))
                .collect::<Result<_>>()?,
            logit_grads: stats.logit_grads.clone(),
        })
    }
}
