//! The two runs of a comparison and the steps that they have in common.

use serde::Serialize;

/// Two values of the same thing, arm A's and arm B's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Both<T> {
    /// Of the first run.
    pub a: T,
    /// Of the second run.
    pub b: T,
}

/// The window of steps that was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ComparedSteps {
    /// State (steps done) at which the first compared interval begins.
    pub first: u32,
    /// State (steps done) at which the last compared interval ends.
    pub last: u32,
    /// Intervals compared: between neighbouring probes of either run.
    pub intervals: usize,
    /// Of these, pieces of a longer interval of one run, cut where the other was probed.
    pub interpolated: usize,
}
