//! Rows handed over as columns, by programs that do not know the row types.

use arrow_array::RecordBatch;

use super::RunWriter;
use crate::arrange::arrange;
use crate::error::{Error, Result};
use crate::rows::{Row, dispatch};
use crate::table::Table;

impl RunWriter {
    /// Adds rows given as columns, matched by name, in any order. An optional column may be missing: its cells are
    /// undefined then (NaN).
    ///
    /// # Errors
    ///
    /// [`Error::Columns`] when a column is unknown, missing, of another type or holds nulls; otherwise as
    /// [`RunWriter::push`].
    pub fn push_batch(&mut self, table: Table, batch: &RecordBatch) -> Result<()> {
        let wrong = |what| Error::Columns { table, what };
        let all: Vec<usize> = (0..table.columns().len()).collect();
        let batch = arrange(table, &all, batch).map_err(wrong)?;
        dispatch!(table, R => {
            let rows = R::from_batch(&batch).map_err(wrong)?;
            self.push::<R>(&rows)
        })
    }
}
