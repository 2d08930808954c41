//! The fused AdamW for models that are written with candle: gradients from candle's `backward`, statistics of W_Q and W_K
//! by head on the way.

use candle_core::Var;
use candle_core::backprop::GradStore;

use super::{Decay, HeadUpdateStats, OptimizerState, Rule, Segment, Update, step, sum_squares};
use crate::Stats;
use crate::error::{Error, Result};

/// Constants of the update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// First-moment decay.
    pub beta1: f32,
    /// Second-moment decay.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay, for parameters that take it.
    pub weight_decay: f32,
    /// Global gradient-norm limit; 0 = none.
    pub clip: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1.0 }
    }
}

/// What one update did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepInfo {
    /// Global norm of the gradient, before clipping.
    pub grad_norm: f64,
    /// What gradients were multiplied by.
    pub clip_scale: f64,
}

struct Parameter {
    var: Var,
    decay: Decay,
    segments: Vec<Segment>,
    state: OptimizerState,
}

/// AdamW with decoupled decay over candle variables, each updated in one pass over memory.
pub struct AdamW {
    settings: AdamWSettings,
    parameters: Vec<Parameter>,
    slots: Vec<HeadUpdateStats>,
    updates: u32,
}

impl AdamW {
    /// An optimizer of no parameters yet.
    pub fn new(settings: AdamWSettings) -> Self {
        Self { settings, parameters: Vec::new(), slots: Vec::new(), updates: 0 }
    }

    fn rule(&self) -> Rule {
        let s = &self.settings;
        Rule::AdamW { beta1: s.beta1.into(), beta2: s.beta2.into(), eps: s.eps.into() }
    }

    /// Add a parameter; matrices usually decay, gains and biases do not.
    pub fn add(&mut self, var: &Var, decay: Decay) {
        let len = var.elem_count();
        self.add_marked(var, decay, vec![Segment { start: 0, len, group: 0, slot: None }]);
    }

    /// Add a packed projection `[3 D, ...]` (query, key and value rows, output-major) of layer `layer`, or its bias `[3 D]`:
    /// the statistics of head h's W_Q go to slot `2 (layer H + h)`, those of its W_K to the next one.
    ///
    /// # Errors
    /// Rows that `3 heads` does not divide.
    pub fn add_qkv(&mut self, var: &Var, layer: usize, heads: usize) -> Result<()> {
        let len = var.elem_count();
        if heads == 0 || len == 0 || !var.dims().first().is_some_and(|r| r.is_multiple_of(3 * heads)) {
            let message = format!("a projection of shape {:?} has no 3 x {heads} heads", var.dims());
            return Err(Error::Unsupported { op: "adamw", message });
        }
        let head = len / (3 * heads);
        let mut segments = Vec::with_capacity(2 * heads + 1);
        for i in 0..2 * heads {
            let slot = 2 * (layer * heads + i % heads) + i / heads;
            segments.push(Segment { start: i * head, len: head, group: 0, slot: Some(slot) });
        }
        segments.push(Segment { start: 2 * heads * head, len: heads * head, group: 0, slot: None });
        let most = 2 * (layer + 1) * heads;
        self.slots.resize(self.slots.len().max(most), HeadUpdateStats::default());
        let decay = if var.dims().len() > 1 { Decay::Applied } else { Decay::Exempt };
        self.add_marked(var, decay, segments);
        Ok(())
    }

    fn add_marked(&mut self, var: &Var, decay: Decay, segments: Vec<Segment>) {
        let state = OptimizerState::zeros(self.rule(), var.elem_count());
        self.parameters.push(Parameter { var: var.clone(), decay, segments, state });
    }

    /// One update of every parameter with the gradients of candle's `backward`.
    ///
    /// # Errors
    /// A parameter without a gradient: candle cuts them silently where an operation has no backward. Gradients that are not
    /// contiguous float32 on the CPU.
    pub fn step(&mut self, gradients: &GradStore, lr: f64) -> Result<StepInfo> {
        let mut all = Vec::with_capacity(self.parameters.len());
        let mut sum = 0.0;
        for (i, p) in self.parameters.iter().enumerate() {
            let missing = || Error::Unsupported {
                op: "adamw",
                message: format!(
                    "parameter {i} of shape {:?} has no gradient: does the loss depend on it through operations with a backward?",
                    p.var.dims()
                ),
            };
            let g = gradients.get(p.var.as_tensor()).ok_or_else(missing)?.contiguous()?;
            sum += sum_squares(&g)?;
            all.push(g);
        }
        let grad_norm = sum.sqrt();
        let clip = self.settings.clip;
        let clip_scale = if clip > 0.0 && grad_norm > clip { clip / grad_norm } else { 1.0 };
        self.updates += 1;
        self.slots.fill(HeadUpdateStats::default());
        let update = Update {
            rule: self.rule(),
            lr: lr as f32,
            multipliers: &[1.0],
            weight_decay: self.settings.weight_decay,
            clip_scale: clip_scale as f32,
            t: self.updates,
            stats: Stats::when(!self.slots.is_empty()),
        };
        for (p, g) in self.parameters.iter_mut().zip(&all) {
            step(&update, p.var.as_tensor(), g, (p.decay, &p.segments), &mut p.state, &mut self.slots)?;
        }
        Ok(StepInfo { grad_norm, clip_scale })
    }

    /// Statistics of the last update: for head h of layer l, W_Q at `2 (l H + h)` and W_K after it.
    pub fn slices(&self) -> &[HeadUpdateStats] {
        &self.slots
    }
}
