//! Figures as bytes.

use growthpath_figures::{FIGURES, Format, Material, Width, figure};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::value;
use crate::read::{Run, window};

/// `(name, what it shows)` of every figure.
#[pyfunction]
pub fn figures() -> Vec<(&'static str, &'static str)> {
    FIGURES.iter().map(|f| (f.name, f.about)).collect()
}

/// Draws a figure of some runs, the first of which is the reference of comparisons: one document a drawing, as SVG, PNG
/// or PDF bytes. None where the runs hold nothing for it.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "arguments by name in Python")]
#[pyo3(signature = (runs, name, format="svg", width="page", start=None, end=None))]
pub fn draw<'py>(
    py: Python<'py>,
    runs: Vec<PyRef<'py, Run>>,
    name: &str,
    format: &str,
    width: &str,
    start: Option<u32>,
    end: Option<u32>,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let figure = figure(name).ok_or_else(|| {
        let known: Vec<&str> = FIGURES.iter().map(|f| f.name).collect();
        value(format!("there is no figure `{name}`; there are {}", known.join(", ")))
    })?;
    let format = match format {
        "svg" => Format::Svg,
        "png" => Format::Png,
        "pdf" => Format::Pdf,
        other => return Err(value(format!("format `{other}`: use svg, png or pdf"))),
    };
    let width = match width {
        "page" => Width::Page,
        "column" => Width::Column,
        other => return Err(value(format!("width `{other}`: use page or column"))),
    };
    let runs: Vec<growthpath_trace::Run> = runs.iter().map(|r| r.run.clone()).collect();
    let pairs: Vec<(usize, usize)> = (1..runs.len()).map(|j| (0, j)).collect();
    let documents = py.detach(|| -> PyResult<Vec<Vec<u8>>> {
        let material = Material::read(&runs, &pairs, window(start, end)).map_err(value)?;
        figure.drawings(&material).iter().map(|d| d.render(format, width).map_err(value)).collect()
    })?;
    Ok(documents.iter().map(|d| PyBytes::new(py, d)).collect())
}
