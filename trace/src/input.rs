//! Opening what somebody else wrote: regular files of a bounded size, and nothing that waits or never ends.

use std::fs::{self, File, FileType};
use std::io::Read;
use std::path::Path;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A pipe would wait for a writer, a device may never end.
    #[error("is {0}, not a regular file: nothing is read from it")]
    NotAFile(&'static str),
    /// Larger than anything that it could honestly be.
    #[error("has {size} bytes, more than the {limit} that such a file may have")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
}

/// Opens a regular file of at most `limit` bytes; also its size. Links are followed.
///
/// # Errors
/// See [`Refusal`].
pub fn open(path: &Path, limit: u64) -> Result<(File, u64), Refusal> {
    // Looked at before it is opened: opening a pipe waits for its other end.
    regular(fs::metadata(path)?.file_type())?;
    let file = File::open(path)?;
    let found = file.metadata()?;
    regular(found.file_type())?;
    match found.len() {
        size if size > limit => Err(Refusal::TooLarge { size, limit }),
        size => Ok((file, size)),
    }
}

/// The bytes of a regular file of at most `limit` bytes; the buffer never outgrows what the file really holds.
///
/// # Errors
/// See [`Refusal`].
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Refusal> {
    let (file, size) = open(path, limit)?;
    let mut bytes = Vec::new();
    let room = usize::try_from(size).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(room).map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))?;
    // A file that grows meanwhile is refused like one that was too large from the start.
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes)? as u64;
    if read > limit { Err(Refusal::TooLarge { size: read, limit }) } else { Ok(bytes) }
}

fn regular(kind: FileType) -> Result<(), Refusal> {
    if kind.is_file() {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Err(Refusal::NotAFile("a pipe"));
        }
        if kind.is_socket() {
            return Err(Refusal::NotAFile("a socket"));
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Err(Refusal::NotAFile("a device"));
        }
    }
    Err(Refusal::NotAFile(if kind.is_dir() { "a folder" } else { "something else" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, 4), Err(Refusal::TooLarge { size: 5, limit: 4 })));
        assert!(matches!(read(dir.path(), 4), Err(Refusal::NotAFile("a folder"))));
        assert!(matches!(read(&dir.path().join("none"), 4), Err(Refusal::Io(_))));
        if cfg!(unix) {
            assert!(matches!(read(Path::new("/dev/null"), 4), Err(Refusal::NotAFile("a device"))));
        }
    }
}
