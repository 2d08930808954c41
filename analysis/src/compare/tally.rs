//! Running sums of one layer, or of several once merged, over the intervals that two runs share.

use growthpath_trace::ProbeRow;

use crate::paths::{GrowthPath, PathCell, PathSplit};
use crate::recorded as interval;
use crate::sum::CompensatedSum;

/// One head followed through both runs.
#[derive(Debug, Clone)]
pub(super) struct HeadPair {
    /// The recursion; none once a cell of either run was undefined.
    path: Option<GrowthPath>,
    sums: Sums,
}

/// Sums over the intervals of one head, and over heads once merged.
#[derive(Debug, Clone, Default)]
struct Sums {
    /// Measured growth and its parts query, key, features, run by run.
    measured: [[CompensatedSum; 4]; 2],
    /// `ln(B/A)` of eta, u, e over the cells in which both runs moved.
    logs: [CompensatedSum; 3],
    /// Coherence c0, B less A, over the same cells.
    coherence: CompensatedSum,
    counts: Counts,
}

/// What became of the cells.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub aligned: u64,
    pub undefined_heads: u64,
    pub still_one: u64,
    pub still_both: u64,
    pub moved: u64,
    pub unmeasured: u64,
    pub long: u64,
}

impl HeadPair {
    /// A pair whose first shared interval starts with these rows.
    pub fn new(a: &ProbeRow, b: &ProbeRow) -> Self {
        Self { path: GrowthPath::new(a.a_hat_prev, b.a_hat_prev), sums: Sums::default() }
    }

    /// A piece of an interval, the same steps in both runs.
    pub fn advance(&mut self, a: &PathCell, b: &PathCell) {
        self.sums.count(a, b);
        if !(a.is_defined() && b.is_defined()) {
            self.path = None;
        }
        if let Some(path) = &mut self.path {
            path.advance(a, b);
        }
    }

    /// A whole measured interval of run A (0) or B (1).
    pub fn measure(&mut self, run: usize, row: &ProbeRow) {
        match interval::parts(row) {
            Some(parts) => {
                let terms = [row.gamma, parts.query, parts.key, parts.features];
                self.sums.measured[run].iter_mut().zip(terms).for_each(|(sum, term)| sum.add(term));
            }
            None => self.sums.counts.unmeasured += 1,
        }
        self.sums.counts.long += u64::from(interval::is_long(row));
    }
}

impl Sums {
    fn count(&mut self, a: &PathCell, b: &PathCell) {
        self.counts.aligned += 1;
        match (a.is_still(), b.is_still()) {
            (true, true) => self.counts.still_both += 1,
            (true, false) | (false, true) => self.counts.still_one += 1,
            (false, false) => self.add_ratios(a, b),
        }
    }

    /// A ratio needs a logarithm: a cell whose update moves no logit (e = 0) has none.
    fn add_ratios(&mut self, a: &PathCell, b: &PathCell) {
        let of = |c: &PathCell| [c.eta, c.u, c.e].map(f64::ln);
        let (a_logs, b_logs) = (of(a), of(b));
        if a_logs.iter().chain(&b_logs).all(|v| v.is_finite()) {
            self.counts.moved += 1;
            self.logs.iter_mut().zip(b_logs.iter().zip(a_logs)).for_each(|(sum, (b, a))| sum.add(b - a));
            self.coherence.add(b.c0 - a.c0);
        }
    }
}

/// A group of heads.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Sum over heads of the split (5.4): the six parts, then the growth of A and of B.
    split: [CompensatedSum; 8],
    /// Heads in `split`.
    pub split_heads: u64,
    sums: Sums,
    /// All heads.
    pub heads: u64,
}

impl Tally {
    /// Adds a head that was followed to the end of the window.
    pub fn add(&mut self, head: &HeadPair) {
        self.heads += 1;
        match &head.path {
            Some(path) => {
                let split = path.split();
                let terms = split.parts().into_iter().chain([split.growth_a, split.growth_b]);
                self.split.iter_mut().zip(terms).for_each(|(sum, term)| sum.add(term));
                self.split_heads += 1;
            }
            None => self.sums.counts.undefined_heads += 1,
        }
        let (mine, theirs) = (&mut self.sums, &head.sums);
        for (m, t) in mine.measured.as_flattened_mut().iter_mut().zip(theirs.measured.as_flattened()) {
            m.add(t.value());
        }
        mine.logs.iter_mut().zip(&theirs.logs).for_each(|(m, t)| m.add(t.value()));
        mine.coherence.add(theirs.coherence.value());
        let (m, t) = (&mut mine.counts, &theirs.counts);
        m.aligned += t.aligned;
        m.still_one += t.still_one;
        m.still_both += t.still_both;
        m.moved += t.moved;
        m.unmeasured += t.unmeasured;
        m.long += t.long;
    }

    /// Mean over the heads whose path is defined.
    pub fn split(&self) -> PathSplit {
        let mean = |i: usize| self.split[i].value() / self.split_heads as f64;
        PathSplit {
            step_size: mean(0),
            update_geometry: mean(1),
            residual_energy: mean(2),
            coherence: mean(3),
            features: mean(4),
            start: mean(5),
            growth_a: mean(6),
            growth_b: mean(7),
        }
    }

    /// Measured growth of a run and its parts query, key, features, mean over heads.
    pub fn measured(&self, run: usize) -> [f64; 4] {
        std::array::from_fn(|i| self.sums.measured[run][i].value() / self.heads as f64)
    }

    /// Mean `ln(B/A)` of eta, u, e, and mean of `c0_B - c0_A`; NaN without cells.
    pub fn ratios(&self) -> ([f64; 3], f64) {
        let moved = self.sums.counts.moved as f64;
        (std::array::from_fn(|i| self.sums.logs[i].value() / moved), self.sums.coherence.value() / moved)
    }

    pub fn counts(&self) -> Counts {
        self.sums.counts
    }
}
