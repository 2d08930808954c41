//! Columns matched by name: what other programs hand over, and what earlier versions recorded.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float32Array, Float64Array, RecordBatch};

use crate::column::{CellType, Column};
use crate::table::Table;

/// The batch with the columns of these places in the table, in their order. Optional columns that it lacks are undefined.
pub(crate) fn arrange(table: Table, columns: &[usize], batch: &RecordBatch) -> Result<RecordBatch, String> {
    let schema = batch.schema();
    if let Some(unknown) = schema.fields().iter().find(|f| table.column_index(f.name()).is_none()) {
        let known: Vec<&str> = table.columns().iter().map(|c| c.name).collect();
        return Err(format!("there is no column {}; the table has {}", unknown.name(), known.join(", ")));
    }
    let schema = Arc::new(table.schema().project(columns).map_err(|e| e.to_string())?);
    let arrays =
        columns.iter().map(|i| column(&table.columns()[*i], batch)).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema, arrays).map_err(|e| e.to_string())
}

fn column(c: &Column, batch: &RecordBatch) -> Result<ArrayRef, String> {
    let Some(found) = batch.column_by_name(c.name) else {
        return undefined(c, batch.num_rows()).ok_or_else(|| format!("column {} is missing", c.name));
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

/// A column of NaN; `None` where it is always defined.
fn undefined(c: &Column, rows: usize) -> Option<ArrayRef> {
    match c.cell {
        _ if !c.may_be_missing() => None,
        CellType::F32 => Some(Arc::new(Float32Array::from_value(f32::NAN, rows))),
        CellType::F64 => Some(Arc::new(Float64Array::from_value(f64::NAN, rows))),
        _ => None,
    }
}
