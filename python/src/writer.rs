//! Recording a run: rows handed over as NumPy columns.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch};
use arrow_schema::{Field, Schema};
use growthpath_trace::{CellType, Row, RunInfo, RunWriter, Status, Table};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{trace, value};
use crate::read::table;

/// Writes one run directory; what it holds is checked by the trace crate.
#[pyclass(unsendable)]
pub struct Writer {
    writer: Option<RunWriter>,
}

impl Writer {
    fn open(&mut self) -> PyResult<&mut RunWriter> {
        self.writer.as_mut().ok_or_else(|| value("the run is closed: nothing more can be recorded in it"))
    }

    /// Adds rows made in Rust.
    pub(crate) fn push<R: Row>(&mut self, rows: &[R]) -> PyResult<()> {
        self.open()?.push(rows).map_err(trace)
    }
}

#[pymethods]
impl Writer {
    /// Starts recording in a new or empty directory. `info`: `run.json` as JSON; what it leaves out has its default.
    #[new]
    fn create(path: PathBuf, info: &str) -> PyResult<Self> {
        let given: serde_json::Map<String, serde_json::Value> = serde_json::from_str(info).map_err(value)?;
        let number = |name: &str| {
            let n = given.get(name).and_then(serde_json::Value::as_u64);
            n.ok_or_else(|| value(format!("run.json needs `{name}`, a number")))
        };
        let (layers, heads) = (number("layers")?, number("heads")?);
        let (layers, heads) = (u16::try_from(layers).map_err(value)?, u16::try_from(heads).map_err(value)?);
        let steps = u32::try_from(number("steps_planned")?).map_err(value)?;
        let config = given.get("config").cloned().unwrap_or_default();
        let base = RunInfo::new(config, steps, layers, heads);
        let mut all = serde_json::to_value(&base).map_err(value)?;
        if let Some(fields) = all.as_object_mut() {
            fields.extend(given);
        }
        let info: RunInfo = serde_json::from_value(all).map_err(value)?;
        Ok(Self { writer: Some(RunWriter::create(path, &info).map_err(trace)?) })
    }

    /// Adds rows of a table, in key order: a NumPy array a column. Optional columns may be left out (NaN then).
    fn append(&mut self, name: &str, columns: &Bound<'_, PyDict>) -> PyResult<()> {
        let table = table(name)?;
        let batch = batch(table, columns)?;
        self.open()?.push_batch(table, &batch).map_err(trace)
    }

    /// Changes fields of `run.json`; those of `extra` are added to the ones there.
    fn update(&mut self, fields: &str) -> PyResult<()> {
        let mut given: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(fields).map_err(value)?;
        let extra = given.remove("extra");
        let writer = self.open()?;
        let mut all = serde_json::to_value(writer.info()).map_err(value)?;
        if let Some(fields) = all.as_object_mut() {
            fields.extend(given);
            if let (Some(serde_json::Value::Object(extra)), Some(serde_json::Value::Object(old))) =
                (extra, fields.get_mut("extra"))
            {
                old.extend(extra);
            }
        }
        let info: RunInfo = serde_json::from_value(all).map_err(value)?;
        writer.update_info(|i| *i = info).map_err(trace)
    }

    /// Makes everything recorded so far durable.
    fn flush(&mut self) -> PyResult<()> {
        self.open()?.flush().map_err(trace)
    }

    /// Ends the recording with `complete`, `interrupted` or `diverged`.
    fn finish(&mut self, status: &str) -> PyResult<()> {
        let status = match status {
            "complete" => Status::Complete,
            "interrupted" => Status::Interrupted,
            "diverged" => Status::Diverged,
            other => return Err(value(format!("status `{other}`: use complete, interrupted or diverged"))),
        };
        self.open()?;
        match self.writer.take() {
            Some(writer) => writer.finish(status).map(drop).map_err(trace),
            None => Ok(()),
        }
    }
}

fn batch(table: Table, columns: &Bound<'_, PyDict>) -> PyResult<RecordBatch> {
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays = Vec::with_capacity(columns.len());
    for (name, column) in columns {
        let name: String = name.extract()?;
        let about = table.columns().iter().find(|c| c.name == name).ok_or_else(|| {
            let known: Vec<&str> = table.columns().iter().map(|c| c.name).collect();
            value(format!("table {table}: there is no column {name}; it has {}", known.join(", ")))
        })?;
        let wrong = |e: PyErr| {
            value(format!(
                "table {table}, column {name}: a NumPy array of {} was expected ({e})",
                about.cell.arrow()
            ))
        };
        arrays.push(array(about.cell, &column).map_err(wrong)?);
        fields.push(Field::new(name, about.cell.arrow(), false));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|e| value(format!("table {table}: {e}")))
}

fn array(cell: CellType, column: &Bound<'_, PyAny>) -> PyResult<ArrayRef> {
    fn copy<T: ArrowPrimitiveType>(column: &Bound<'_, PyAny>) -> PyResult<ArrayRef>
    where
        T::Native: numpy::Element,
    {
        let values: PyReadonlyArray1<'_, T::Native> = column.extract()?;
        Ok(Arc::new(PrimitiveArray::<T>::from_iter_values(values.as_array().iter().copied())))
    }
    match cell {
        CellType::U8 => copy::<UInt8Type>(column),
        CellType::U16 => copy::<UInt16Type>(column),
        CellType::U32 => copy::<UInt32Type>(column),
        CellType::U64 => copy::<UInt64Type>(column),
        CellType::F32 => copy::<Float32Type>(column),
        CellType::F64 => copy::<Float64Type>(column),
    }
}
