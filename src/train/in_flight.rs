//! A step under way: what has to be known of it until what it measured is on the host.

use std::time::Instant;

use growthpath_analysis::increment::Increment;

/// What becomes of a step's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telemetry {
    /// They are not taken.
    Off,
    /// They are taken and dropped.
    Measured,
    /// They are taken and recorded in the trace.
    Recorded,
}

/// A step that was started and not yet read.
pub(super) struct InFlightStep {
    pub(super) at: u32,
    pub(super) lr: f64,
    pub(super) qk_multiplier: f64,
    pub(super) qk_lr: Vec<f32>,
    pub(super) telemetry: Telemetry,
    pub(super) started: Instant,
    pub(super) increments: Vec<Increment>,
}
