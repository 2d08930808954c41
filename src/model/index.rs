//! Where a decoder's parameters stand among [`Params`].

use super::config::ModelConfig;
use super::params::{Params, Role};
use crate::error::{Error, Result};

/// Weight and bias of a projection, or gain and bias of a norm: indices of parameters.
#[derive(Debug, Clone, Copy)]
pub struct Affine {
    /// The matrix or the gain.
    pub weight: usize,
    /// Its bias, in the arms that have one.
    pub bias: Option<usize>,
}

/// Where each parameter of a layer stands in [`Params`].
#[derive(Debug, Clone)]
pub(super) struct LayerIndex {
    pub attn_norm: Affine,
    pub qkv: Affine,
    pub qk_norm: Option<(usize, usize)>,
    pub out: Affine,
    pub ffn_norm: Affine,
    pub up: Affine,
    pub down: Affine,
}

/// Where each parameter stands in [`Params`].
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub layers: Vec<LayerIndex>,
    pub wte: usize,
    pub wpe: Option<usize>,
    pub norm: Affine,
    pub head: usize,
}

impl Index {
    pub fn new(config: &ModelConfig, params: &Params) -> Result<Self> {
        let find = |role, layer| params.index(role, layer);
        let need = |role, layer| {
            find(role, layer)
                .ok_or_else(|| Error::usage(format!("the parameters lack {role:?} of layer {layer:?}")))
        };
        let affine = |weight, bias, layer| -> Result<Affine> {
            Ok(Affine { weight: need(weight, layer)?, bias: find(bias, layer) })
        };
        let layer = |l| -> Result<LayerIndex> {
            Ok(LayerIndex {
                attn_norm: affine(Role::AttnNormGain, Role::AttnNormBias, l)?,
                qkv: affine(Role::Qkv, Role::QkvBias, l)?,
                qk_norm: find(Role::QNormGain, l).zip(find(Role::KNormGain, l)),
                out: affine(Role::AttnOut, Role::AttnOutBias, l)?,
                ffn_norm: affine(Role::FfnNormGain, Role::FfnNormBias, l)?,
                up: affine(Role::Up, Role::UpBias, l)?,
                down: affine(Role::Down, Role::DownBias, l)?,
            })
        };
        let wte = need(Role::TokenEmbedding, None)?;
        Ok(Self {
            layers: (0..config.layers).map(|l| layer(Some(l))).collect::<Result<_>>()?,
            wte,
            wpe: find(Role::PositionEmbedding, None),
            norm: affine(Role::FinalNormGain, Role::FinalNormBias, None)?,
            head: find(Role::LmHead, None).unwrap_or(wte),
        })
    }

    /// The norm before layer `layer`'s attention; past the last layer the one before the head.
    pub fn attention_norm(&self, layer: usize) -> Affine {
        self.layers.get(layer).map_or(self.norm, |i| i.attn_norm)
    }
}
