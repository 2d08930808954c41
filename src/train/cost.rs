//! What measurements cost, in training steps, counted from the shapes alone: the same on every machine.
//!
//! A multiplication and an addition are two operations. A training step is three forward passes over its batch, the
//! vocabulary projection included. What the analysis does in float64 counts [`FLOAT64`] times. Norms, activations and
//! softmax are left out on both sides.

use super::config::TrainConfig;
use crate::model::ModelConfig;

/// Float32 operations that one float64 operation of the analysis stands for: 2 for the width of the registers, times
/// 1.75 because its matrices (d_h columns, T rows) are too small for the speed of the training step's products. With it,
/// [`Costs::probe`] is not below what `growthpath bench` measures at micro.
pub const FLOAT64: f64 = 2.0 * 1.75;

/// Costs in training steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// A probe: forward pass and analysis.
    pub probe: f64,
    /// A capture of the key moments alone.
    pub capture: f64,
    /// Reliance of both halves.
    pub halves: f64,
    /// Reliance of every head and layer, for one sequence; the loss without replacement as well.
    pub heads: f64,
}

impl Costs {
    /// Costs of `config`'s measurements.
    pub fn of(config: &TrainConfig) -> Self {
        let (m, p) = (&config.model, &config.probe);
        let step = 3.0 * forward(m, config.batch, m.context, true);
        let capture = forward(m, p.sequences, p.length, false) + FLOAT64 * moments(m, p.sequences, p.length);
        let whole = |n: usize| forward(m, n, m.context, true);
        Self {
            probe: (capture + FLOAT64 * analysis(m, p.sequences, p.length)) / step,
            capture: capture / step,
            // Without replacement, and with each half replaced.
            halves: 3.0 * whole(p.reliance_sequences) / step,
            heads: (m.layers * (m.heads + 1) + 1) as f64 * whole(1) / step,
        }
    }
}

/// Forward pass over `sequences` of `length` tokens; `head`: with the vocabulary projection.
fn forward(m: &ModelConfig, sequences: usize, length: usize, head: bool) -> f64 {
    let (d, f, t) = (m.width as f64, m.hidden_width() as f64, length as f64);
    let ffn = if m.ffn.gated() { 3.0 } else { 2.0 };
    let products = 2.0 * (4.0 * d * d + ffn * d * f);
    // Half of the pairs are causal; logits and values.
    let attention = 2.0 * d * (t + 1.0);
    let vocabulary = if head { 2.0 * d * m.vocab as f64 } else { 0.0 };
    sequences as f64 * t * (m.layers as f64 * (products + attention) + vocabulary)
}

/// Query and key moments of every layer: two symmetric products.
fn moments(m: &ModelConfig, sequences: usize, length: usize) -> f64 {
    let (d, n) = (m.width as f64, (sequences * length) as f64);
    m.layers as f64 * 2.0 * n * d * d
}

/// What a probe works out beside the moments, all layers.
fn analysis(m: &ModelConfig, sequences: usize, length: usize) -> f64 {
    let (d, d_h) = (m.width as f64, m.head_dim() as f64);
    let (s, t) = (sequences as f64, length as f64);
    let n = s * t;
    // Old and new features times old and new W_Q and W_K; the old times the old is kept.
    let projections = 6.0 * 2.0 * n * d * d;
    // T x T logits of all heads at eight corners.
    let corners = 8.0 * 2.0 * n * t * d;
    // U^T S U' for old and new weights and moments, all heads.
    let grams = 12.0 * 2.0 * d * d * (d + d_h);
    // Gradients with respect to the inputs, then one inner product a write; the mean layer has L writes.
    let shares = 8.0 * 2.0 * n * d * d + 12.0 * n * d * m.layers as f64;
    // Tridiagonal forms of the two moments and of each sequence's Gram matrix.
    let small = t.min(d);
    let eigenvalues = 4.0 / 3.0 * (2.0 * d.powi(3) + s * small.powi(3)) + n * d * small;
    m.layers as f64 * (projections + corners + grams + shares + eigenvalues)
}
