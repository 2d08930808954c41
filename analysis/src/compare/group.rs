//! The numbers of one group of layers.

use serde::Serialize;

use super::tally::Tally;

/// The gap in path growth split over the factors of (5.1) by Shapley values (5.4); averaged over heads, like
/// the gap. The five parts and the residual add up to the gap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ShapleyParts {
    /// Part of the step size eta: schedule and intervention.
    pub step_size: f64,
    /// Part of the update geometry u: optimizer and gradient coherence.
    pub update_geometry: f64,
    /// Part of the residual energy e: what the stream lets an update do.
    pub residual_energy: f64,
    /// Part of the coherence c of the update with the map that is there.
    pub coherence: f64,
    /// Part of the scale `1/a^`: history.
    pub scale: f64,
    /// What rounding leaves; larger only when recorded rates are not the product of recorded factors.
    pub residual: f64,
}

/// What became of the aligned (probe, layer, head) cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CellCounts {
    /// Cells that both runs have.
    pub aligned: u64,
    /// Cells with undefined factors in either run; they add nothing to either run's path growth.
    pub undefined: u64,
    /// Cells in which one run took no step: its path growth there is zero, and the difference goes to the
    /// step size (or to the update geometry where a step was due and nothing moved).
    pub still_in_one: u64,
    /// Cells in which neither run took a step; they add nothing.
    pub still_in_both: u64,
    /// Cells over which the ratios are taken: both runs moved and moved the logits.
    pub in_ratios: u64,
    /// Cells with undefined measured growth in either run; they add nothing to either's measured growth.
    pub unmeasured: u64,
}

/// Arm against arm for one group of layers. Growths are natural logarithms, averaged over the group's heads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GroupComparison {
    /// Predicted path growth `sum_t g^` of A.
    pub growth_a: f64,
    /// Predicted path growth `sum_t g^` of B.
    pub growth_b: f64,
    /// `growth_b - growth_a`.
    pub gap: f64,
    /// Measured growth of A: the sum of Gamma, all paths together.
    pub measured_growth_a: f64,
    /// Measured growth of B.
    pub measured_growth_b: f64,
    /// `measured_growth_b - measured_growth_a`.
    pub measured_gap: f64,
    /// `gap` by factor.
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
    /// Mean of `c_b - c_a`.
    pub coherence_difference: f64,
    /// Geometric mean of `a^_b / a^_a`.
    pub scale_ratio: f64,
    /// Cells behind these numbers.
    pub cells: CellCounts,
}

impl GroupComparison {
    /// Averages a tally over `heads`: heads a layer times layers.
    pub(super) fn new(tally: &Tally, heads: usize) -> Self {
        let mean = |sum: &crate::sum::CompensatedSum| sum.value() / heads as f64;
        let [growth_a, growth_b] = [0, 1].map(|i| mean(&tally.growth[i]));
        let [measured_a, measured_b] = [0, 1].map(|i| mean(&tally.measured[i]));
        let parts = [0, 1, 2, 3, 4].map(|i| mean(&tally.parts[i]));
        let gap = mean(&tally.gap);
        let [step_size, update_geometry, residual_energy, coherence, scale] = parts;
        let moved = tally.moved as f64;
        let [eta, u, e, a] = [0, 1, 2, 3].map(|i| tally.logs[i].value() / moved);
        Self {
            growth_a,
            growth_b,
            gap,
            measured_growth_a: measured_a,
            measured_growth_b: measured_b,
            measured_gap: measured_b - measured_a,
            shapley: ShapleyParts {
                step_size,
                update_geometry,
                residual_energy,
                coherence,
                scale,
                residual: gap - parts.iter().sum::<f64>(),
            },
            step_size_ratio: (eta + u).exp(),
            learning_rate_ratio: eta.exp(),
            update_geometry_ratio: u.exp(),
            residual_energy_ratio: e.exp(),
            coherence_difference: tally.coherence.value() / moved,
            scale_ratio: a.exp(),
            cells: CellCounts {
                aligned: tally.aligned,
                undefined: tally.undefined,
                still_in_one: tally.still_one,
                still_in_both: tally.still_both,
                in_ratios: tally.moved,
                unmeasured: tally.unmeasured,
            },
        }
    }
}
