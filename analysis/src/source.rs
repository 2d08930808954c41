//! Where attention was read.

use serde::Serialize;

/// Where attention was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionSource {
    /// The telemetry of the training batches (table `heads`), at every recorded step.
    Telemetry,
    /// The probe batch (table `probe`), at every probe: the run has no such telemetry.
    #[default]
    Probe,
}
