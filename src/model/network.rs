//! A decoder on a backend: forward and reverse pass, written once, over activations that are reserved once.

use growthpath_kernels::Stats;
use growthpath_kernels::optimizer::{OptimizerState, Update};

use super::backend::{Backend, Calls, Normed};
use super::index::Index;
use super::{ModelConfig, StepStats};
use crate::error::{Error, Result};

/// What a layer keeps for its backward; widths in elements a token.
pub(super) struct LayerBuffers<T> {
    /// `3 d`.
    qkv: T,
    /// `3 d`, and reciprocal RMS `2 H`: of a QK-norm arm.
    qk_norm: Option<(T, T)>,
    /// Heads side by side, `d`, and log-sum-exp, `H`.
    attended: (T, T),
    /// Stream after the attention write.
    mid: Normed<T>,
    /// `f`, or `2 f` when gated.
    up: T,
    /// `f`.
    hidden: T,
    /// Stream after the feed-forward write.
    pub(super) after: Normed<T>,
    /// The two writes, where they are kept: `d`.
    pub(super) writes: Option<[T; 2]>,
}

/// Gradients on their way down, widths in elements a token.
struct GradientBuffers<T> {
    /// At the stream, two in turn: `d`.
    stream: [T; 2],
    /// At a normalized stream, and at the attention's output: `d`.
    x: T,
    /// `f`.
    hidden: T,
    /// `f` or `2 f`.
    up: T,
    /// `3 d`; two in a QK-norm arm.
    qkv: (T, Option<T>),
}

/// A decoder on a backend.
pub struct Network<B: Backend> {
    pub(super) backend: B,
    index: Index,
    pub(super) first: Normed<B::Buffer>,
    pub(super) layers: Vec<LayerBuffers<B::Buffer>>,
    /// The write under way: `d`.
    write: B::Buffer,
    gradients: Option<GradientBuffers<B::Buffer>>,
    step_launches: u64,
}

impl<T> GradientBuffers<T> {
    fn new(b: &impl Backend<Buffer = T>, c: &ModelConfig) -> Result<Self> {
        let d = c.width;
        Ok(Self {
            stream: [b.activations(d)?, b.activations(d)?],
            x: b.activations(d)?,
            hidden: b.activations(c.hidden_width())?,
            up: b.activations(c.up_width())?,
            qkv: (b.activations(3 * d)?, if c.qk_norm { Some(b.activations(3 * d)?) } else { None }),
        })
    }
}

impl<T> LayerBuffers<T> {
    fn new(b: &impl Backend<Buffer = T>, c: &ModelConfig, keep_writes: bool) -> Result<Self> {
        let d = c.width;
        Ok(Self {
            qkv: b.activations(3 * d)?,
            qk_norm: if c.qk_norm { Some((b.activations(3 * d)?, b.floats(2 * c.heads)?)) } else { None },
            attended: (b.activations(d)?, b.floats(c.heads)?),
            mid: normed(b, d)?,
            up: b.activations(c.up_width())?,
            hidden: b.activations(c.hidden_width())?,
            after: normed(b, d)?,
            writes: if keep_writes { Some([b.activations(d)?, b.activations(d)?]) } else { None },
        })
    }
}

fn normed<B: Backend>(b: &B, d: usize) -> Result<Normed<B::Buffer>> {
    Ok(Normed { h: b.activations(d)?, x: b.activations(d)?, mean_rstd: b.floats(2)? })
}

impl<B: Backend> Network<B> {
    /// A network over `backend`; `keep_writes`: with room for every residual write.
    ///
    /// # Errors
    /// Too little memory.
    pub(super) fn new(backend: B, config: &ModelConfig, index: Index, keep_writes: bool) -> Result<Self> {
        let mut layers = Vec::with_capacity(config.layers);
        for _ in 0..config.layers {
            layers.push(LayerBuffers::new(&backend, config, keep_writes)?);
        }
        Ok(Self {
            first: normed(&backend, config.width)?,
            write: backend.activations(config.width)?,
            gradients: None,
            layers,
            backend,
            index,
            step_launches: 0,
        })
    }

    /// Make room for gradients, where there is none yet.
    pub(super) fn reserve_gradients(&mut self, config: &ModelConfig) -> Result<()> {
        if self.gradients.is_none() {
            self.gradients = Some(GradientBuffers::new(&self.backend, config)?);
        }
        Ok(())
    }

    /// Run the blocks over the batch last sent.
    pub(super) fn forward(&mut self, stats: Stats, uniform: &[(usize, usize)]) -> Result<()> {
        let Self { backend: b, index, first, layers, write, .. } = self;
        b.begin(stats, uniform)?;
        b.embedding(index.wte, index.wpe, &mut first.h)?;
        b.norm(index.attention_norm(0), first)?;
        for (l, i) in index.layers.iter().enumerate() {
            let (below, from) = layers.split_at_mut(l);
            let input = below.last().map_or(&*first, |s| &s.after);
            let LayerBuffers { qkv, qk_norm, attended: (out, lse), mid, up, hidden, after, writes } =
                &mut from[0];
            let [w_attn, w_ffn] = match writes {
                Some([a, f]) => [Some(a), Some(f)],
                None => [None, None],
            };
            b.linear(i.qkv, &input.x, qkv)?;
            let heads_in = match (i.qk_norm, qk_norm) {
                (Some(gains), Some((to, rrms))) => {
                    b.qk_norm(gains, qkv, to, rrms)?;
                    &*to
                }
                _ => &*qkv,
            };
            b.attention(l, heads_in, out, lse)?;
            let w = w_attn.unwrap_or(&mut *write);
            b.linear_add_norm(2 * l, (i.out, i.ffn_norm), (out, &input.h), w, mid)?;
            b.linear_activation(l, i.up, &mid.x, up, hidden)?;
            let w = w_ffn.unwrap_or(&mut *write);
            b.linear_add_norm(2 * l + 1, (i.down, index.attention_norm(l + 1)), (hidden, &mid.h), w, after)?;
        }
        Ok(())
    }

    /// Losses of the batch and, with `gradients`, the head's part of the reverse pass.
    pub(super) fn head(&mut self, gradients: bool) -> Result<()> {
        let x = &self.layers.last().map_or(&self.first, |s| &s.after).x;
        let dx = if gradients { Some(&mut room(&mut self.gradients)?.x) } else { None };
        self.backend.lm_head(self.index.head, x, dx)
    }

    /// Gradient of every parameter, after [`Network::forward`] and [`Network::head`] with gradients.
    pub(super) fn backward(&mut self) -> Result<()> {
        let Self { backend: b, index, first, layers, gradients, .. } = self;
        let g = room(gradients)?;
        let [lower, upper] = &mut g.stream;
        let dx = &mut g.x;
        for (l, i) in index.layers.iter().enumerate().rev() {
            let s = &layers[l];
            let input = if l == 0 { &*first } else { &layers[l - 1].after };
            let residual = (l + 1 < layers.len()).then_some(&*upper);
            let both = (i.down, index.attention_norm(l + 1));
            let down = b.add_norm_backward(both, &s.after, dx, residual, lower)?;
            b.linear_backward(down, &s.hidden, lower, &mut g.hidden)?;
            b.linear_activation_backward(i.up, (&s.mid.x, &s.up), &g.hidden, &mut g.up, dx)?;
            let projection = b.add_norm_backward((i.out, i.ffn_norm), &s.mid, dx, Some(lower), upper)?;
            let (out, lse) = &s.attended;
            // `dx` is free until the projection's input gradient: it holds the gradient at the attention's output.
            b.linear_backward(projection, out, upper, dx)?;
            let heads_in = s.qk_norm.as_ref().map_or(&s.qkv, |q| &q.0);
            b.attention_backward(l, (heads_in, out, lse), dx, &mut g.qkv.0)?;
            let mut d_qkv = &g.qkv.0;
            if let (Some(gains), Some((_, rrms)), Some(to)) = (i.qk_norm, &s.qk_norm, &mut g.qkv.1) {
                b.qk_norm_backward(gains, (&s.qkv, rrms), &g.qkv.0, to)?;
                d_qkv = to;
            }
            b.linear_backward(i.qkv, &input.x, d_qkv, dx)?;
        }
        let residual = (!layers.is_empty()).then_some(&*upper);
        b.norm_backward(index.attention_norm(0), first, dx, residual, lower)?;
        b.embedding_backward(index.wte, index.wpe, index.head == index.wte, lower)
    }

    /// Train on a batch: forward, backward, update; what it measured comes with [`Network::read`].
    ///
    /// # Errors
    /// A batch that does not fit, what a device met, or more steps unread than a backend keeps.
    pub fn step(
        &mut self,
        (tokens, targets, seq_len): (&[u32], &[u32], usize),
        update: &Update<'_>,
        clip: f64,
        state: &mut [OptimizerState],
    ) -> Result<()> {
        let before = self.backend.launches();
        self.backend.send(tokens, targets, seq_len)?;
        let mut calls = self.backend.begin_step(update, clip)?;
        while calls == Calls::Wanted {
            let outcome = self.passes(update, clip, state);
            calls = self.backend.end_step(outcome)?;
        }
        self.step_launches = self.backend.launches() - before;
        Ok(())
    }

    /// The operations of a training step.
    fn passes(&mut self, update: &Update<'_>, clip: f64, state: &mut [OptimizerState]) -> Result<()> {
        self.forward(update.stats, &[])?;
        self.head(true)?;
        self.backward()?;
        self.backend.update(update, clip, state)
    }

    /// Losses of each token of a batch, nats, with the attention of the heads in `uniform` (layer, head) replaced by the
    /// causal average.
    ///
    /// # Errors
    /// A batch that does not fit, a head that the model does not have, what a device met.
    pub fn losses(
        &mut self,
        (tokens, targets, seq_len): (&[u32], &[u32], usize),
        uniform: &[(usize, usize)],
    ) -> Result<Vec<f32>> {
        self.backend.send(tokens, targets, seq_len)?;
        self.forward(Stats::Off, uniform)?;
        self.head(false)?;
        self.backend.losses()
    }

    /// Where its parameters stand.
    #[cfg(feature = "cuda")]
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Where it runs.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Wait for the oldest unread step and read what it measured; none: all were read.
    ///
    /// # Errors
    /// What the step met.
    pub fn read(&mut self) -> Result<Option<StepStats>> {
        self.backend.read()
    }

    /// Take the optimizer's state on the host over, after a resume.
    ///
    /// # Errors
    /// The state of another model.
    pub fn push_state(&mut self, state: &[OptimizerState]) -> Result<()> {
        self.backend.push_state(state)
    }

    /// Kernels of the last training step; 0 on the host.
    pub fn step_launches(&self) -> u64 {
        self.step_launches
    }
}

fn room<T>(gradients: &mut Option<GradientBuffers<T>>) -> Result<&mut GradientBuffers<T>> {
    gradients.as_mut().ok_or_else(|| Error::usage("this network was made without room for gradients"))
}
