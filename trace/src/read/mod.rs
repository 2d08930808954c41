//! Reading a run directory.

mod batches;
mod integrity;
mod report;
mod stream;

use std::path::{Path, PathBuf};

pub use report::{IntegrityReport, Problem, ProblemKind};
pub use stream::{ColumnStream, Columns, RowStream};

use crate::error::Result;
use crate::info::RunInfo;
use crate::manifest::{Manifest, PartEntry};
use crate::part::Part;
use crate::range::StepRange;
use crate::rows::{EvalRow, Row, StepRow};
use crate::table::Table;

/// A recorded run, as its manifest stood when it was opened. A run that is still being written may be opened too.
#[derive(Debug, Clone)]
pub struct Run {
    dir: PathBuf,
    info: RunInfo,
    manifest: Manifest,
}

impl Run {
    /// Opens a run directory: reads `run.json` and the manifest, no part yet.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Missing`], [`crate::Error::NotARun`], [`crate::Error::SchemaVersion`], [`crate::Error::Json`], [`crate::Error::Corrupt`] for a
    /// manifest that makes no sense, [`crate::Error::Io`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        Ok(Self { info: RunInfo::read(dir)?, manifest: Manifest::read(dir)?, dir: dir.to_owned() })
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the run is.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// All parts, in the order in which they were flushed.
    pub fn parts(&self) -> &[PartEntry] {
        &self.manifest.parts
    }

    /// Columns that some part of the table lacks, since the program that recorded it did not have them yet: NaN in rows.
    ///
    /// # Errors
    ///
    /// As the items of [`Run::stream`].
    pub fn missing_columns(&self, table: Table) -> Result<Vec<&'static str>> {
        let mut missing = Vec::new();
        for entry in self.manifest.of(table) {
            missing.extend(Part::missing_columns(&self.dir, entry)?);
        }
        missing.sort_unstable();
        missing.dedup();
        Ok(missing)
    }

    /// Number of rows of a table.
    pub fn rows(&self, table: Table) -> u64 {
        self.manifest.of(table).fold(0, |n, part| n.saturating_add(part.rows))
    }

    /// First and last step of a table; `None` if it has no rows.
    pub fn step_span(&self, table: Table) -> Option<(u32, u32)> {
        let first = self.manifest.of(table).next()?.first_step;
        Some((first, self.manifest.of(table).last()?.last_step))
    }

    /// The rows of a window, in key order and in batches; memory stays bounded by one part's file and one batch.
    /// Parts outside the window are not touched. The stream ends after an error.
    ///
    /// Items are [`crate::Error::Io`] if a part cannot be read, [`crate::Error::Corrupt`] if it is not what the manifest lists.
    pub fn stream<R: Row>(&self, range: impl Into<StepRange>) -> RowStream<R> {
        RowStream::new(&self.dir, &self.manifest, range.into())
    }

    /// Some columns of a window as float64, in batches; only these columns are decoded.
    ///
    /// # Errors
    ///
    /// [`crate::Error::UnknownColumn`]; items as for [`Run::stream`].
    pub fn stream_columns<R: Row>(
        &self,
        names: &[&str],
        range: impl Into<StepRange>,
    ) -> Result<ColumnStream> {
        ColumnStream::new(&self.dir, &self.manifest, R::TABLE, names, range.into())
    }

    /// All rows of a window at once.
    ///
    /// # Errors
    ///
    /// As the items of [`Run::stream`].
    pub fn read<R: Row>(&self, range: impl Into<StepRange>) -> Result<Vec<R>> {
        let mut rows = Vec::new();
        for batch in self.stream::<R>(range) {
            rows.extend(batch?);
        }
        Ok(rows)
    }

    /// Some columns of a window at once, as float64.
    ///
    /// # Errors
    ///
    /// [`crate::Error::UnknownColumn`]; otherwise as the items of [`Run::stream`].
    pub fn read_columns<R: Row>(&self, names: &[&str], range: impl Into<StepRange>) -> Result<Columns> {
        let mut all = Columns { steps: Vec::new(), values: vec![Vec::new(); names.len()] };
        for batch in self.stream_columns::<R>(names, range)? {
            let batch = batch?;
            all.steps.extend(batch.steps);
            for (column, more) in all.values.iter_mut().zip(batch.values) {
                column.extend(more);
            }
        }
        Ok(all)
    }

    /// All optimizer steps.
    ///
    /// # Errors
    ///
    /// As the items of [`Run::stream`].
    pub fn steps(&self) -> Result<Vec<StepRow>> {
        self.read(..)
    }

    /// All evaluations.
    ///
    /// # Errors
    ///
    /// As the items of [`Run::stream`].
    pub fn evals(&self) -> Result<Vec<EvalRow>> {
        self.read(..)
    }

    /// Whether every part of every table is there with the size and the hash that the manifest lists. A reader of some
    /// tables that calls this first never shows a section of a damaged run.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Corrupt`] or [`crate::Error::Io`], of the first part that is not what the manifest lists.
    pub fn check_parts(&self) -> Result<()> {
        self.manifest.parts.iter().try_for_each(|entry| Part::check_file(&self.dir, entry))
    }
}
