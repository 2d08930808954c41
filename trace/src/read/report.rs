//! What an examination of a run reports.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::table::Table;

/// The kind of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A part is missing, or is not what the manifest lists, or cannot be decoded.
    Damaged,
    /// Rows out of key order.
    Unsorted,
    /// A key that comes twice.
    Duplicate,
    /// Steps, layers or heads that are missing.
    Gap,
    /// A layer, head or site that the model does not have.
    OutOfRange,
    /// NaN or infinity where there may be none.
    NotFinite,
    /// Further problems of a table that are not told one by one.
    More,
}

/// One thing wrong with a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, relative to the run directory.
    pub file: String,
    /// Its kind.
    pub kind: ProblemKind,
    /// What is wrong.
    pub message: String,
}

/// What an examination found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntegrityReport {
    /// Parts examined.
    pub parts: usize,
    /// Readable rows of each table that has any.
    pub rows: BTreeMap<Table, u64>,
    /// Everything wrong.
    pub problems: Vec<Problem>,
    /// Leftovers of a crash that belong to no manifest: ignored by readers, removed by the next writer.
    pub strays: Vec<String>,
}

impl IntegrityReport {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}
