//! The parameters of a decoder: what each is, how it starts, where W_Q and W_K of each head lie.

use candle_core::{Device, Tensor, Var};
use growthpath_kernels::optimizer::{Decay, Segment};
use growthpath_kernels::tensor::{self, CpuF32};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use rayon::prelude::*;

use super::config::{ModelConfig, Positions};
use crate::error::Result;

/// What a parameter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Token embedding `[V, d]`.
    TokenEmbedding,
    /// Position embedding `[T, d]`.
    PositionEmbedding,
    /// Gain of the norm before attention `[d]`.
    AttnNormGain,
    /// Its bias `[d]`.
    AttnNormBias,
    /// Query, key and value projections, output-major `[3 d, d]`.
    Qkv,
    /// Their biases `[3 d]`.
    QkvBias,
    /// Query gain `[d_h]` of a QK-norm arm.
    QNormGain,
    /// Key gain `[d_h]`.
    KNormGain,
    /// Attention output projection `[d, d]`.
    AttnOut,
    /// Its bias `[d]`.
    AttnOutBias,
    /// Gain of the norm before the feed-forward block `[d]`.
    FfnNormGain,
    /// Its bias `[d]`.
    FfnNormBias,
    /// Up projection `[f, d]`, or gate and up `[2 f, d]`.
    Up,
    /// Its bias.
    UpBias,
    /// Down projection `[d, f]`.
    Down,
    /// Its bias `[d]`.
    DownBias,
    /// Gain of the last norm `[d]`.
    FinalNormGain,
    /// Its bias `[d]`.
    FinalNormBias,
    /// Untied output projection `[V, d]`.
    LmHead,
}

/// One parameter's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// What it does.
    pub role: Role,
    /// Its layer, where it has one.
    pub layer: Option<usize>,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Spec {
    /// Matrices take weight decay; gains and biases do not.
    pub fn decay(&self) -> Decay {
        if self.shape.len() == 2 { Decay::Applied } else { Decay::Exempt }
    }

    fn label(&self) -> String {
        format!("{:?}.{}", self.role, self.layer.map_or("-".into(), |l| l.to_string()))
    }
}

/// The parameters of `config`, in forward order.
pub fn specs(config: &ModelConfig) -> Vec<Spec> {
    let (d, v, f) = (config.width, config.vocab, config.hidden_width());
    let up = if config.ffn.gated() { 2 * f } else { f };
    let mut out = Vec::new();
    let mut push = |role, layer, shape: &[usize]| out.push(Spec { role, layer, shape: shape.to_vec() });
    push(Role::TokenEmbedding, None, &[v, d]);
    if config.pos == Positions::Learned {
        push(Role::PositionEmbedding, None, &[config.context, d]);
    }
    // LayerNorm has a bias exactly in the arms with biases; RMSNorm never has one.
    let norm_bias = config.bias && config.norm == super::config::Norm::LayerNorm;
    for l in (0..config.layers).map(Some) {
        push(Role::AttnNormGain, l, &[d]);
        if norm_bias {
            push(Role::AttnNormBias, l, &[d]);
        }
        push(Role::Qkv, l, &[3 * d, d]);
        if config.bias {
            push(Role::QkvBias, l, &[3 * d]);
        }
        if config.qk_norm {
            push(Role::QNormGain, l, &[config.head_dim()]);
            push(Role::KNormGain, l, &[config.head_dim()]);
        }
        push(Role::AttnOut, l, &[d, d]);
        if config.bias {
            push(Role::AttnOutBias, l, &[d]);
        }
        push(Role::FfnNormGain, l, &[d]);
        if norm_bias {
            push(Role::FfnNormBias, l, &[d]);
        }
        push(Role::Up, l, &[up, d]);
        if config.bias {
            push(Role::UpBias, l, &[up]);
        }
        push(Role::Down, l, &[d, f]);
        if config.bias {
            push(Role::DownBias, l, &[d]);
        }
    }
    push(Role::FinalNormGain, None, &[d]);
    if norm_bias {
        push(Role::FinalNormBias, None, &[d]);
    }
    if !config.tied {
        push(Role::LmHead, None, &[v, d]);
    }
    out
}

/// Number of parameters: all, and without embeddings.
pub fn count(config: &ModelConfig) -> (usize, usize) {
    let all = specs(config);
    let size = |s: &Spec| s.shape.iter().product::<usize>();
    let embeddings =
        |s: &&Spec| matches!(s.role, Role::TokenEmbedding | Role::PositionEmbedding | Role::LmHead);
    (all.iter().map(size).sum(), all.iter().filter(|s| !embeddings(s)).map(size).sum())
}

/// Parameters as candle variables; clones share them.
#[derive(Debug, Clone)]
pub struct Params {
    /// Descriptions, in order.
    pub specs: Vec<Spec>,
    /// Values, in the same order.
    pub vars: Vec<Var>,
}

impl Params {
    /// Fresh parameters. Each draws from a stream of its own, so arms share what they have in common.
    ///
    /// # Errors
    /// When the device cannot hold them.
    pub fn init(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        let specs = specs(config);
        let values: Vec<Vec<f32>> = specs.par_iter().map(|s| initial(config, s, seed)).collect();
        let mut vars = Vec::with_capacity(specs.len());
        for (s, v) in specs.iter().zip(values) {
            vars.push(Var::from_tensor(&Tensor::from_vec(v, s.shape.as_slice(), device)?)?);
        }
        Ok(Self { specs, vars })
    }

    /// Borrow a parameter's values.
    pub(super) fn value(&self, i: usize) -> Result<CpuF32<'_>> {
        Ok(tensor::read(self.vars[i].as_tensor())?)
    }

    pub(super) fn value_opt(&self, i: Option<usize>) -> Result<Option<CpuF32<'_>>> {
        i.map(|i| self.value(i)).transpose()
    }

    /// Rows and columns of a matrix; a vector counts as one row.
    pub(super) fn matrix(&self, i: usize) -> (usize, usize) {
        match self.specs[i].shape[..] {
            [rows, columns] => (rows, columns),
            _ => (1, self.vars[i].elem_count()),
        }
    }

    /// Index of a parameter.
    pub fn index(&self, role: Role, layer: Option<usize>) -> Option<usize> {
        self.specs.iter().position(|s| s.role == role && s.layer == layer)
    }
}

fn initial(config: &ModelConfig, spec: &Spec, seed: u64) -> Vec<f32> {
    let n = spec.shape.iter().product();
    let std = match spec.role {
        Role::AttnOut | Role::Down => config.init_std / (2.0 * config.layers as f64).sqrt(),
        _ if spec.shape.len() == 2 => config.init_std,
        Role::AttnNormGain | Role::FfnNormGain | Role::FinalNormGain | Role::QNormGain | Role::KNormGain => {
            return vec![1.0; n];
        }
        _ => return vec![0.0; n],
    };
    let stream = blake3::hash(format!("{seed} {}", spec.label()).as_bytes());
    let mut rng = ChaCha8Rng::from_seed(*stream.as_bytes());
    // `std` is positive and finite: the configuration was validated.
    match Normal::new(0.0, std) {
        Ok(normal) => (0..n).map(|_| normal.sample(&mut rng) as f32).collect(),
        Err(_) => vec![0.0; n],
    }
}

/// Learning-rate groups: one for every (layer, part) that an intervention can slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Everything that no intervention touches.
    Other,
    /// W_Q and W_K of a layer.
    Qk(usize),
    /// W_V and W_O of a layer.
    Vo(usize),
}

impl Group {
    /// Dense index: 0 other, then q/k and v/o of each layer.
    pub fn index(self) -> usize {
        match self {
            Self::Other => 0,
            Self::Qk(l) => 1 + 2 * l,
            Self::Vo(l) => 2 + 2 * l,
        }
    }

    /// Number of groups for `layers` layers.
    pub fn count(layers: usize) -> usize {
        1 + 2 * layers
    }
}

/// A head's W_Q or its W_K.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// W_Q.
    Query,
    /// W_K.
    Key,
}

/// Statistics slot of one side of a head.
pub fn slot(config: &ModelConfig, layer: usize, head: usize, side: Side) -> usize {
    2 * (layer * config.heads + head) + side as usize
}

/// The runs of a parameter that the optimizer treats apart.
pub fn segments(config: &ModelConfig, spec: &Spec) -> Vec<Segment> {
    let len: usize = spec.shape.iter().product();
    let whole = |group: Group| vec![Segment { start: 0, len, group: group.index(), slot: None }];
    match (spec.role, spec.layer) {
        (Role::Qkv | Role::QkvBias, Some(l)) => {
            let row = len / (3 * config.width);
            let block = config.width * row;
            let slice = config.head_dim() * row;
            let mut out = Vec::new();
            for (b, side) in [Side::Query, Side::Key].into_iter().enumerate() {
                for h in 0..config.heads {
                    let start = b * block + h * slice;
                    let slot = Some(slot(config, l, h, side));
                    out.push(Segment { start, len: slice, group: Group::Qk(l).index(), slot });
                }
            }
            out.push(Segment { start: 2 * block, len: block, group: Group::Vo(l).index(), slot: None });
            out
        }
        (Role::AttnOut | Role::AttnOutBias, Some(l)) => whole(Group::Vo(l)),
        _ => whole(Group::Other),
    }
}
