//! What a decoder asks of the place where it runs: [`Cpu`], and `Cuda` with the `cuda` feature.
//!
//! [`super::Network`] writes the order of the operations once; a backend has the operations, over buffers of its own
//! that the network reserves before the first batch. Parameters are named by their index in
//! [`super::params::Params`]; gradients and what the operations measure stay with the backend until [`Backend::read`].

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use growthpath_kernels::Stats;
use growthpath_kernels::attention::Shape;
use growthpath_kernels::optimizer::{OptimizerState, Update};

use super::ModelConfig;
use super::params::Params;
use super::stats::StepStats;
use crate::error::{Error, Result};

pub use super::index::Affine;
pub use cpu::Cpu;
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
#[cfg(feature = "cuda")]
pub use growthpath_kernels::gpu::{Elem, Gpu, KernelUse};

/// A residual stream `[N, d]`, its normalized form `[N, d]`, and the norm's mean and reciprocal root `[2, N]`.
pub struct Normed<T> {
    /// The stream.
    pub h: T,
    /// What reads it: normalized, gain and bias applied.
    pub x: T,
    /// The means, then the reciprocal roots.
    pub mean_rstd: T,
}

/// Whether the operations of a step are to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// They are.
    Wanted,
    /// They have been: by calls just made, or by what a backend recorded of an earlier step's.
    Done,
}

/// The operations of a decoder. Sizes follow the batch last sent; every buffer has room for the largest one.
///
/// # Errors
/// All of them: what a kernel refuses, or what a device met.
pub trait Backend: Sized {
    /// Values of a fixed number a token.
    type Buffer;

    /// How many steps may be started and not yet read while another one starts: 0 where a step is done when
    /// [`Backend::update`] returns.
    const IN_FLIGHT: usize;

    /// Room for `width` activations a token.
    fn activations(&self, width: usize) -> Result<Self::Buffer>;
    /// Room for `width` float32 numbers a token, whatever activations are stored as.
    fn floats(&self, width: usize) -> Result<Self::Buffer>;

    /// Take the next batch.
    fn send(&mut self, tokens: &[u32], targets: &[u32], seq_len: usize) -> Result<()>;
    /// Begin a training step on the batch last sent, whose update will be `update` with the global gradient norm clipped to
    /// `clip` (0: not). [`Calls::Wanted`]: forward, head, backward and [`Backend::update`] follow, over the same buffers at
    /// every step, then [`Backend::end_step`]; [`Calls::Done`]: the step is under way without them. `update.clip_scale` is
    /// not read.
    fn begin_step(&mut self, update: &Update<'_>, clip: f64) -> Result<Calls> {
        let _ = (update, clip);
        Ok(Calls::Wanted)
    }
    /// End a step that [`Backend::begin_step`] wanted calls for, which came to `outcome`. [`Calls::Wanted`]: they were not
    /// carried out and are to be made again.
    fn end_step(&mut self, outcome: Result<()>) -> Result<Calls> {
        outcome.map(|()| Calls::Done)
    }

    /// Begin a forward pass over the batch last sent; the attention of the heads in `uniform` (layer, head) is replaced
    /// by the causal average, and the operations measure where `stats`.
    fn begin(&mut self, stats: Stats, uniform: &[(usize, usize)]) -> Result<()>;

    /// `h = wte[token] + wpe[position]`.
    fn embedding(&mut self, wte: usize, wpe: Option<usize>, h: &mut Self::Buffer) -> Result<()>;
    /// Normalize the stream that `to.h` holds.
    fn norm(&mut self, norm: Affine, to: &mut Normed<Self::Buffer>) -> Result<()>;
    /// `y = x W^T + b`.
    fn linear(&mut self, p: Affine, x: &Self::Buffer, y: &mut Self::Buffer) -> Result<()>;
    /// Normalize queries and keys head by head; `rrms [N, 2 H]`.
    fn qk_norm(
        &mut self,
        gains: (usize, usize),
        qkv: &Self::Buffer,
        out: &mut Self::Buffer,
        rrms: &mut Self::Buffer,
    ) -> Result<()>;
    /// Causal attention of layer `layer`; `qkv [N, 3 d]`, `out [N, d]`, `lse [N, H]`.
    fn attention(
        &mut self,
        layer: usize,
        qkv: &Self::Buffer,
        out: &mut Self::Buffer,
        lse: &mut Self::Buffer,
    ) -> Result<()>;
    /// `write = x W^T + b; to.h = h + write`, then [`Backend::norm`]; `both`: the projection and the norm. `site` is twice
    /// the layer, plus one for the feed-forward's write. A backend may leave `b` out of what it stores in `write`.
    fn linear_add_norm(
        &mut self,
        site: usize,
        both: (Affine, Affine),
        x_h: (&Self::Buffer, &Self::Buffer),
        write: &mut Self::Buffer,
        to: &mut Normed<Self::Buffer>,
    ) -> Result<()>;
    /// `up = x W^T + b; hidden = act(up)`. A backend may leave `b` out of what it stores in `up`.
    fn linear_activation(
        &mut self,
        layer: usize,
        p: Affine,
        x: &Self::Buffer,
        up: &mut Self::Buffer,
        hidden: &mut Self::Buffer,
    ) -> Result<()>;
    /// Losses of `softmax(x W^T)` and, where there is room for them, the mean loss's gradients at `x` and at the matrix.
    fn lm_head(&mut self, head: usize, x: &Self::Buffer, dx: Option<&mut Self::Buffer>) -> Result<()>;

    /// `dh = d_residual + J^T dx`, and the gradients of gain and bias.
    fn norm_backward(
        &mut self,
        norm: Affine,
        saved: &Normed<Self::Buffer>,
        dx: &Self::Buffer,
        d_residual: Option<&Self::Buffer>,
        dh: &mut Self::Buffer,
    ) -> Result<()>;
    /// Backward of the norm in [`Backend::linear_add_norm`]: [`Backend::norm_backward`] of the stream that the projection
    /// `write` added to. `dh` is the gradient at the write too: gives what [`Backend::linear_backward`] is to be called with
    /// next, without the bias where its gradient was taken along here.
    fn add_norm_backward(
        &mut self,
        (write, norm): (Affine, Affine),
        saved: &Normed<Self::Buffer>,
        dx: &Self::Buffer,
        d_residual: Option<&Self::Buffer>,
        dh: &mut Self::Buffer,
    ) -> Result<Affine> {
        self.norm_backward(norm, saved, dx, d_residual, dh)?;
        Ok(write)
    }
    /// `dx = dy W`, and the gradients of weight and bias.
    fn linear_backward(
        &mut self,
        p: Affine,
        x: &Self::Buffer,
        dy: &Self::Buffer,
        dx: &mut Self::Buffer,
    ) -> Result<()>;
    /// Backward of [`Backend::linear_activation`].
    fn linear_activation_backward(
        &mut self,
        p: Affine,
        x_up: (&Self::Buffer, &Self::Buffer),
        d_hidden: &Self::Buffer,
        d_up: &mut Self::Buffer,
        dx: &mut Self::Buffer,
    ) -> Result<()>;
    /// Backward of [`Backend::attention`], from its arguments and the gradient at its output.
    fn attention_backward(
        &mut self,
        layer: usize,
        qkv_out_lse: (&Self::Buffer, &Self::Buffer, &Self::Buffer),
        d_out: &Self::Buffer,
        d_qkv: &mut Self::Buffer,
    ) -> Result<()>;
    /// Backward of [`Backend::qk_norm`].
    fn qk_norm_backward(
        &mut self,
        gains: (usize, usize),
        qkv_rrms: (&Self::Buffer, &Self::Buffer),
        d_out: &Self::Buffer,
        d_qkv: &mut Self::Buffer,
    ) -> Result<()>;
    /// Backward of [`Backend::embedding`]; where `tied`, the token embedding's gradient already holds the head's.
    fn embedding_backward(
        &mut self,
        wte: usize,
        wpe: Option<usize>,
        tied: bool,
        dh: &Self::Buffer,
    ) -> Result<()>;

    /// Update every parameter with the gradients of the last backward, with the `update` and the limit `clip` that the step
    /// began with; the statistics are on their way to the host when the step has ended. `state` is the optimizer's on the host: a backend that keeps
    /// its own leaves it as it is until [`Backend::pull_state`]. `update.clip_scale` is not read.
    fn update(&mut self, update: &Update<'_>, clip: f64, state: &mut [OptimizerState]) -> Result<()>;
    /// Number of updates whose statistics were not read yet.
    fn unread(&self) -> usize;
    /// Wait for the oldest unread update and read its statistics; none: all were read.
    fn read(&mut self) -> Result<Option<StepStats>>;
    /// Losses of each token of the last pass, nats; waits for them.
    fn losses(&self) -> Result<Vec<f32>>;
    /// A copy of the last backward's gradients, in the order of the parameters; waits for them.
    fn gradients(&self) -> Result<Vec<Vec<f32>>>;

    /// Whether every parameter is a number; `params` are the host's.
    fn finite(&self, params: &Params) -> Result<bool>;
    /// Bring the host's parameters up to date.
    fn pull(&self, params: &Params) -> Result<()>;
    /// Bring the host's optimizer state up to date.
    fn pull_state(&self, state: &mut [OptimizerState]) -> Result<()>;
    /// Take the host's optimizer state over.
    fn push_state(&mut self, state: &[OptimizerState]) -> Result<()>;

    /// Kernels run so far; 0 on the host.
    fn launches(&self) -> u64;
    /// Bytes that each memory-bound kernel has to move in a training step, by the kernel's name without its type; what a
    /// cache keeps from memory (a second read of a row) is not counted.
    fn roofline(&self) -> Vec<(&'static str, f64)>;
}

/// The shape of a batch that fits a model and room for `most` tokens.
fn shape_of(c: &ModelConfig, most: usize, tokens: &[u32], targets: &[u32], seq_len: usize) -> Result<Shape> {
    let n = tokens.len();
    if seq_len == 0 || seq_len > c.context || n == 0 || !n.is_multiple_of(seq_len) {
        let context = c.context;
        return Err(Error::usage(format!(
            "{n} tokens do not make sequences of {seq_len} (context {context})"
        )));
    }
    if n > most {
        return Err(Error::usage(format!("{n} tokens: there is room for {most}")));
    }
    if targets.len() != n {
        return Err(Error::usage(format!("{} targets for {n} tokens", targets.len())));
    }
    Ok(Shape { batch: n / seq_len, seq_len, heads: c.heads, head_dim: c.head_dim() })
}
