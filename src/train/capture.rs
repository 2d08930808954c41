//! From a forward pass on the probe batch to the float64 matrices that the analysis takes.

use candle_core::Tensor;
use faer::Mat;
use growthpath_analysis::{Geometry, LayerState, Positions};

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
    let d = model.config.width;
    let missing = || Error::usage(format!("layer {layer} has no query, key and value projection"));
    let w = parameter(model, Role::Qkv, layer)?.ok_or_else(missing)?;
    let b = parameter(model, Role::QkvBias, layer)?;
    let extra = usize::from(b.is_some());
    let block = |first: usize| {
        Mat::from_fn(d + extra, d, |i, j| {
            let row = first + j;
            f64::from(if i < d { w[row * d + i] } else { b.as_ref().map_or(0.0, |b| b[row]) })
        })
    };
    let (wq, wk) = (block(0), block(d));
    let x = values(forward.attention_input(layer))?;
    let t = forward.seq_len();
    let x = x
        .chunks_exact(t * d)
        .map(|s| Mat::from_fn(t, d + extra, |i, j| if j < d { f64::from(s[i * d + j]) } else { 1.0 }))
        .collect();
    Ok(LayerState { x, wq, wk })
}

/// Every write up to a layer as it enters that layer's attention input, and its share of the stream (2.3).
pub struct Contributions {
    /// `writes[k][b]`, `T x d`: `gain * centre(w_k) / rms(h)`.
    pub writes: Vec<Vec<Mat<f64>>>,
    /// `<w_k, h> / |h|^2` over all tokens.
    pub stream_shares: Vec<f64>,
}

/// Gain of the norm before a layer's attention, `[d]`.
///
/// # Errors
/// When the layer has none or it cannot be read.
pub fn attention_gain(model: &Decoder, layer: usize) -> Result<Vec<f32>> {
    parameter(model, Role::AttnNormGain, layer)?
        .ok_or_else(|| Error::usage(format!("layer {layer} has no norm before attention")))
}

/// Split a layer's attention input over the writes before it: embedding, attn_0, ffn_0, ...
///
/// `gain` is the norm's at the time of the forward.
///
/// # Errors
/// When the forward kept no writes, or a tensor cannot be read.
pub fn contributions(norm: Norm, forward: &Forward, layer: usize, gain: &[f32]) -> Result<Contributions> {
    let d = gain.len();
    let t = forward.seq_len();
    let h = values(forward.stream(layer))?;
    let rstd = &forward.attention_moments(layer)[h.len() / d..];
    let centred = norm == Norm::LayerNorm;
    let h2: f64 = h.iter().map(|v| f64::from(*v).powi(2)).sum();
    let (mut writes, mut stream_shares) = (Vec::new(), Vec::new());
    for w in forward.writes_before(layer)? {
        let w = values(w)?;
        stream_shares.push(w.iter().zip(&h).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() / h2);
        let mut parts = Vec::with_capacity(w.len() / (t * d));
        for (b, s) in w.chunks_exact(t * d).enumerate() {
            let mut m = Mat::zeros(t, d);
            for i in 0..t {
                let row = &s[i * d..(i + 1) * d];
                let mean =
                    if centred { row.iter().map(|v| f64::from(*v)).sum::<f64>() / d as f64 } else { 0.0 };
                let r = f64::from(rstd[b * t + i]);
                for (j, v) in row.iter().enumerate() {
                    m[(i, j)] = (f64::from(*v) - mean) * r * f64::from(gain[j]);
                }
            }
            parts.push(m);
        }
        writes.push(parts);
    }
    Ok(Contributions { writes, stream_shares })
}
