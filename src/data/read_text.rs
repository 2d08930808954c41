//! Text files as a whole.

use std::path::Path;

use growthpath_trace::input::{self, Refusal};

use super::error::{DataError, Result};
use super::not_text::looks_like;
use crate::memory;

/// Bytes of memory that a byte of text takes at the least on its way to a token stream: the text, and one token of
/// four bytes a byte.
const SWELL: u64 = 5;

/// A whole text file, with errors that say which file and what is wrong.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let limit = memory::available().map_or(u64::MAX, |free| free / SWELL);
    let bytes = match input::read(path, limit) {
        Ok(bytes) => bytes,
        Err(refusal) => return Err(refused(path, refusal)),
    };
    let path = path.to_path_buf();
    if bytes.is_empty() {
        return Err(DataError::Empty { path });
    }
    if let Some((what, mend)) = looks_like(&bytes) {
        return Err(DataError::NotText { path, what, mend });
    }
    String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        // There is a byte at the offset: the text is not valid up to its end.
        let byte = e.as_bytes().get(offset).copied().unwrap_or(0);
        DataError::Utf8 { path, offset, byte }
    })
}

fn refused(path: &Path, refusal: Refusal) -> DataError {
    let path = path.to_path_buf();
    match refusal {
        Refusal::NotAFile("a folder") => DataError::Directory { path },
        Refusal::Io(e) if e.kind() == std::io::ErrorKind::NotFound => DataError::Missing { path },
        Refusal::Io(source) => DataError::Io { path, action: "read", source },
        Refusal::NotAFile(_) => DataError::Refused { path, why: refusal.to_string() },
        Refusal::TooLarge { size, limit } => DataError::Refused {
            path,
            why: format!(
                "has {}: with its tokens it needs at least {} of memory and {} are free; cut it into a part that fits",
                memory::readable(size.into()),
                memory::readable(u128::from(size) * u128::from(SWELL)),
                memory::readable(u128::from(limit) * u128::from(SWELL))
            ),
        },
    }
}
