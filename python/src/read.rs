//! Reading and explaining runs.

use std::ops::Range;
use std::path::PathBuf;

use arrow_ipc::writer::StreamWriter;
use growthpath_analysis::compare::{Layers, compare as compare_runs};
use growthpath_analysis::diagnosis::{Thresholds, diagnosis};
use growthpath_analysis::read::{agreement, analyze, verify};
use growthpath_trace::{Role, Table};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;

use crate::error::{analysis, trace, value};

/// The table of a name.
pub fn table(name: &str) -> PyResult<Table> {
    Table::ALL.iter().copied().find(|t| t.name() == name).ok_or_else(|| {
        let known: Vec<&str> = Table::ALL.iter().map(|t| t.name()).collect();
        value(format!("there is no table `{name}`; a run has {}", known.join(", ")))
    })
}

/// Names of all tables.
#[pyfunction]
pub fn table_names() -> Vec<&'static str> {
    Table::ALL.iter().map(|t| t.name()).collect()
}

/// Name, type, role, unit and description of a column.
type About = (&'static str, String, &'static str, &'static str, &'static str);

/// What every column of a table is.
#[pyfunction]
pub fn columns(name: &str) -> PyResult<Vec<About>> {
    let role = |role| match role {
        Role::Key => "key",
        Role::Number => "number",
        Role::Optional => "optional",
    };
    let column = |c: &growthpath_trace::Column| {
        (c.name, format!("{:?}", c.cell).to_lowercase(), role(c.role), c.unit, c.doc)
    };
    Ok(table(name)?.columns().iter().map(column).collect())
}

/// Steps `start..end`; neither means all.
pub fn window(start: Option<u32>, end: Option<u32>) -> Option<Range<u32>> {
    (start.is_some() || end.is_some()).then(|| start.unwrap_or(0)..end.unwrap_or(u32::MAX))
}

pub fn json(what: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(what).map_err(value)
}

/// A recorded run, as its manifest stood when it was opened.
#[pyclass(frozen)]
pub struct Run {
    pub(crate) run: growthpath_trace::Run,
}

#[pymethods]
impl Run {
    #[new]
    fn open(path: PathBuf) -> PyResult<Self> {
        Ok(Self { run: growthpath_trace::Run::open(path).map_err(trace)? })
    }

    /// `run.json`.
    fn info(&self) -> PyResult<String> {
        json(self.run.info())
    }

    /// Number of rows of a table.
    fn rows(&self, name: &str) -> PyResult<u64> {
        Ok(self.run.rows(table(name)?))
    }

    /// A table as an Arrow IPC stream. Every part is held against its hash.
    #[pyo3(signature = (name, start=None, end=None))]
    fn table<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        start: Option<u32>,
        end: Option<u32>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let table = table(name)?;
        let range = window(start, end).unwrap_or(0..u32::MAX);
        let bytes = py.detach(|| -> PyResult<Vec<u8>> {
            let mut bytes = Vec::new();
            let mut writer = StreamWriter::try_new(&mut bytes, &table.schema()).map_err(value)?;
            for batch in self.run.read_batches(table, range).map_err(trace)? {
                writer.write(&batch).map_err(value)?;
            }
            writer.finish().map_err(value)?;
            drop(writer);
            Ok(bytes)
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// What `growthpath analyze --json` prints, without the diagnosis.
    #[pyo3(signature = (start=None, end=None))]
    fn analyze(&self, py: Python<'_>, start: Option<u32>, end: Option<u32>) -> PyResult<String> {
        py.detach(|| json(&analyze(&self.run, window(start, end)).map_err(analysis)?))
    }

    /// Which came first, commitment or maturity.
    #[pyo3(signature = (sharpness=None, maturity=None, confidence=None))]
    fn diagnose(
        &self,
        py: Python<'_>,
        sharpness: Option<f64>,
        maturity: Option<f64>,
        confidence: Option<f64>,
    ) -> PyResult<String> {
        let own = Thresholds::default();
        let thresholds = Thresholds {
            sharpness: sharpness.unwrap_or(own.sharpness),
            maturity: maturity.unwrap_or(own.maturity),
            confidence: confidence.unwrap_or(own.confidence),
        };
        thresholds.validate().map_err(analysis)?;
        py.detach(|| json(&diagnosis(&self.run, &thresholds).map_err(analysis)?))
    }

    /// What `growthpath verify --json` prints, and whether everything holds.
    fn verify(&self, py: Python<'_>) -> PyResult<(String, bool)> {
        py.detach(|| {
            let v = verify(&self.run).map_err(analysis)?;
            Ok((json(&v)?, v.ok()))
        })
    }

    /// Differences from another run, column by column.
    fn agreement(&self, py: Python<'_>, other: &Run) -> PyResult<String> {
        py.detach(|| json(&agreement(&self.run, &other.run).map_err(analysis)?))
    }
}

/// What `growthpath compare --json` prints.
#[pyfunction]
#[pyo3(signature = (a, b, layers="all", start=None, end=None))]
pub fn compare(
    py: Python<'_>,
    a: &Run,
    b: &Run,
    layers: &str,
    start: Option<u32>,
    end: Option<u32>,
) -> PyResult<String> {
    let layers: Layers = layers.parse().map_err(analysis)?;
    let window = window(start, end).unwrap_or(0..u32::MAX);
    py.detach(|| json(&compare_runs(&a.run, &b.run, layers, window).map_err(analysis)?))
}
