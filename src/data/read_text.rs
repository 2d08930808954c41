//! Text files as a whole.

use std::path::Path;

use super::error::{DataError, Result};

/// A whole text file, with errors that say which file and what is wrong.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let path = path.to_path_buf();
    if path.is_dir() {
        return Err(DataError::Directory { path });
    }
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(DataError::Missing { path }),
        Err(source) => return Err(DataError::Io { path, action: "read", source }),
    };
    if bytes.is_empty() {
        return Err(DataError::Empty { path });
    }
    String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        // There is a byte at the offset: the text is not valid up to its end.
        let byte = e.as_bytes().get(offset).copied().unwrap_or(0);
        DataError::Utf8 { path, offset, byte }
    })
}
