//! The one error type of the crate.

use std::path::PathBuf;

/// Why a figure could not be drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    /// The file could not be written.
    #[error("cannot write the figure {path}: {source}; check that the folder exists and is writable", path = growthpath_trace::shown_path(.path))]
    Write {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The run could not be read or explained.
    #[error(transparent)]
    Analysis(#[from] growthpath_analysis::AnalysisError),
    /// The drawing back end refused an element.
    #[error("the drawing back end failed: {0}; report the figure and its runs")]
    Backend(String),
    /// The PNG encoder failed.
    #[error("cannot encode the PNG: {0}; save as SVG instead")]
    Encode(#[from] png::EncodingError),
    /// The bundled font could not be read.
    #[error("the bundled font {0} cannot be read; rebuild with an intact `dejavu` crate")]
    Font(&'static str),
}
