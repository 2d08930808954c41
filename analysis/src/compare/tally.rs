//! Running sums of one layer over aligned cells.

use growthpath_trace::ProbeRow;

use crate::error::Result;
use crate::factors::Factors;
use crate::shapley::split;
use crate::sum::CompensatedSum;

/// Sums over the (probe, head) cells of one layer, or of several once merged.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Shapley parts in the order step size, update geometry, residual energy, coherence, scale.
    pub parts: [CompensatedSum; 5],
    /// Predicted path growth, A and B.
    pub growth: [CompensatedSum; 2],
    /// Predicted path growth, B less A.
    pub gap: CompensatedSum,
    /// Measured growth, A and B.
    pub measured: [CompensatedSum; 2],
    /// `ln(B/A)` of eta, u, e, a^ over the cells in which both arms moved.
    pub logs: [CompensatedSum; 4],
    /// Coherence, B less A, over the same cells.
    pub coherence: CompensatedSum,
    /// Cells of which `logs` and `coherence` are sums.
    pub moved: u64,
    /// All aligned cells.
    pub aligned: u64,
    /// Cells whose factors are undefined in an arm.
    pub undefined: u64,
    /// Cells in which one arm took no step.
    pub still_one: u64,
    /// Cells in which neither did.
    pub still_both: u64,
    /// Cells whose measured growth is undefined in an arm.
    pub unmeasured: u64,
}

/// The factors of a row's interval (5.1); the scale is the predicted spread where the interval begins.
pub(super) fn cell(row: &ProbeRow) -> Factors {
    Factors { eta: row.eta, u: row.u, e: row.e, c: row.c, a_hat: row.a_hat_prev }
}

/// Whether no weight moved in the interval: then u, e and c do not exist, and the growth rate is zero.
fn still(row: &ProbeRow) -> bool {
    row.eta == 0.0 || row.u == 0.0
}

/// Whether the row's growth rate is the product of factors that exist.
fn defined(row: &ProbeRow) -> bool {
    let size = |v: f64| v.is_finite() && v >= 0.0;
    let moved = size(row.u) && size(row.e) && row.c.is_finite();
    size(row.eta)
        && row.g_hat.is_finite()
        && row.a_hat_prev.is_finite()
        && row.a_hat_prev > 0.0
        && if still(row) { row.g_hat == 0.0 } else { moved }
}

impl Tally {
    /// Adds the heads of one layer at one probe, aligned.
    pub fn add(&mut self, a: &[ProbeRow], b: &[ProbeRow]) -> Result<()> {
        let (mut cells_a, mut cells_b) = (Vec::with_capacity(a.len()), Vec::with_capacity(b.len()));
        for (a, b) in a.iter().zip(b) {
            self.aligned += 1;
            self.add_measured(a, b);
            if !(defined(a) && defined(b)) {
                self.undefined += 1;
                continue;
            }
            match (still(a), still(b)) {
                (true, true) => self.still_both += 1,
                (true, false) | (false, true) => self.still_one += 1,
                (false, false) => self.add_ratios(a, b),
            }
            self.growth[0].add(a.g_hat);
            self.growth[1].add(b.g_hat);
            self.gap.add(b.g_hat);
            self.gap.add(-a.g_hat);
            cells_a.push(cell(a));
            cells_b.push(cell(b));
        }
        // Values of coalitions are sums over cells, so the parts of cells add up to the parts of their sum.
        let s = split(&cells_a, &cells_b)?;
        let parts = [s.step_size, s.update_geometry, s.residual_energy, s.coherence, s.scale];
        self.parts.iter_mut().zip(parts).for_each(|(sum, part)| sum.add(part));
        Ok(())
    }

    fn add_measured(&mut self, a: &ProbeRow, b: &ProbeRow) {
        if a.gamma.is_finite() && b.gamma.is_finite() {
            self.measured[0].add(a.gamma);
            self.measured[1].add(b.gamma);
        } else {
            self.unmeasured += 1;
        }
    }

    /// A ratio needs a logarithm: a cell whose update moves no logit (e = 0) has none.
    fn add_ratios(&mut self, a: &ProbeRow, b: &ProbeRow) {
        let of = |r: &ProbeRow| [r.eta, r.u, r.e, r.a_hat_prev].map(f64::ln);
        let (a_logs, b_logs) = (of(a), of(b));
        if a_logs.iter().chain(&b_logs).all(|v| v.is_finite()) {
            self.moved += 1;
            self.logs.iter_mut().zip(b_logs.iter().zip(a_logs)).for_each(|(sum, (b, a))| sum.add(b - a));
            self.coherence.add(b.c - a.c);
        }
    }

    /// Adds another layer's sums.
    pub fn merge(&mut self, other: &Self) {
        let add = |mine: &mut [CompensatedSum], theirs: &[CompensatedSum]| {
            mine.iter_mut().zip(theirs).for_each(|(m, t)| m.add(t.value()));
        };
        add(&mut self.parts, &other.parts);
        add(&mut self.growth, &other.growth);
        add(&mut self.measured, &other.measured);
        add(&mut self.logs, &other.logs);
        self.gap.add(other.gap.value());
        self.coherence.add(other.coherence.value());
        self.moved += other.moved;
        self.aligned += other.aligned;
        self.undefined += other.undefined;
        self.still_one += other.still_one;
        self.still_both += other.still_both;
        self.unmeasured += other.unmeasured;
    }
}
