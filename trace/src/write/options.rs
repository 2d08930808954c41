//! When the writer flushes, and how hard it compresses.

use std::time::Duration;

/// Options of [`crate::RunWriter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterOptions {
    /// Flush once this many rows are buffered, all tables together.
    pub flush_rows: usize,
    /// Flush once this many bytes of rows are buffered.
    pub flush_bytes: usize,
    /// Flush at the first new step after this time.
    pub flush_interval: Duration,
    /// zstd level, 1 to 22.
    pub zstd_level: i32,
}

impl Default for WriterOptions {
    /// 262,144 rows, 64 MiB or 20 seconds; level 3.
    fn default() -> Self {
        Self {
            flush_rows: 1 << 18,
            flush_bytes: 64 << 20,
            flush_interval: Duration::from_secs(20),
            zstd_level: 3,
        }
    }
}
