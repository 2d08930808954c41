//! From a forward pass on the probe batch to the float64 matrices that the analysis takes.

use candle_core::Tensor;
use faer::Mat;
use growthpath_analysis::{Geometry, LayerState, Positions, StreamNorm};

use crate::error::{Error, Result};
use crate::model::config::{Norm, Positions as ModelPositions};
use crate::model::params::Role;
use crate::model::{Decoder, Forward};

/// Heads and positions of a decoder, in the analysis' terms.
pub fn geometry(model: &Decoder) -> Geometry {
    let c = &model.config;
    let positions = match c.pos {
        ModelPositions::Learned => Positions::Plain,
        ModelPositions::Rope => Positions::Rope { base: c.rope_base },
    };
    Geometry { heads: c.heads, head_dim: c.head_dim(), positions }
}

fn values(t: &Tensor) -> Result<Vec<f32>> {
    Ok(t.flatten_all()?.to_vec1::<f32>()?)
}

fn parameter(model: &Decoder, role: Role, layer: usize) -> Result<Option<Vec<f32>>> {
    model.params.index(role, Some(layer)).map(|i| values(model.params.vars[i].as_tensor())).transpose()
}

/// Attention input and query and key weights of one layer; biases become a last row and a column of ones.
///
/// # Errors
/// When a tensor cannot be read.
pub fn layer_state(model: &Decoder, forward: &Forward, layer: usize) -> Result<LayerState> {
    let missing = || Error::usage(format!("layer {layer} has no query, key and value projection"));
    let w = parameter(model, Role::Qkv, layer)?.ok_or_else(missing)?;
    let b = parameter(model, Role::QkvBias, layer)?;
    let x = forward.attention_input(layer);
    Ok(state_of(x, (forward.seq_len(), model.config.width), &w, b.as_deref()))
}

/// The same from what was read: inputs `[n, d]` of sequences of `t` tokens, query and key rows `[2 d, d]` and more, their
/// biases.
pub(super) fn state_of(x: &[f32], (t, d): (usize, usize), w: &[f32], b: Option<&[f32]>) -> LayerState {
    let extra = usize::from(b.is_some());
    let block = |first: usize| {
        Mat::from_fn(d + extra, d, |i, j| {
            let row = first + j;
            f64::from(if i < d { w[row * d + i] } else { b.map_or(0.0, |b| b[row]) })
        })
    };
    let (wq, wk) = (block(0), block(d));
    let x = x
        .chunks_exact(t * d)
        .map(|s| Mat::from_fn(t, d + extra, |i, j| if j < d { f64::from(s[i * d + j]) } else { 1.0 }))
        .collect();
    LayerState { x, wq, wk }
}

/// Gain of the norm before a layer's attention, `[d]`.
///
/// # Errors
/// When the layer has none or it cannot be read.
pub fn attention_gain(model: &Decoder, layer: usize) -> Result<Vec<f32>> {
    parameter(model, Role::AttnNormGain, layer)?
        .ok_or_else(|| Error::usage(format!("layer {layer} has no norm before attention")))
}

/// How the norm before a layer's attention read the stream of a forward pass; `gain` is the norm's at that time.
pub fn stream_norm<'a>(norm: Norm, forward: &'a Forward, layer: usize, gain: &'a [f32]) -> StreamNorm<'a> {
    let mean_rstd = forward.attention_mean_rstd(layer);
    // Means come first, then one reciprocal root a token.
    StreamNorm { gain, rstd: &mean_rstd[mean_rstd.len() / 2..], centred: norm == Norm::LayerNorm }
}

/// Every write of a forward pass, embedding, attn_0, ffn_0, ..., as it stands in the stream: `[tokens x d]` each.
///
/// # Errors
/// When the forward kept no writes.
pub fn all_writes(forward: &Forward, layers: usize) -> Result<Vec<Vec<f32>>> {
    Ok(forward.writes_before(layers)?.into_iter().map(<[f32]>::to_vec).collect())
}

/// Share of each write before a layer in the energy of the stream that it reads (2.3).
pub fn stream_shares(forward: &Forward, layer: usize, writes: &[Vec<f32>]) -> Vec<f64> {
    growthpath_analysis::stream_shares(forward.stream(layer), writes[..=2 * layer].iter().map(Vec::as_slice))
}
