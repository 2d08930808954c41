//! The crate's error type.

/// What can go wrong in a fused operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor has a shape that the operation does not take.
    #[error("{op}: {what} has shape {got:?}, expected {expected}")]
    Shape {
        /// Operation name.
        op: &'static str,
        /// Which argument.
        what: &'static str,
        /// The shape found.
        got: Vec<usize>,
        /// The shape wanted, in words.
        expected: String,
    },
    /// A configuration that no kernel implements.
    #[error("{op}: {message}")]
    Unsupported {
        /// Operation name.
        op: &'static str,
        /// What is not supported, and what is.
        message: String,
    },
    /// A CUDA device that is missing, or a call that its driver refused.
    #[error("{what}: {message}")]
    Gpu {
        /// What was being done.
        what: String,
        /// What the driver said, and the mend where there is one.
        message: String,
    },
    /// A CUDA device without room for a buffer.
    #[error("reserving device memory: {wanted:.1} MiB wanted, {free:.1} MiB free ({message}): lower --batch")]
    DeviceMemory {
        /// MiB asked for.
        wanted: f64,
        /// MiB that were free.
        free: f64,
        /// What the driver said.
        message: String,
    },
    /// An error from candle (device, dtype, storage).
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Result of a fused operation.
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn shape_error(op: &'static str, what: &'static str, got: &[usize], expected: String) -> Error {
    Error::Shape { op, what, got: got.to_vec(), expected }
}
