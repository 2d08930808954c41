//! What the theory expects of the arms (section 7 of docs/theory.md), each measured on the real model. Run with
//! `--nocapture` for the numbers. Model seeds are fixed, so that a confidence interval that holds once always does.

#[path = "consequences/energy.rs"]
mod energy;
#[path = "consequences/gating.rs"]
mod gating;
#[path = "consequences/gradients.rs"]
mod gradients;
#[path = "consequences/multiplier.rs"]
mod multiplier;
#[path = "consequences/orders.rs"]
mod orders;

use candle_core::Tensor;
use faer::Mat;
use growthpath::model::config::Positions as ModelPositions;
use growthpath::model::params::Role;
use growthpath::model::{Decoder, Forward, ModelConfig};
use growthpath_analysis::{Geometry, LayerState, Positions};

pub(crate) fn floats(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// W_Q and W_K of a layer, or their gradients: `d x d`, biases as a last row. `of` gives a parameter's values.
pub(crate) fn projections(model: &Decoder, layer: usize, of: impl Fn(usize) -> Tensor) -> [Mat<f64>; 2] {
    let d = model.config.width;
    let take = |role| model.params.index(role, Some(layer)).map(|i| floats(&of(i)));
    let (w, b) = (take(Role::Qkv).unwrap(), take(Role::QkvBias));
    [0, d].map(|first| {
        Mat::from_fn(d + usize::from(b.is_some()), d, |i, j| {
            let row = first + j;
            f64::from(if i < d { w[row * d + i] } else { b.as_ref().unwrap()[row] })
        })
    })
}

/// The attention input and W_Q, W_K of a layer as they are now.
pub(crate) fn state(model: &Decoder, forward: &Forward, layer: usize) -> LayerState {
    let [wq, wk] = projections(model, layer, |i| model.params.vars[i].as_tensor().clone());
    let (d, t) = (model.config.width, forward.seq_len());
    let x = forward
        .attention_input(layer)
        .chunks_exact(t * d)
        .map(|s| Mat::from_fn(t, wq.nrows(), |i, j| if j < d { f64::from(s[i * d + j]) } else { 1.0 }))
        .collect();
    LayerState { x, wq, wk }
}

pub(crate) fn geometry(config: &ModelConfig) -> Geometry {
    let positions = match config.pos {
        ModelPositions::Learned => Positions::Plain,
        ModelPositions::Rope => Positions::Rope { base: config.rope_base },
    };
    Geometry { heads: config.heads, head_dim: config.head_dim(), positions }
}
