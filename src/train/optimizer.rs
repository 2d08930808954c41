//! The optimizer over a decoder's parameters: clipping, groups, per-head sums.

use candle_core::Tensor;
use growthpath_kernels::optimizer::{Moments, Rule, Segment, SliceStats, Update, step, sum_squares};

use super::config::{Optimizer as OptimizerConfig, TrainConfig};
use super::intervention::HoldState;
use crate::error::Result;
use crate::model::params::{Group, Params, segments};

/// Optimizer state of a run.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    /// One entry a parameter.
    pub moments: Vec<Moments>,
    segments: Vec<Vec<Segment>>,
    slots: Vec<SliceStats>,
    multipliers: Vec<f32>,
    /// Where the intervention stands.
    pub hold: HoldState,
}

/// What one update did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepInfo {
    /// Learning rate before multipliers.
    pub lr: f64,
    /// Multiplier of the intervention's target.
    pub multiplier: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Factor that clipping applied.
    pub clip_scale: f64,
}

impl Optimizer {
    /// Fresh state.
    pub fn new(config: &TrainConfig, params: &Params) -> Self {
        let rule = match config.optimizer {
            OptimizerConfig::AdamW { beta1, beta2, eps } => {
                Rule::AdamW { beta1: beta1 as f32, beta2: beta2 as f32, eps: eps as f32 }
            }
            OptimizerConfig::Sgd { momentum } => Rule::Sgd { momentum: momentum as f32 },
        };
        let (layers, heads) = (config.model.layers, config.model.heads);
        Self {
            rule,
            moments: params.vars.iter().map(|v| Moments::zeros(rule, v.elem_count())).collect(),
            segments: params.specs.iter().map(|s| segments(&config.model, s)).collect(),
            slots: vec![SliceStats::default(); 2 * layers * heads],
            multipliers: vec![1.0; Group::count(layers)],
            hold: HoldState::default(),
        }
    }

    /// The schedule's and intervention's numbers for step `at`: learning rate and the target's multiplier.
    pub fn schedule(&mut self, config: &TrainConfig, at: u32) -> (f64, f64) {
        let multiplier = match &config.intervention {
            Some(i) => {
                let m = self.hold.multiplier(i, at, config.steps);
                for l in 0..config.model.layers {
                    for g in [Group::Qk(l), Group::Vo(l)] {
                        self.multipliers[g.index()] = if i.covers(&config.model, g) { m as f32 } else { 1.0 };
                    }
                }
                m
            }
            None => 1.0,
        };
        (config.schedule.at(at, config.steps), multiplier)
    }

    /// Global norm of the gradients, beside what [`Optimizer::schedule`] says.
    ///
    /// # Errors
    /// When a gradient cannot be read.
    pub fn prepare(&mut self, config: &TrainConfig, at: u32, grads: &[Tensor]) -> Result<StepInfo> {
        let mut total = 0.0;
        for g in grads {
            total += sum_squares(g)?;
        }
        let grad_norm = total.sqrt();
        let clip_scale =
            if config.clip > 0.0 && grad_norm > config.clip { config.clip / grad_norm } else { 1.0 };
        let (lr, multiplier) = self.schedule(config, at);
        Ok(StepInfo { lr, multiplier, grad_norm, clip_scale })
    }

    /// Which rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// What is common to every parameter in update number `at`.
    pub fn update(&self, config: &TrainConfig, at: u32, lr: f64, clip_scale: f64, stats: bool) -> Update<'_> {
        update(self.rule, &self.multipliers, config, at, (lr, clip_scale), stats)
    }

    /// Update every parameter; returns the per-head sums where `stats`.
    ///
    /// # Errors
    /// When a parameter or gradient cannot be read or written.
    pub fn apply(
        &mut self,
        config: &TrainConfig,
        at: u32,
        info: &StepInfo,
        params: &Params,
        grads: &[Tensor],
        stats: bool,
    ) -> Result<&[SliceStats]> {
        self.slots.fill(SliceStats::default());
        let scales = (info.lr, info.clip_scale);
        let update = update(self.rule, &self.multipliers, config, at, scales, stats);
        for (i, (spec, var)) in params.specs.iter().zip(&params.vars).enumerate() {
            let (segments, moments) = (&self.segments[i], &mut self.moments[i]);
            step(&update, var.as_tensor(), &grads[i], spec.decays(), segments, moments, &mut self.slots)?;
        }
        Ok(&self.slots)
    }

    /// Effective learning rate of each layer's W_Q and W_K after [`Optimizer::schedule`] said `lr`.
    pub fn qk_lr(&self, lr: f64) -> Vec<f32> {
        let layers = (self.multipliers.len() - 1) / 2;
        (0..layers).map(|l| lr as f32 * self.multipliers[Group::Qk(l).index()]).collect()
    }
}

fn update<'a>(
    rule: Rule,
    multipliers: &'a [f32],
    config: &TrainConfig,
    at: u32,
    (lr, clip_scale): (f64, f64),
    stats: bool,
) -> Update<'a> {
    Update {
        rule,
        lr: lr as f32,
        multipliers,
        weight_decay: config.weight_decay as f32,
        clip_scale: clip_scale as f32,
        t: at + 1,
        stats,
    }
}
