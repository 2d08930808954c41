//! The numbers of one layer.

use growthpath_analysis::spectral::HeadLayout;

use super::checkpoint::Checkpoint;
use super::family::{InputNorm, Projection, Scale};
use super::layer::LayerWeights;
use super::matrix::{Features, all, bias, weight};
use super::rope::rotation;
use crate::error::{Error, Result};

/// Of a norm, where it has them.
type GainAndBias = (Option<Vec<f64>>, Option<Vec<f64>>);

impl Checkpoint {
    /// Read a layer of [`Checkpoint::layers`].
    ///
    /// # Errors
    /// A tensor that is missing, of another shape than the configuration implies, or not finite: each by name.
    pub fn layer(&self, layer: usize) -> Result<LayerWeights> {
        let HeadLayout { heads, kv_heads, head_dim } = self.layout;
        let (store, config, d) = (&self.store, &self.config, self.width);
        let side = |module: &str, out: usize, features: &Features| {
            let name = |leaf: &str| self.attention(layer, &format!("{module}.{leaf}"));
            let w = weight(store, config, &name("weight"), (d, out), features, self.family.conv1d)?;
            Ok::<_, Error>((w, bias(store, config, &name("bias"), out, features)?))
        };
        let ((wq, bq), (wk, bk)) = match self.family.projection {
            Projection::Separate { q, k } => {
                let whole = |n: usize| -> Features { std::iter::once(0..n).collect() };
                let (nq, nk) = (heads * head_dim, kv_heads * head_dim);
                (side(q, nq, &whole(nq))?, side(k, nk, &whole(nk))?)
            }
            Projection::Fused { name, order } => {
                let (out, queries, keys) = self.fused(order)?;
                (side(name, out, &queries)?, side(name, out, &keys)?)
            }
        };
        let (gain, shift) = self.norm(layer)?;
        let rotation = rotation(&self.config, &self.family, layer, head_dim)?;
        Ok(LayerWeights {
            layer,
            layout: self.layout,
            wq,
            wk,
            bq,
            bk,
            gain,
            shift,
            scale: self.scale(layer)?,
            rotation,
        })
    }

    /// Gain and bias of the norm before attention.
    fn norm(&self, layer: usize) -> Result<GainAndBias> {
        let (names, plus): (&[&str], f64) = match &self.family.norm {
            InputNorm::None => return Ok((None, None)),
            InputNorm::Gain(names) => (names, 0.0),
            InputNorm::GainPlusOne(name) => (std::slice::from_ref(name), 1.0),
        };
        // OPT's 350M model normalizes after attention: its norm is not attention's input.
        if !self.config.flag(&["do_layer_norm_before"], true)? {
            return Ok((None, None));
        }
        let read = |leaf: &str| -> Result<Option<Vec<f64>>> {
            let found = names
                .iter()
                .map(|n| self.name(layer, &format!("{n}.{leaf}")))
                .find(|n| self.store.get(n).is_some());
            let Some(name) = found else { return Ok(None) };
            let values = all(&self.store, &name)?;
            if values.len() != self.width {
                return Err(Error::format(
                    &self.path,
                    format!("`{name}` has {} values, the model is {} wide", values.len(), self.width),
                ));
            }
            Ok(Some(values))
        };
        let gain = read("weight")?.map(|g| g.into_iter().map(|v| v + plus).collect());
        Ok((gain, read("bias")?))
    }

    /// The factor on `q . k` in a layer.
    fn scale(&self, layer: usize) -> Result<f64> {
        let c = &self.config;
        let usual = 1.0 / (self.layout.head_dim as f64).sqrt();
        let scale = match self.family.scale {
            Scale::HeadWidth => usual,
            Scale::One => 1.0,
            Scale::Multiplier => c.number(&["attention_multiplier"])?.unwrap_or(1.0),
            Scale::Scalar => 1.0 / c.number(&["query_pre_attn_scalar"])?.unwrap_or(256.0).sqrt(),
            Scale::Softmax => c.number(&["attn_config.softmax_scale"])?.unwrap_or(usual),
            Scale::Gpt2 => {
                let base = if c.flag(&["scale_attn_weights"], true)? { usual } else { 1.0 };
                let by_layer = c.flag(&["scale_attn_by_inverse_layer_idx"], false)?;
                if by_layer { base / (layer as f64 + 1.0) } else { base }
            }
        };
        if scale.is_finite() && scale > 0.0 {
            Ok(scale)
        } else {
            Err(c.wrong(format!("gives the attention scale {scale}")))
        }
    }
}
