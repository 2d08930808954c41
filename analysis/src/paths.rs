//! Arm against arm (5.4): the difference in predicted growth split over the six paths that lead to it.
//!
//! The predicted spread obeys an exact recursion, in the metric at the start of every interval:
//!
//! `a_{n+1}^2 = (a_n^2 + 2 a_n (eta u e) c0 + (eta u e)^2) exp(2 R_n)`
//!
//! where the bracket is `|M'|^2` in the old metric and `R_n` what the features then did. Six things decide where it
//! ends: the paths of eta, u, e, c0 and R, and the spread that it starts from. Taking each from either arm gives
//! 2^6 coalitions; the Shapley values of the six add up to the gap in predicted log growth. The spread is state, not
//! a factor: it follows from the six.

use serde::{Deserialize, Serialize};

/// What moved one head's predicted spread over one probe interval (5.4).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PathCell {
    /// Step size, summed over the interval.
    pub eta: f64,
    /// Update geometry.
    pub u: f64,
    /// Residual energy in the metric of the start.
    pub e: f64,
    /// Coherence of dM with M in the metric of the start.
    pub c0: f64,
    /// R: log growth by the features under the new weights.
    pub features: f64,
}

impl PathCell {
    /// Whether no weight moved: then u, e and c0 do not exist. Weights that moved without a step size have an
    /// infinite u, of which the factors cannot say where it leads.
    pub fn is_still(&self) -> bool {
        self.u == 0.0 || (self.eta == 0.0 && !self.u.is_infinite())
    }

    /// Whether the cell says where the spread goes: what exists is finite.
    pub fn is_defined(&self) -> bool {
        let size = |v: f64| v.is_finite() && v >= 0.0;
        let moved = size(self.u) && size(self.e) && self.c0.is_finite();
        size(self.eta) && self.features.is_finite() && (self.is_still() || moved)
    }

    /// The spread at the interval's end when it starts from `ln a = log`.
    pub(crate) fn advance(&self, log: f64) -> f64 {
        let x = self.eta * self.u * self.e / log.exp();
        // Exactly opposed steps can end at zero; a hair of it keeps the logarithm finite.
        let grown = (2.0 * x * self.c0 + x * x).max(-1.0 + f64::EPSILON);
        log + 0.5 * grown.ln_1p() + self.features
    }

    /// The spread at the interval's end when it starts from `a`.
    pub fn reached(&self, a: f64) -> f64 {
        self.advance(a.ln()).exp()
    }

    /// The same interval cut in two after a fraction of it, for an arm whose predicted spread at the start is `a`:
    /// M moves along a straight line and the features act evenly. Following both parts ends where the whole does.
    pub fn cut(&self, fraction: f64, a: f64) -> [Self; 2] {
        let rest = 1.0 - fraction;
        if self.is_still() {
            let part = |f: f64| Self { eta: f * self.eta, features: f * self.features, ..*self };
            return [part(fraction), part(rest)];
        }
        let step = self.eta * self.u * self.e;
        let walked = fraction * step;
        let reached = (a * a + 2.0 * a * walked * self.c0 + walked * walked).max(0.0).sqrt();
        let coherence = if reached > 0.0 { (a * self.c0 + walked) / reached } else { 1.0 };
        let first = Self { eta: fraction * self.eta, features: fraction * self.features, ..*self };
        let second = Self {
            eta: rest * self.eta,
            // The features of the first part have scaled the metric by then.
            e: self.e * (fraction * self.features).exp(),
            c0: coherence.clamp(-1.0, 1.0),
            features: rest * self.features,
            ..*self
        };
        [first, second]
    }
}

/// Number of paths.
const PATHS: usize = 6;
const COALITIONS: usize = 1 << PATHS;

/// The gap in predicted log growth between two arms, and the Shapley values of the six paths that add up to it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PathSplit {
    /// Part of the step sizes, eta.
    pub step_size: f64,
    /// Part of the update geometry, u.
    pub update_geometry: f64,
    /// Part of the residual energy, e.
    pub residual_energy: f64,
    /// Part of the coherence, c0.
    pub coherence: f64,
    /// Part of the features, R.
    pub features: f64,
    /// Part of the spread that the paths start from.
    pub start: f64,
    /// Predicted log growth of arm A.
    pub growth_a: f64,
    /// Predicted log growth of arm B.
    pub growth_b: f64,
}

impl PathSplit {
    /// `growth_b - growth_a`: what the six parts add up to.
    pub fn gap(&self) -> f64 {
        self.growth_b - self.growth_a
    }

    /// The six parts in the order eta, u, e, c0, features, start.
    pub fn parts(&self) -> [f64; PATHS] {
        [
            self.step_size,
            self.update_geometry,
            self.residual_energy,
            self.coherence,
            self.features,
            self.start,
        ]
    }
}

/// The paths of one head in two arms, followed side by side interval by interval.
#[derive(Debug, Clone)]
pub struct GrowthPath {
    /// `ln a` of every coalition: bit p says that path p is arm B's.
    logs: [f64; COALITIONS],
    starts: [f64; 2],
}

const START: usize = 5;

impl GrowthPath {
    /// Paths that start from the predicted spreads `a` and `b`; `None` unless both are positive and finite.
    pub fn new(a: f64, b: f64) -> Option<Self> {
        let starts = [a.ln(), b.ln()];
        let log = |coalition: usize| starts[coalition >> START & 1];
        starts.iter().all(|s| s.is_finite()).then(|| Self { logs: std::array::from_fn(log), starts })
    }

    /// Predicted log spread that arm A's, and arm B's, own paths have reached.
    pub fn reached(&self) -> [f64; 2] {
        [self.logs[0], self.logs[COALITIONS - 1]]
    }

    /// One interval further, the same one in both arms.
    ///
    /// Where an arm took no step its u, e and c0 do not exist. They are taken from the other arm, so that the
    /// difference goes to what did exist: the step size (or the update geometry, where a step was due and nothing
    /// moved).
    pub fn advance(&mut self, a: &PathCell, b: &PathCell) {
        let (a, b) = (completed(a, b), completed(b, a));
        for (coalition, log) in self.logs.iter_mut().enumerate() {
            let pick =
                |path: usize, of: fn(&PathCell) -> f64| of(if coalition >> path & 1 == 1 { &b } else { &a });
            *log = PathCell {
                eta: pick(0, |c| c.eta),
                u: pick(1, |c| c.u),
                e: pick(2, |c| c.e),
                c0: pick(3, |c| c.c0),
                features: pick(4, |c| c.features),
            }
            .advance(*log);
        }
    }

    /// The split of the gap so far.
    pub fn split(&self) -> PathSplit {
        let growth: [f64; COALITIONS] =
            std::array::from_fn(|coalition| self.logs[coalition] - self.starts[coalition >> START & 1]);
        let [step_size, update_geometry, residual_energy, coherence, features, start] =
            std::array::from_fn(|path| shapley_value(&growth, path));
        PathSplit {
            step_size,
            update_geometry,
            residual_energy,
            coherence,
            features,
            start,
            growth_a: growth[0],
            growth_b: growth[COALITIONS - 1],
        }
    }
}

/// The cell with what it lacks taken from the other arm's.
fn completed(own: &PathCell, other: &PathCell) -> PathCell {
    // Without a step size u is undefined; with one and no weight change it is zero.
    let u = match (own.eta == 0.0, other.eta == 0.0) {
        (true, true) => 0.0,
        (true, false) => other.u,
        (false, _) => own.u,
    };
    let (e, c0) = match (own.is_still(), other.is_still()) {
        (true, true) => (0.0, 0.0),
        (true, false) => (other.e, other.c0),
        (false, _) => (own.e, own.c0),
    };
    PathCell { u, e, c0, ..*own }
}

/// Mean marginal contribution of one path over all orders in which arm B's paths replace A's.
fn shapley_value(values: &[f64; COALITIONS], path: usize) -> f64 {
    // |S|! (n-1-|S|)! / n! for n = 6 and coalitions S without the path.
    const WEIGHTS: [f64; PATHS] =
        [120.0 / 720.0, 24.0 / 720.0, 12.0 / 720.0, 12.0 / 720.0, 24.0 / 720.0, 120.0 / 720.0];
    (0..COALITIONS)
        .filter(|coalition| coalition >> path & 1 == 0)
        .map(|coalition| {
            WEIGHTS[coalition.count_ones() as usize] * (values[coalition | 1 << path] - values[coalition])
        })
        .sum()
}
