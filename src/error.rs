//! The crate's error type.

use std::path::PathBuf;

use growthpath_trace::shown_path;

/// What can go wrong in training and in the command line's work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that the user gave cannot be used (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error("{}: {source}", shown_path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        source: std::io::Error,
    },
    /// A file was read but is not what it should be.
    #[error("{}: {message}", shown_path(path))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and the mend.
        message: String,
    },
    /// Training stopped because the loss or a gradient was no longer a number.
    #[error("{0}")]
    Diverged(String),
    /// A study of which some runs did not finish.
    #[error("{0}")]
    Incomplete(String),
    /// A signal asked to stop (exit code 128 and its number).
    #[error("{what}. Go on with: {mend}")]
    Interrupted {
        /// Its number.
        signal: i32,
        /// What was stopped, and where it stands.
        what: String,
        /// The command that goes on.
        mend: String,
    },
    /// From the fused operations.
    #[error(transparent)]
    Kernel(#[from] growthpath_kernels::Error),
    /// From candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// From the trace.
    #[error(transparent)]
    Trace(#[from] growthpath_trace::Error),
    /// From the analysis.
    #[error(transparent)]
    Analysis(#[from] growthpath_analysis::AnalysisError),
    /// From the figures.
    #[error(transparent)]
    Figure(#[from] growthpath_figures::FigureError),
    /// From the data.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
}

/// Result of the crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn format(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Format { path: path.into(), message: message.into() }
    }
}
