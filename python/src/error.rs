//! Errors of the Rust crates as Python exceptions.

use std::fmt::Display;

use pyo3::PyErr;
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyRuntimeError, PyValueError};

/// An error of the trace crate: missing files and refused system calls keep their Python types.
pub fn trace(error: growthpath_trace::Error) -> PyErr {
    use growthpath_trace::Error;
    match &error {
        Error::Missing { .. } => PyFileNotFoundError::new_err(error.to_string()),
        Error::Io { .. } => PyOSError::new_err(error.to_string()),
        Error::Corrupt { .. } | Error::WriterStopped { .. } => PyRuntimeError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

/// An error of the analysis crate.
pub fn analysis(error: growthpath_analysis::AnalysisError) -> PyErr {
    match error {
        growthpath_analysis::AnalysisError::Trace(error) => trace(error),
        error => value(error),
    }
}

/// Anything else that a value given is at fault for.
pub fn value(error: impl Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}
