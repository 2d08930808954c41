//! Rows as columns, for programs that do not know the row types.

use arrow_array::RecordBatch;

use super::Run;
use crate::error::{Error, Result};
use crate::range::StepRange;
use crate::rows::{Row, dispatch};
use crate::table::Table;

impl Run {
    /// All rows of a window as record batches of [`Table::schema`], in key order.
    ///
    /// # Errors
    ///
    /// As the items of [`Run::stream`].
    pub fn read_batches(&self, table: Table, range: impl Into<StepRange>) -> Result<Vec<RecordBatch>> {
        let range = range.into();
        let wrong = |what| Error::corrupt(self.dir(), what);
        dispatch!(table, R => self.stream::<R>(range).map(|rows| R::to_batch(&rows?).map_err(wrong)).collect())
    }
}
