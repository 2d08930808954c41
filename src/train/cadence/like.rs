//! The probe times of another run.

use std::path::Path;

use growthpath_trace::{ProbeRow, Run};

use crate::error::{Error, Result};
use crate::train::config::ProbeTimes;

/// Probe exactly when `run` was probed, and at the end; reliance and captures within `budget`.
///
/// # Errors
/// When `run` cannot be read or holds no probe.
pub fn like(run: &Path, budget: f64) -> Result<ProbeTimes> {
    let trace = Run::open(run)?;
    let columns = trace.read_columns::<ProbeRow>(&["step"], ..)?;
    let mut steps: Vec<u32> = columns.steps;
    steps.dedup();
    if steps.is_empty() {
        return Err(Error::usage(format!(
            "--probe-like {}: the run holds no probe",
            growthpath_trace::shown_path(run)
        )));
    }
    let name = run.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    Ok(ProbeTimes::Like { run: name, steps, budget })
}
