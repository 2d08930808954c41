//! Files that appear whole or not at all, and the guard against two writers.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::input::{self, Refusal};

/// Ending of files that are being written; a reader ignores them, the next writer removes them.
pub const TEMPORARY: &str = "tmp";

/// Puts `bytes` at `path`: temporary name beside it, fsync, rename, fsync of the folder. On an error the old file
/// stays, and the temporary one is removed.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(TEMPORARY);
    let temporary = PathBuf::from(name);
    let put = || {
        let mut file = File::create(&temporary).map_err(Error::io("create", &temporary))?;
        file.write_all(bytes).map_err(Error::io("write", &temporary))?;
        file.sync_all().map_err(Error::io("flush to disk", &temporary))?;
        fs::rename(&temporary, path).map_err(Error::io("put in place", path))
    };
    put().inspect_err(|_| {
        // The first error is the one to report; a leftover is ignored by readers anyway.
        let _ = fs::remove_file(&temporary);
    })?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes renames and removals in a folder durable, where the system knows the notion.
pub fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        let handle = File::open(dir).map_err(Error::io("open", dir))?;
        handle.sync_all().map_err(Error::io("flush to disk", dir))?;
    }
    Ok(())
}

/// Reads a whole regular file of at most `limit` bytes.
pub fn read_whole(path: &Path, limit: u64) -> Result<Vec<u8>> {
    input::read(path, limit).map_err(|refusal| match refusal {
        Refusal::Io(source) => Error::Io { action: "read", path: path.to_owned(), source },
        other => Error::corrupt(path, format!("it {other}")),
    })
}

/// Holds a run directory for one writing process. The system lets go of it when the process ends, however it ends,
/// so a crash leaves nothing to clean up.
#[derive(Debug)]
pub struct WriterLock {
    dir: PathBuf,
    _file: Option<File>,
}

/// How many locks of this process a directory has, leaked ones included: a writer that was leaked must not lock out
/// its successor in the same process. The guard is one between processes.
static HELD: Mutex<Option<HashMap<PathBuf, usize>>> = Mutex::new(None);

impl WriterLock {
    /// Takes the directory.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] while another process holds it. File systems that cannot lock directories do not guard.
    pub fn take(dir: &Path) -> Result<Self> {
        let name = fs::canonicalize(dir).map_err(Error::io("open", dir))?;
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get_or_insert_default();
        let file = match File::open(dir) {
            Ok(file) => match file.try_lock() {
                Err(TryLockError::WouldBlock) if !held.contains_key(&name) => {
                    return Err(Error::InUse { path: dir.to_owned() });
                }
                _ => Some(file),
            },
            Err(_) => None,
        };
        *held.entry(name.clone()).or_default() += 1;
        Ok(Self { dir: name, _file: file })
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_mut()
            && let Some(count) = held.get_mut(&self.dir)
        {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.dir);
            }
        }
    }
}
