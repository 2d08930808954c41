//! The native half of the Python package `growthpath`: runs are read, explained and drawn by the Rust crates, and
//! recorded through the Rust writer. What is Python's own (PyTorch hooks, notebooks) lies in `growthpath/`.
//!
//! Values cross the border as NumPy arrays, as Arrow IPC streams or, where they are nested, as JSON.

mod draw;
mod error;
mod hash;
mod prober;
mod read;
mod sums;
mod writer;

use pyo3::prelude::*;

/// The module `growthpath._native`; its docstrings stand in `_native.pyi`.
#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("SCHEMA_VERSION", growthpath_trace::SCHEMA_VERSION)?;
    m.add_class::<read::Run>()?;
    m.add_class::<writer::Writer>()?;
    m.add_class::<prober::Prober>()?;
    m.add_function(wrap_pyfunction!(read::compare, m)?)?;
    m.add_function(wrap_pyfunction!(read::table_names, m)?)?;
    m.add_function(wrap_pyfunction!(read::columns, m)?)?;
    m.add_function(wrap_pyfunction!(hash::blake3, m)?)?;
    m.add_function(wrap_pyfunction!(draw::figures, m)?)?;
    m.add_function(wrap_pyfunction!(draw::draw, m)?)?;
    sums::names(m)?;
    Ok(())
}
