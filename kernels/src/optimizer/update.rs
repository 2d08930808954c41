//! What an update is told, what it keeps and what it measures.

use serde::{Deserialize, Serialize};

use crate::Stats;
use crate::error::{Error, Result};

/// Update rule and its constants; updates are computed with their float32 values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "lowercase")]
pub enum Rule {
    /// Decoupled weight decay (Loshchilov and Hutter).
    AdamW {
        /// First-moment decay.
        beta1: f64,
        /// Second-moment decay.
        beta2: f64,
        /// Added to the root of the second moment.
        eps: f64,
    },
    /// Gradient descent with heavy-ball momentum (0 for none).
    Sgd {
        /// Momentum coefficient.
        momentum: f64,
    },
}

/// Whether weight decay applies to a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// As to matrices, usually.
    Applied,
    /// As gains and biases are, usually.
    Exempt,
}

/// A contiguous run of a parameter's elements that shares a learning-rate group and a statistics slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First element.
    pub start: usize,
    /// Number of elements.
    pub len: usize,
    /// Index into [`Update::multipliers`].
    pub group: usize,
    /// Slot that receives this run's sums; runs with the same slot (a head's weight and bias) add up.
    pub slot: Option<usize>,
}

/// What is common to every parameter in one update.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// The rule.
    pub rule: Rule,
    /// Learning rate before group multipliers.
    pub lr: f32,
    /// One multiplier a group.
    pub multipliers: &'a [f32],
    /// Decoupled weight decay, for parameters that take it.
    pub weight_decay: f32,
    /// Gradients are multiplied by this inside the update (global-norm clipping).
    pub clip_scale: f32,
    /// Updates done so far plus one (bias correction).
    pub t: u32,
    /// Whether to fill the slots.
    pub stats: Stats,
}

/// Sums over one head's slice of W_Q or W_K, biases included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HeadUpdateStats {
    /// `|G|^2`, before clipping.
    pub g2: f64,
    /// Largest `|G|`.
    pub g_max: f32,
    /// `|W|^2` before the update.
    pub w2: f64,
    /// `|dW|^2`, the update as applied.
    pub d2: f64,
    /// `<W, G>` (2.1).
    pub wg: f64,
    /// `<W, dW>`.
    pub wd: f64,
    /// `<G, dW>`.
    pub gd: f64,
}

impl HeadUpdateStats {
    pub(super) fn add(&mut self, o: &Self) {
        self.g2 += o.g2;
        self.g_max = self.g_max.max(o.g_max);
        self.w2 += o.w2;
        self.d2 += o.d2;
        self.wg += o.wg;
        self.wd += o.wd;
        self.gd += o.gd;
    }
}

/// First and second moments of one parameter.
#[derive(Debug, Clone, Default)]
pub struct OptimizerState {
    /// First moment (momentum buffer for SGD).
    pub m: Vec<f32>,
    /// Second moment (empty for SGD).
    pub v: Vec<f32>,
}

impl OptimizerState {
    /// Zeros for a parameter of `len` elements.
    pub fn zeros(rule: Rule, len: usize) -> Self {
        match rule {
            Rule::AdamW { .. } => Self { m: vec![0.0; len], v: vec![0.0; len] },
            Rule::Sgd { .. } => Self { m: vec![0.0; len], v: Vec::new() },
        }
    }
}

pub(super) const OP: &str = "optimizer";

/// Segments partition `0..len` in order (each element is written by one task), their groups and slots exist.
pub(super) fn check(u: &Update<'_>, len: usize, segments: &[Segment], slots: usize) -> Result<()> {
    let bad = |message: String| Err(Error::Unsupported { op: OP, message });
    if u.t == 0 {
        return bad("t counts updates from 1: the first bias correction divides by 1 - beta^t".into());
    }
    let mut end = 0usize;
    for s in segments {
        if s.start != end || s.len > len - end {
            return bad(format!(
                "{s:?} does not follow element {end} of {len}: segments are a partition in order"
            ));
        }
        end += s.len;
        if s.group >= u.multipliers.len() {
            return bad(format!("{s:?}: there are {} multipliers", u.multipliers.len()));
        }
        if u.stats.taken() && s.slot.is_some_and(|slot| slot >= slots) {
            return bad(format!("{s:?}: there are {slots} slots"));
        }
    }
    if end != len {
        return bad(format!("segments cover {end} of {len} elements"));
    }
    Ok(())
}
