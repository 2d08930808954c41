//! Times that are known to lie between two steps, and what follows for their difference.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When something happened, as far as a record tells: after `low`, at `high` at the latest. Known to the step where
/// `high` is `low + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bracket {
    /// Last step at which it is known not to have happened; 0 where nothing excludes the start itself.
    pub low: u32,
    /// First step at which it is known to have happened.
    pub high: u32,
}

impl Bracket {
    /// First step at which it may have happened.
    pub fn earliest(&self) -> u32 {
        earliest(self.low).min(self.high)
    }

    /// Whether it is known to the step.
    pub fn is_exact(&self) -> bool {
        self.earliest() == self.high
    }

    /// Whether some step belongs to both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.earliest() <= other.high && other.earliest() <= self.high
    }
}

/// `step 38`, or `steps 30..38`.
impl fmt::Display for Bracket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_exact() {
            write!(f, "step {}", self.high)
        } else {
            write!(f, "steps {}..{}", self.low, self.high)
        }
    }
}

/// First step after `low`; a `low` of 0 may stand for "nothing excludes the start".
fn earliest(low: u32) -> u32 {
    if low == 0 { 0 } else { low.saturating_add(1) }
}

/// A time that a record may leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    /// Last step at which it is known not to have come.
    pub low: u32,
    /// First step at which it is known to have come, if there is one.
    pub high: Option<u32>,
}

impl Time {
    /// The bracket of a time that came.
    pub fn bracket(&self) -> Option<Bracket> {
        self.high.map(|high| Bracket { low: self.low, high })
    }

    /// First step at which it may have come.
    pub fn earliest(&self) -> u32 {
        earliest(self.low)
    }

    /// Whether this time certainly comes before the other.
    pub fn before(&self, other: &Self) -> bool {
        self.high.is_some_and(|high| high <= other.low)
    }

    /// Whether this time certainly comes no later than the other.
    pub fn not_after(&self, other: &Self) -> bool {
        self.high.is_some_and(|high| high <= other.earliest())
    }
}

/// Smallest and largest possible value; infinite (null in JSON) on a side that the record leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Smallest.
    pub low: f64,
    /// Largest.
    pub high: f64,
}

/// `(t_m - t_c) / total` as far as both times are known; `None` where neither came.
pub(super) fn prematurity(commitment: &Time, maturity: &Time, total: u32) -> Option<Interval> {
    if commitment.high.is_none() && maturity.high.is_none() {
        return None;
    }
    let open = |high: Option<u32>| high.map_or(f64::INFINITY, f64::from);
    // Maturity looks back by a lag of at least one step: it never comes at step 0, so `low + 1` is its first.
    let first = f64::from(maturity.low) + 1.0;
    Some(Interval {
        low: (first - open(commitment.high)) / f64::from(total),
        high: (open(maturity.high) - f64::from(commitment.earliest())) / f64::from(total),
    })
}
