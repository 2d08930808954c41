//! Self-checks of a saved trace: every identity and bound that its columns can be held against.

mod heads;
mod probe;
mod tally;
mod writes;

use growthpath_trace::{IntegrityReport, Run, Status};
use serde::Serialize;

pub use tally::{Check, Place};

use crate::error::Result;
use crate::read::grid::Grid;

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Name of the run, as `run.json` has it.
    pub label: String,
    /// How the run stands.
    pub status: Status,
    /// One entry a check, those of one table together.
    pub checks: Vec<Check>,
    /// Tables that could not be read to their end, and why; their checks cover the rows before.
    pub unread: Vec<String>,
    /// Files, hashes, order, gaps.
    pub integrity: IntegrityReport,
}

impl Verification {
    /// Whether the files are sound and no check is violated.
    pub fn ok(&self) -> bool {
        self.integrity.is_ok() && self.unread.is_empty() && self.violations() == 0
    }

    /// Violations of all checks together.
    pub fn violations(&self) -> u64 {
        self.checks.iter().map(|c| c.violations).sum()
    }

    /// A check by name.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|c| c.name == name)
    }
}

/// Checks a whole trace in bounded memory: each table is read once, and once more for its integrity.
///
/// Violated checks and damaged files are findings, not errors. Rows whose columns are undefined (NaN)
/// are counted as skipped; NaN where there may be none is a finding of the integrity check.
///
/// # Errors
/// [`crate::AnalysisError::Geometry`] when `run.json` claims a model too large to be true.
pub fn verify(run: &Run) -> Result<Verification> {
    let grid = Grid::of(run)?;
    let integrity = run.check_integrity();
    let mut checks = Vec::new();
    let mut unread = Vec::new();
    let tables = [
        heads::check(run, grid),
        writes::check_steps(run),
        writes::check_writes(run, grid),
        probe::check_heads(run, grid),
        probe::check_layers(run),
        probe::check_maturity(run),
        writes::check_shares(run, grid),
    ];
    for (found, read) in tables {
        checks.extend(found);
        if let Err(error) = read {
            unread.push(error.to_string());
        }
    }
    Ok(Verification { label: run.info().label.clone(), status: run.info().status, checks, unread, integrity })
}
