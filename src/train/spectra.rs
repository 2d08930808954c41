//! Spectra of what an update does to the heads' logit matrices, from the weights before and after it.

use faer::{Mat, MatRef};
use growthpath_analysis::increment::{Increment, increment};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::model::params::{Params, Role};
use crate::model::{Decoder, ModelConfig};

/// W_Q and W_K of every layer with their biases, copied before an update.
pub struct Before(Vec<Layer>);

/// One layer's packed projection: `[3 d, d]` by rows, and `[3 d]`.
struct Layer {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Before {
    /// A copy of what the model holds now.
    ///
    /// # Errors
    /// When a parameter cannot be read.
    pub fn of(model: &Decoder) -> Result<Self> {
        (0..model.config.layers).map(|l| Layer::of(&model.params, l)).collect::<Result<_>>().map(Self)
    }

    /// The increments from the copy to what the model holds now, in (layer, head) order.
    ///
    /// # Errors
    /// When a parameter cannot be read or a decomposition fails.
    pub fn increments(&self, model: &Decoder) -> Result<Vec<Increment>> {
        let (c, after) = (&model.config, Self::of(model)?);
        (0..c.layers * c.heads)
            .into_par_iter()
            .map(|i| {
                let (l, h) = (i / c.heads, i % c.heads);
                let [old, new] = [&self.0[l], &after.0[l]].map(|w| [w.head(c, h, 0), w.head(c, h, 1)]);
                let [dq, dk] = [&new[0] - &old[0], &new[1] - &old[1]];
                Ok(increment(old[0].as_ref(), old[1].as_ref(), dq.as_ref(), dk.as_ref())?)
            })
            .collect()
    }
}

impl Layer {
    fn of(params: &Params, layer: usize) -> Result<Self> {
        let read = |role| -> Result<Option<Vec<f32>>> {
            let Some(i) = params.index(role, Some(layer)) else { return Ok(None) };
            Ok(Some(params.vars[i].flatten_all()?.to_vec1()?))
        };
        let weight = read(Role::Qkv)?
            .ok_or_else(|| Error::usage(format!("the parameters lack W_Q and W_K of layer {layer}")))?;
        Ok(Self { weight, bias: read(Role::QkvBias)? })
    }

    /// One head's W_Q (block 0) or W_K (block 1), `d x d_h`, its bias as a last row.
    fn head(&self, c: &ModelConfig, head: usize, block: usize) -> Mat<f64> {
        let (d, dh) = (c.width, c.head_dim());
        let first = block * d + head * dh;
        let rows = MatRef::from_row_major_slice(&self.weight[first * d..(first + dh) * d], dh, d);
        let bias = self.bias.as_ref().map(|b| &b[first..first + dh]);
        Mat::from_fn(d + usize::from(bias.is_some()), dh, |i, j| {
            f64::from(if i < d { rows[(j, i)] } else { bias.map_or(0.0, |b| b[j]) })
        })
    }
}
