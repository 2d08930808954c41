//! Files that somebody else wrote: regular, bounded, and named in every error.

use std::path::Path;

use growthpath_trace::input::{self, Refusal};

use crate::error::{Error, Result};

/// Largest JSON or TOML file that is read.
pub const SMALL_FILE: u64 = 16 << 20;

/// The text of a regular file of at most `limit` bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for a pipe, a device, a file that is larger, bytes that are not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let bytes = input::read(path, limit).map_err(refused(path))?;
    String::from_utf8(bytes).map_err(|e| {
        Error::format(path, format!("not UTF-8 at byte {}: not a text file", e.utf8_error().valid_up_to()))
    })
}

fn refused(path: &Path) -> impl FnOnce(Refusal) -> Error {
    let path = path.to_owned();
    move |refusal| match refusal {
        Refusal::Io(source) => Error::Io { path, source },
        other => Error::Format { path, message: other.to_string() },
    }
}
