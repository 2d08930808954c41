//! The numbers of one group of layers.

use serde::Serialize;

use super::tally::Tally;

/// The gap in predicted growth split over the six paths of (5.4) by Shapley values; averaged over heads, like
/// the gap. The six parts and the residual add up to the predicted gap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ShapleyParts {
    /// Part of the step size eta: schedule and intervention.
    pub step_size: f64,
    /// Part of the update geometry u: optimizer and gradient coherence.
    pub update_geometry: f64,
    /// Part of the residual energy e: what the stream lets an update do.
    pub residual_energy: f64,
    /// Part of the coherence c0 of the update with the map that is there.
    pub coherence: f64,
    /// Part of what the features did by themselves, R.
    pub features: f64,
    /// Part of the spread that the window starts from.
    pub start: f64,
    /// What rounding leaves.
    pub residual: f64,
}

impl ShapleyParts {
    /// The parts by name, the largest first; undefined ones last.
    pub fn levers(&self) -> [(&'static str, f64); 6] {
        let mut levers = [
            ("starting spread", self.start),
            ("step size", self.step_size),
            ("update geometry", self.update_geometry),
            ("residual energy", self.residual_energy),
            ("coherence", self.coherence),
            ("features", self.features),
        ];
        let size = |v: f64| if v.is_finite() { v.abs() } else { -1.0 };
        levers.sort_by(|a, b| size(b.1).total_cmp(&size(a.1)));
        levers
    }
}

/// Measured parts of a growth, or of a gap between two, in units of ln (3.1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeasuredParts {
    /// All together.
    pub growth: f64,
    /// Part of the query weights.
    pub query: f64,
    /// Part of the key weights.
    pub key: f64,
    /// Part of the features.
    pub features: f64,
}

/// What became of the (interval, layer, head) cells that both runs have. Where probe times differ, an interval is
/// counted in the pieces that both runs share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CellCounts {
    /// Cells that both runs have.
    pub aligned: u64,
    /// Heads left out of the split: some factor of theirs is undefined in either run.
    pub undefined_heads: u64,
    /// Cells in which one run took no step: the difference goes to the step size (or to the update geometry where
    /// a step was due and nothing moved).
    pub still_in_one: u64,
    /// Cells in which neither run took a step.
    pub still_in_both: u64,
    /// Cells over which the ratios are taken: both runs moved and moved the logits.
    pub in_ratios: u64,
    /// Intervals with undefined measured growth in either run; they add nothing to its measured growth.
    pub unmeasured: u64,
    /// Intervals of either run with a log growth beyond one: too long for their split to be trusted (3.3).
    pub long: u64,
}

/// Arm against arm for one group of layers. Growths are natural logarithms, averaged over the group's heads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GroupComparison {
    /// Measured growth of A and its parts.
    pub measured_a: MeasuredParts,
    /// Measured growth of B and its parts.
    pub measured_b: MeasuredParts,
    /// `measured_b.growth - measured_a.growth`.
    pub measured_gap: f64,
    /// The same, part by part.
    pub measured_gap_parts: MeasuredParts,
    /// Predicted growth `ln(a^'/a^)` of A.
    pub predicted_a: f64,
    /// Predicted growth of B.
    pub predicted_b: f64,
    /// `predicted_b - predicted_a`: what the Shapley values add up to.
    pub predicted_gap: f64,
    /// `predicted_gap` by path.
    pub shapley: ShapleyParts,
    /// Geometric mean over cells of the step-size term `(eta u)_b / (eta u)_a`; NaN without cells, as the
    /// ratios below.
    pub step_size_ratio: f64,
    /// Geometric mean of `eta_b / eta_a`.
    pub learning_rate_ratio: f64,
    /// Geometric mean of `u_b / u_a`.
    pub update_geometry_ratio: f64,
    /// Geometric mean of `e_b / e_a`.
    pub residual_energy_ratio: f64,
    /// Mean of `c0_b - c0_a`.
    pub coherence_difference: f64,
    /// Cells behind these numbers.
    pub cells: CellCounts,
}

impl MeasuredParts {
    fn new([growth, query, key, features]: [f64; 4]) -> Self {
        Self { growth, query, key, features }
    }

    fn less(&self, other: &Self) -> Self {
        Self {
            growth: self.growth - other.growth,
            query: self.query - other.query,
            key: self.key - other.key,
            features: self.features - other.features,
        }
    }
}

impl GroupComparison {
    /// The means of a tally over its heads.
    pub(super) fn new(tally: &Tally) -> Self {
        let split = tally.split();
        let [measured_a, measured_b] = [0, 1].map(|run| MeasuredParts::new(tally.measured(run)));
        let gap_parts = measured_b.less(&measured_a);
        let ([eta, u, e], coherence_difference) = tally.ratios();
        let c = tally.counts();
        Self {
            measured_a,
            measured_b,
            measured_gap: gap_parts.growth,
            measured_gap_parts: gap_parts,
            predicted_a: split.growth_a,
            predicted_b: split.growth_b,
            predicted_gap: split.gap(),
            shapley: ShapleyParts {
                step_size: split.step_size,
                update_geometry: split.update_geometry,
                residual_energy: split.residual_energy,
                coherence: split.coherence,
                features: split.features,
                start: split.start,
                residual: split.gap() - split.parts().iter().sum::<f64>(),
            },
            step_size_ratio: (eta + u).exp(),
            learning_rate_ratio: eta.exp(),
            update_geometry_ratio: u.exp(),
            residual_energy_ratio: e.exp(),
            coherence_difference,
            cells: CellCounts {
                aligned: c.aligned,
                undefined_heads: c.undefined_heads,
                still_in_one: c.still_one,
                still_in_both: c.still_both,
                in_ratios: c.moved,
                unmeasured: c.unmeasured,
                long: c.long,
            },
        }
    }
}
