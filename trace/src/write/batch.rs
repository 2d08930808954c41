//! Rows handed over as columns, by programs that do not know the row types.

use std::sync::Arc;

use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch};

use super::RunWriter;
use crate::column::{CellType, Column, Role};
use crate::error::{Error, Result};
use crate::rows::Row;
use crate::table::{Table, dispatch};

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
        let batch = arrange(table, batch).map_err(wrong)?;
        dispatch!(table, R => {
            let rows = R::from_batch(&batch).map_err(wrong)?;
            self.push::<R>(&rows)
        })
    }
}

/// The batch with the table's columns in file order.
fn arrange(table: Table, batch: &RecordBatch) -> Result<RecordBatch, String> {
    let schema = batch.schema();
    if let Some(unknown) = schema.fields().iter().find(|f| table.column_index(f.name()).is_none()) {
        let known: Vec<&str> = table.columns().iter().map(|c| c.name).collect();
        return Err(format!("there is no column {}; the table has {}", unknown.name(), known.join(", ")));
    }
    let columns = table.columns().iter().map(|c| column(c, batch)).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(table.schema(), columns).map_err(|e| e.to_string())
}

fn column(c: &Column, batch: &RecordBatch) -> Result<ArrayRef, String> {
    let Some(found) = batch.column_by_name(c.name) else {
        let undefined = (c.role == Role::Optional).then(|| undefined(c.cell, batch.num_rows())).flatten();
        return undefined.ok_or_else(|| format!("column {} is missing", c.name));
    };
    if *found.data_type() != c.cell.arrow() {
        return Err(format!(
            "column {} holds {} where {} was expected",
            c.name,
            found.data_type(),
            c.cell.arrow()
        ));
    }
    if found.null_count() > 0 {
        return Err(format!("column {} holds nulls; undefined numbers are NaN", c.name));
    }
    Ok(Arc::clone(found))
}

/// A column of NaN; `None` for integers, which are always defined.
fn undefined(cell: CellType, rows: usize) -> Option<ArrayRef> {
    match cell {
        CellType::F32 => {
            Some(Arc::new(PrimitiveArray::<Float32Type>::from_iter_values(vec![f32::NAN; rows])))
        }
        CellType::F64 => {
            Some(Arc::new(PrimitiveArray::<Float64Type>::from_iter_values(vec![f64::NAN; rows])))
        }
        _ => None,
    }
}
