//! The guard against two writers.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// Holds a directory for one writing process. The system lets go of it when the process ends, however it ends,
/// so a crash leaves nothing to clean up.
#[derive(Debug)]
pub struct RunLock {
    /// As it was given.
    dir: PathBuf,
    /// As the system names it.
    name: PathBuf,
    /// Which directory it was, whatever now has its name.
    identity: Option<(u64, u64)>,
    /// Keeps the lock, and the directory's number from being given to another one.
    _file: Option<File>,
}

/// How many locks of this process a directory has, leaked ones included: a writer that was leaked must not lock out
/// its successor in the same process. The guard is one between processes.
static HELD: Mutex<Option<HashMap<PathBuf, usize>>> = Mutex::new(None);

/// A process that only asks ([`RunLock::is_held`]) has a lock for microseconds: it is tried so many times, with a pause.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

impl RunLock {
    /// Whether a process has a directory; `None` where the file system cannot tell.
    pub fn is_held(dir: &Path) -> Option<bool> {
        match File::open(dir).ok()?.try_lock() {
            Ok(()) => Some(false),
            Err(TryLockError::WouldBlock) => Some(true),
            Err(TryLockError::Error(_)) => None,
        }
    }

    /// Takes the directory.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] while another process holds it; [`Error::Io`]. File systems that cannot lock directories do
    /// not guard.
    pub fn take(dir: &Path) -> Result<Self> {
        let name = fs::canonicalize(dir).map_err(Error::io("open", dir))?;
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get_or_insert_default();
        let file = match File::open(dir) {
            Ok(file) => match patient(&file, held.contains_key(&name)) {
                Err(TryLockError::WouldBlock) if !held.contains_key(&name) => {
                    return Err(Error::InUse { path: dir.to_owned() });
                }
                _ => Some(file),
            },
            Err(_) => None,
        };
        let found = match &file {
            Some(file) => file.metadata(),
            None => fs::metadata(dir),
        };
        let identity = identity(&found.map_err(Error::io("examine", dir))?);
        *held.entry(name.clone()).or_default() += 1;
        Ok(Self { dir: dir.to_owned(), name, identity, _file: file })
    }

    /// Whether the directory that was taken still has its name; asked before each commit.
    ///
    /// # Errors
    ///
    /// [`Error::Replaced`] if another one has it, [`Error::Io`] if none has.
    pub fn check(&self) -> Result<()> {
        let now = fs::metadata(&self.dir).map_err(Error::io("examine", &self.dir))?;
        if identity(&now) == self.identity { Ok(()) } else { Err(Error::Replaced { path: self.dir.clone() }) }
    }
}

/// Tries again where another process has the lock, unless this one has it too.
fn patient(file: &File, ours: bool) -> std::result::Result<(), TryLockError> {
    let mut outcome = file.try_lock();
    for _ in 1..TRIES {
        if ours || !matches!(outcome, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(PAUSE);
        outcome = file.try_lock();
    }
    outcome
}

impl Drop for RunLock {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_mut()
            && let Some(count) = held.get_mut(&self.name)
        {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.name);
            }
        }
    }
}

/// File system and number of a file, where the system has them.
#[cfg(unix)]
fn identity(m: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((m.dev(), m.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<(u64, u64)> {
    None
}
