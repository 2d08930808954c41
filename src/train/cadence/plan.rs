//! What is decided before the first step: how the budget is split, and which times are measured whatever happens.

use std::collections::BTreeSet;

use crate::train::config::{ProbeTimes, TrainConfig};
use crate::train::cost::Costs;
use crate::train::lags::Lags;

/// Boundaries between a step's end and the decision that may rest on its rows, less one.
pub(super) const DELAY: u32 = 2;

/// Shares of the budget: probes, reliance of the halves, reliance of heads and layers, captures for maturity.
pub(super) const SHARES: [f64; 4] = [0.68, 0.16, 0.06, 0.1];

/// Part of the probes' pot that may be spent at once; the rest comes in evenly over training, so that growth that resumes
/// late finds something left.
const AHEAD: f64 = 0.95;

/// The same of the captures' pot: a lower half that is slow to settle must be seen all the way.
const CAPTURES_AHEAD: f64 = 0.75;

/// Part of the probes' pot that the sparse floor may take.
const FLOOR: f64 = 0.3;

/// The floor is no denser than a gap of this part of the steps done: t / 32.
pub(super) const DENSEST: u32 = 32;

/// Fractions of training at which heads and layers are measured, as far as the budget goes: fewer means the later.
const HEADS: [f64; 4] = [0.05, 0.25, 0.5, 1.0];

/// Fewest sequences that heads and layers are worth measuring on more than once.
const HEAD_SEQUENCES: usize = 4;

/// Fractions of training at which the key moment is kept for the cosine to the final one.
const SETTLING: [f64; 16] =
    [0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.10, 0.12, 0.16, 0.20, 0.25, 0.30, 0.40, 0.50, 0.60, 0.75];

/// Money for measurements that are decided on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pot {
    /// All there is, in training steps.
    pub capacity: f64,
    /// Price of one measurement.
    pub price: f64,
    /// Part of it that may be spent at once.
    pub ahead: f64,
}

impl Pot {
    /// What may be spent until `done` of `steps` steps.
    pub fn allowed(&self, done: u32, steps: u32) -> f64 {
        self.capacity * (self.ahead + (1.0 - self.ahead) * f64::from(done) / f64::from(steps))
    }

    /// Whether another `count` measurements can be paid when `spent` is gone.
    pub fn pays(&self, spent: f64, count: u32, done: u32, steps: u32) -> bool {
        spent + f64::from(count) * self.price <= self.allowed(done, steps)
    }
}

/// The fixed part of a run's measurements.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Steps of the run.
    pub steps: u32,
    /// Prices.
    pub costs: Costs,
    /// The whole budget, in training steps; none where probe times were given.
    pub budget: Option<f64>,
    /// Probed whatever happens.
    pub floor: BTreeSet<u32>,
    /// Halves are measured whatever happens.
    pub halves_floor: BTreeSet<u32>,
    /// Heads and layers are measured.
    pub heads_at: BTreeSet<u32>,
    /// On so many sequences.
    pub head_sequences: usize,
    /// The key moment is kept for the cosine to the final one.
    pub settle_at: BTreeSet<u32>,
    /// The key moment is kept one lag before the end, for the last maturity.
    pub tail: bool,
    /// For probes between the floor's.
    pub probes: Pot,
    /// For the halves between their floor's.
    pub halves: Pot,
    /// For captures that are decided on the way.
    pub captures: Pot,
}

impl Plan {
    /// The plan of a run.
    pub fn new(config: &TrainConfig) -> Self {
        let costs = Costs::of(config);
        let (p, steps) = (&config.probe, config.steps);
        let at = |f: &f64| ((f * f64::from(steps)).ceil() as u32).clamp(1, steps);
        let pot = |price, ahead| Pot { capacity: f64::INFINITY, price, ahead };
        let mut plan = Self {
            steps,
            costs,
            budget: None,
            floor: BTreeSet::new(),
            halves_floor: BTreeSet::new(),
            heads_at: HEADS.iter().map(at).collect(),
            head_sequences: p.reliance_sequences,
            settle_at: settle_times(steps, 1),
            tail: true,
            probes: pot(costs.probe, AHEAD),
            // Attention sharpens level by level: no need to hold back.
            halves: pot(costs.halves, 1.0),
            captures: pot(costs.capture, CAPTURES_AHEAD),
        };
        match &p.times {
            ProbeTimes::Never => {
                plan.heads_at.clear();
                plan.settle_at.clear();
                plan.tail = false;
            }
            ProbeTimes::Every { .. } => {}
            ProbeTimes::Auto { budget, .. } => plan.share_out(config, budget * f64::from(steps), None),
            ProbeTimes::Like { budget, steps: times, .. } => {
                let mut times: BTreeSet<u32> = times.iter().copied().collect();
                times.insert(steps);
                plan.share_out(config, budget * f64::from(steps), Some(times));
            }
        }
        if p.reliance_sequences == 0 {
            plan.heads_at.clear();
        }
        plan
    }

    /// Split `budget`; `like`: the probe times that are given.
    fn share_out(&mut self, config: &TrainConfig, budget: f64, like: Option<BTreeSet<u32>>) {
        let (costs, steps, sequences) = (self.costs, self.steps, config.probe.reliance_sequences);
        self.budget = Some(budget);
        let mut share = SHARES.map(|s| s * budget);
        if sequences == 0 {
            share = [share[0] + share[1] + share[2], 0.0, 0.0, share[3]];
        }
        let given = like.is_some();
        self.floor = like.unwrap_or_else(|| {
            // Without telemetry nothing says when logits move: then the floor takes all.
            let part = if config.telemetry_every == 0 { 1.0 } else { FLOOR };
            let count = (part * share[0] / costs.probe) as usize;
            let mut times = BTreeSet::from([0]);
            if count > 4 {
                // The first steps move much, and nothing is known of them in time.
                times.insert(DELAY.min(steps));
            }
            times.extend(spread_times(steps, count.max(2) - times.len()));
            times
        });
        let floor = self.floor.len() as f64 * costs.probe;
        self.probes.capacity = if given { 0.0 } else { (share[0] - floor).max(0.0) };
        // What a short run's first and last probe take beyond their share is missing elsewhere.
        let mut over = if given { 0.0 } else { (floor - share[0]).max(0.0) };
        let mut left = |share: f64| {
            let rest = (share - over).max(0.0);
            over = (over - share).max(0.0);
            rest
        };
        let captures = left(share[3]);
        let heads = left(share[2]);
        let halves = left(share[1]);
        self.share_captures(config, captures);
        self.share_reliance(sequences, halves, heads);
    }

    fn share_captures(&mut self, config: &TrainConfig, share: f64) {
        let price = self.costs.capture;
        let stride = [1, 2, 4].into_iter().find(|s| (SETTLING.len() / s) as f64 * price <= share / 3.0);
        self.settle_at = stride.map_or_else(BTreeSet::new, |s| settle_times(self.steps, s));
        let settling = self.settle_at.len() as f64 * price;
        let tail = Lags::new(config).all.len() as f64 * price;
        self.tail = settling + tail <= share;
        self.captures.capacity = share - settling - if self.tail { tail } else { 0.0 };
    }

    fn share_reliance(&mut self, sequences: usize, halves: f64, heads: f64) {
        self.heads_at.clear();
        self.head_sequences = 0;
        if sequences == 0 {
            self.halves.capacity = 0.0;
            return;
        }
        let at = |f: &f64| ((f * f64::from(self.steps)).ceil() as u32).clamp(1, self.steps);
        // The latest of the times: the last one, every second, all.
        for (stride, fewest) in [(1, HEAD_SEQUENCES), (2, HEAD_SEQUENCES), (4, 2)] {
            let times: BTreeSet<u32> = HEADS.iter().rev().step_by(stride).map(at).collect();
            let afford = (heads / (times.len() as f64 * self.costs.heads)) as usize;
            if afford >= fewest.min(sequences) {
                self.heads_at = times;
                self.head_sequences = afford.min(sequences);
                break;
            }
        }
        let count = (halves / self.costs.halves) as usize;
        self.halves_floor = spread_times(self.steps, count.div_ceil(3));
        let floor = self.halves_floor.len() as f64 * self.costs.halves;
        self.halves.capacity = (halves - floor).max(0.0);
    }

    /// What the fixed part costs, in training steps; above the budget only for a run too short for its first and last
    /// probe, or where probe times are given.
    pub fn reserved(&self, lags: usize) -> f64 {
        let c = &self.costs;
        let captures = if self.tail { lags } else { 0 };
        self.floor.len() as f64 * c.probe
            + self.halves_floor.len() as f64 * c.halves
            + (self.heads_at.len() * self.head_sequences) as f64 * c.heads
            + (self.settle_at.len() + captures) as f64 * c.capture
    }
}

fn settle_times(steps: u32, stride: usize) -> BTreeSet<u32> {
    let at = |f: &f64| (f * f64::from(steps)).round() as u32;
    SETTLING.iter().step_by(stride).map(at).filter(|t| *t > 0 && *t < steps).collect()
}

/// At most `count` times up to and with `steps`: going back, gaps of 1/q of the time, q between 2 and [`DENSEST`] and as
/// large as `count` lets it be. Whole numbers only: the same on every machine.
fn spread_times(steps: u32, count: usize) -> BTreeSet<u32> {
    let back =
        |q: u32| std::iter::successors(Some(steps), move |t| Some(t - (t / q).max(1)).filter(|t| *t > 0));
    let dense = (2..=DENSEST).rev().find(|q| back(*q).count() <= count);
    back(dense.unwrap_or(2)).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_are_geometric_and_as_dense_as_they_may_be() {
        let times = |steps, count| spread_times(steps, count).into_iter().collect::<Vec<_>>();
        assert_eq!(times(300, 4), [38, 75, 150, 300]);
        assert_eq!(times(300, 1), [300]);
        assert_eq!(times(300, 0), [0; 0]);
        assert_eq!(times(5, 100), [1, 2, 3, 4, 5]);
        let long = times(10_000, 250);
        assert!(long.len() <= 250 && long.len() > 150, "{}", long.len());
        let widest = long.windows(2).map(|w| w[1] - w[0]).max();
        assert!(widest.is_some_and(|w| w <= 10_000 / DENSEST), "{widest:?}");
        assert_eq!(long[..5], [1, 2, 3, 4, 5]);
    }

    #[test]
    fn pots_open_over_training() {
        let pot = Pot { capacity: 10.0, price: 1.0, ahead: 0.7 };
        assert!(pot.pays(6.0, 1, 0, 100) && !pot.pays(6.5, 1, 0, 100));
        assert!(pot.pays(9.0, 1, 100, 100) && !pot.pays(9.5, 1, 100, 100));
    }
}
