//! When to measure: probes where logits move (3.3), reliance where attention sharpens, all within a budget.
//!
//! Decisions rest on recorded float32 numbers, on operation counts from the shapes and on the configuration, never on
//! the clock: a seed gives the same times again. At the boundary after `done` steps, rows of steps up to `done - 2`
//! count: on a device those of step `done - 1` are still on their way, and the host waits as long so that both decide
//! by one rule.

pub mod like;
mod plan;
mod signal;

use std::collections::VecDeque;

use growthpath_trace::HeadRow;
use serde::{Deserialize, Serialize};

use plan::DELAY;
pub use plan::Plan;
use signal::{Seen, Signal};

use super::config::{ProbeTimes, TrainConfig};
use super::lags::Lags;

/// Deviations of a batch that a movement must exceed the threshold by.
const SIGMAS: f64 = 2.0;

/// What the ln spread of a run's most restless layers moves in all, as far as anything can be said before: a budget for
/// N probes spreads them over it, at no less than the threshold. Pilot: 8.3 at micro, 300 steps.
const MOVEMENT: f64 = 8.0;

/// Sharpness of the upper half from which reliance is followed, and the factor between measurements. The default
/// threshold of commitment, 0.05, lies between the second and the third.
const SHARP: f64 = 0.02;
const SHARPER: f64 = 1.6;

/// Version of the rule by which times are chosen, recorded in `run.json`: `verify` takes the decisions again from the
/// recorded rows only where its own rule was followed. To be raised with every change of what is decided.
pub const RULE: u32 = 1;

/// Key in `extra` of `run.json` under which a run says by which rule it chose its times.
pub const RULE_KEY: &str = "cadence_rule";

/// What is due at a boundary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Due {
    /// A probe.
    pub probe: bool,
    /// Reliance of the halves.
    pub halves: bool,
    /// Reliance of heads and layers, on so many sequences; 0 = not now.
    pub head_sequences: usize,
}

impl Due {
    /// Whether reliance is measured.
    pub fn reliance(&self) -> bool {
        self.halves || self.head_sequences > 0
    }
}

/// Training steps' worth of arithmetic spent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Probes.
    pub probes: f64,
    /// Captures of the key moments.
    pub captures: f64,
    /// Reliance.
    pub reliance: f64,
}

impl Spent {
    /// In all.
    pub fn total(&self) -> f64 {
        self.probes + self.captures + self.reliance
    }
}

/// What a checkpoint keeps of a [`Cadence`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CadenceState {
    /// Recorded steps not yet looked at.
    waiting: VecDeque<Seen>,
    signal: Signal,
    last_probe: Option<u32>,
    last_halves: Option<u32>,
    /// Sharpness at which the halves are measured next.
    sharp: Option<f64>,
    /// Paid from the pots that are not reserved.
    paid_probes: f64,
    paid_halves: f64,
    paid_captures: f64,
    /// Everything, reserved or not.
    pub spent: Spent,
}

/// Decides at every boundary.
#[derive(Debug, Clone)]
pub struct Cadence {
    times: ProbeTimes,
    layers: usize,
    lags: Lags,
    reliance: bool,
    plan: Plan,
    /// What changes; part of a checkpoint.
    pub state: CadenceState,
}

impl Cadence {
    /// Before the first step.
    pub fn new(config: &TrainConfig) -> Self {
        Self {
            times: config.probe.times.clone(),
            layers: config.model.layers,
            lags: Lags::new(config),
            reliance: config.probe.reliance_sequences > 0,
            plan: Plan::new(config),
            state: CadenceState::default(),
        }
    }

    /// The fixed part.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A step's rows were recorded.
    pub fn observe(&mut self, step: u32, rows: &[HeadRow]) {
        if matches!(self.times, ProbeTimes::Auto { .. } | ProbeTimes::Like { .. }) {
            self.state.waiting.push_back(Seen::new(step, rows, self.layers));
        }
    }

    /// What is due when `done` steps are done; asked once at every boundary, in order.
    pub fn decide(&mut self, done: u32) -> Due {
        while self.state.waiting.front().is_some_and(|s| s.step + DELAY <= done) {
            if let Some(seen) = self.state.waiting.pop_front() {
                self.state.signal.push(&seen);
            }
        }
        let probe = self.probe_due(done);
        if probe {
            self.state.signal.mark();
            self.state.spent.probes += self.plan.costs.probe;
        }
        let heads = self.heads_due(done, probe);
        let halves = self.halves_due(done, probe);
        if halves {
            self.state.last_halves = Some(done);
            self.state.spent.reliance += self.plan.costs.halves;
        }
        let head_sequences = if heads { self.plan.head_sequences } else { 0 };
        self.state.spent.reliance += head_sequences as f64 * self.plan.costs.heads;
        if probe {
            self.state.last_probe = Some(done);
        }
        Due { probe, halves, head_sequences }
    }

    fn probe_due(&mut self, done: u32) -> bool {
        let steps = self.plan.steps;
        match self.times {
            ProbeTimes::Never => false,
            ProbeTimes::Every { steps: every } => {
                done.is_multiple_of(every) || done.is_power_of_two() || done == steps
            }
            ProbeTimes::Like { .. } => self.plan.floor.contains(&done),
            ProbeTimes::Auto { threshold, .. } => {
                if self.plan.floor.contains(&done) {
                    return true;
                }
                let due = self.moved(threshold, done) || self.late(done);
                if due {
                    self.state.paid_probes += self.plan.probes.price;
                }
                due
            }
        }
    }

    /// What may be spent on probes until `done` steps are done: their own pot, and of what reliance and captures have
    /// left a part that grows to all of it at the end.
    fn probes_allowed(&self, done: u32) -> f64 {
        let part = f64::from(done) / f64::from(self.plan.steps);
        self.plan.probes.allowed(done, self.plan.steps) + part * self.reserve()
    }

    /// What reliance and captures have not spent of their pots.
    fn reserve(&self) -> f64 {
        let (p, s) = (&self.plan, &self.state);
        p.halves.capacity - s.paid_halves + p.captures.capacity - s.paid_captures
    }

    /// What probes have taken of that.
    fn lent(&self) -> f64 {
        (self.state.paid_probes - self.plan.probes.capacity).max(0.0)
    }

    /// Whether some layer's logits have moved enough for a probe, and it can be paid.
    fn moved(&self, threshold: f64, done: u32) -> bool {
        let (pot, paid, allowed) = (&self.plan.probes, self.state.paid_probes, self.probes_allowed(done));
        let even = threshold.max(MOVEMENT * pot.price / pot.capacity.max(f64::MIN_POSITIVE));
        // From half empty on, the emptier the pot, the larger the movement that opens it.
        let raised = even * (0.5 * allowed / (allowed - paid).max(f64::MIN_POSITIVE)).max(1.0);
        self.state.signal.movement(SIGMAS) > raised && paid + pot.price <= allowed
    }

    /// Whether the last probe is so long ago that what is left pays for going on at this distance: weights and features
    /// also move where the logits, their product, stand still. A part that grows with time is spent so, the rest waits
    /// for movement. Like the floor's, these gaps are no denser than a part of the steps done, so that a long run that
    /// has settled does not spend what it has for nothing.
    fn late(&self, done: u32) -> bool {
        let (price, allowed) = (self.plan.probes.price, self.probes_allowed(done));
        let left = ((allowed - self.state.paid_probes) / price).floor();
        let part = f64::from(done) / f64::from(self.plan.steps);
        let gap = f64::from(self.plan.steps - done) / (left * part.sqrt() + 1.0);
        let gap = gap.max(f64::from(done / plan::DENSEST));
        let since = f64::from(done - self.state.last_probe.unwrap_or(0));
        let next = self.plan.floor.range(done..).next().map_or(self.plan.steps, |t| *t);
        left >= 1.0 && since >= gap && f64::from(next - done) >= 0.5 * gap
    }

    /// Heads and layers: at their times, or where times are fixed at the first probe after them.
    fn heads_due(&self, done: u32, probe: bool) -> bool {
        let since = self.state.last_probe.map_or(0, |p| p + 1);
        match self.times {
            ProbeTimes::Every { .. } => probe && self.plan.heads_at.range(since..=done).next().is_some(),
            ProbeTimes::Never => false,
            ProbeTimes::Auto { .. } | ProbeTimes::Like { .. } => self.plan.heads_at.contains(&done),
        }
    }

    fn halves_due(&mut self, done: u32, probe: bool) -> bool {
        let steps = self.plan.steps;
        if !self.reliance {
            return false;
        }
        match self.times {
            ProbeTimes::Never => false,
            // At the first probe a quarter later than the last measurement, fifty times in all at least.
            ProbeTimes::Every { .. } => {
                let next = self.state.last_halves.map_or(0, |p| p + (p / 4).min(steps / 50).max(1));
                probe && (done >= next || done == steps)
            }
            ProbeTimes::Auto { .. } | ProbeTimes::Like { .. } => {
                let level = self.state.sharp.unwrap_or(SHARP);
                let sharp = self.state.signal.sharpness().filter(|s| *s >= level);
                if self.plan.halves_floor.contains(&done) {
                    self.state.sharp = sharp.map(|s| s * SHARPER).or(self.state.sharp);
                    return true;
                }
                let Some(s) = sharp else { return false };
                let price = self.plan.halves.price;
                let pays = self.plan.halves.pays(self.state.paid_halves, 1, done, steps)
                    && price <= self.reserve() - self.lent();
                if pays {
                    self.state.paid_halves += price;
                    self.state.sharp = Some(s * SHARPER);
                }
                pays
            }
        }
    }

    /// Whether `count` more captures of the key moments can be paid; if so, they are.
    pub fn pay_captures(&mut self, count: u32, done: u32) -> bool {
        let pays = self.plan.captures.pays(self.state.paid_captures, count, done, self.plan.steps)
            && f64::from(count) * self.plan.captures.price <= self.reserve() - self.lent();
        if pays {
            self.state.paid_captures += f64::from(count) * self.plan.captures.price;
        }
        pays
    }

    /// A capture was taken.
    pub fn captured(&mut self) {
        self.state.spent.captures += self.plan.costs.capture;
    }

    /// What the run may spend at most, in training steps; none where probe times were given.
    pub fn limit(&self) -> Option<f64> {
        self.plan.budget.map(|b| b.max(self.plan.reserved(self.lags.all.len())))
    }
}

#[cfg(test)]
pub(super) mod tests;
