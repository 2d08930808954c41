//! The optimizer over a decoder's parameters: clipping, groups, per-head sums.

use growthpath_kernels::Stats;
use growthpath_kernels::optimizer::{OptimizerState, Rule, Update};

use super::config::TrainConfig;
use super::intervention::HoldState;
use crate::data::Batch;
use crate::error::Result;
use crate::model::Network;
use crate::model::backend::Backend;
use crate::model::params::{Group, Params};

/// Optimizer state of a run.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    /// One entry a parameter.
    pub moments: Vec<OptimizerState>,
    multipliers: Vec<f32>,
    /// Where the intervention stands.
    pub hold: HoldState,
}

/// What one update did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepInfo {
    /// Learning rate before multipliers.
    pub lr: f64,
    /// Multiplier of the W_Q and W_K that the intervention slows; 1 where it slows none.
    pub qk_multiplier: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Factor that clipping applied.
    pub clip_scale: f64,
}

impl Optimizer {
    /// Fresh state.
    pub fn new(config: &TrainConfig, params: &Params) -> Self {
        let rule = config.optimizer;
        let layers = config.model.layers;
        Self {
            rule,
            moments: params.vars.iter().map(|v| OptimizerState::zeros(rule, v.elem_count())).collect(),
            multipliers: vec![1.0; Group::count(layers)],
            hold: HoldState::default(),
        }
    }

    /// The schedule's and intervention's numbers for step `at`: learning rate, and the multiplier of the W_Q and W_K
    /// that the intervention slows (1 where it slows none).
    pub fn schedule(&mut self, config: &TrainConfig, at: u32) -> (f64, f64) {
        let qk_multiplier = match &config.intervention {
            Some(i) => {
                let m = self.hold.multiplier(i, at, config.steps);
                for l in 0..config.model.layers {
                    for g in [Group::Qk(l), Group::Vo(l)] {
                        self.multipliers[g.index()] = if i.covers(&config.model, g) { m as f32 } else { 1.0 };
                    }
                }
                if i.slows_qk() { m } else { 1.0 }
            }
            None => 1.0,
        };
        (config.schedule.at(at, config.steps), qk_multiplier)
    }

    /// Which rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Train `network` on a batch, as step `at` at the learning rate `lr` that [`Optimizer::schedule`] said.
    ///
    /// # Errors
    /// As [`Network::step`].
    pub fn step<B: Backend>(
        &mut self,
        network: &mut Network<B>,
        config: &TrainConfig,
        (at, lr): (u32, f64),
        batch: &Batch,
        stats: Stats,
    ) -> Result<()> {
        let update = Update {
            rule: self.rule,
            lr: lr as f32,
            multipliers: &self.multipliers,
            weight_decay: config.weight_decay as f32,
            clip_scale: 1.0,
            t: at + 1,
            stats,
        };
        let batch = (&batch.inputs[..], &batch.targets[..], batch.context);
        network.step(batch, &update, config.clip, &mut self.moments)
    }

    /// Effective learning rate of each layer's W_Q and W_K after [`Optimizer::schedule`] said `lr`.
    pub fn qk_lr(&self, lr: f64) -> Vec<f32> {
        let layers = (self.multipliers.len() - 1) / 2;
        (0..layers).map(|l| lr as f32 * self.multipliers[Group::Qk(l).index()]).collect()
    }
}
