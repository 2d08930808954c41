//! Files and folders that appear whole or not at all, also through a power cut: the one way in which this project
//! writes what must last.
//!
//! Everything is written under a temporary name beside its place, flushed to disk, renamed, and the folder flushed.
//! Temporary names begin with a dot and end in `.tmp`, so readers of a whole folder pass over them; they are created
//! anew (a planted link is never followed) with the umask's mode.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::input::{self, Refusal};

/// Ending of files and folders that are being written.
const TEMPORARY: &str = ".tmp";

/// Names tried before giving up: leftovers of a process of the same number may be in the way.
const TRIES: u64 = 1000;

/// Distinguishes this process's temporary names.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Puts `bytes` at `path`, whole or not at all. On an error the old file stays, and the temporary one is removed.
///
/// # Errors
/// [`Error::Io`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let (temporary, mut file) = beside(path, |p| File::create_new(p))?;
    let put = || {
        file.write_all(bytes).map_err(Error::io("write", path))?;
        file.sync_all().map_err(Error::io("flush to disk", path))?;
        drop(file);
        fs::rename(&temporary, path).map_err(Error::io("put in place", path))
    };
    put().inspect_err(|_| {
        // The first error is the one to report; a leftover is ignored by readers anyway.
        let _ = fs::remove_file(&temporary);
    })?;
    sync_dir(parent(path))
}

/// Writes what a user asked for at `path`: as [`write_whole`] to a file, following links to it; in place to what
/// cannot be replaced, such as `/dev/stdout`.
///
/// # Errors
/// [`Error::Io`].
pub fn write_output(path: &Path, bytes: &[u8]) -> Result<()> {
    match fs::metadata(path) {
        Ok(m) if !m.is_file() && !m.is_dir() => fs::write(path, bytes).map_err(Error::io("write", path)),
        Ok(_) => write_whole(&fs::canonicalize(path).map_err(Error::io("open", path))?, bytes),
        Err(_) => write_whole(path, bytes),
    }
}

/// Lets `fill` write the file at the path that it is given, then puts that at `path`: for writers that want a path.
/// The file's mode is the umask's, whatever `fill` made it.
///
/// # Errors
/// Those of `fill`, and [`Error::Io`] in its type.
pub fn write_whole_with<E: From<Error>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let (folder, ()) = beside(path, |p| fs::create_dir(p))?;
    let inner = folder.join(path.file_name().unwrap_or_default());
    let put = || -> Result<(), E> {
        let plain = File::create_new(&inner).and_then(|f| f.metadata()).map_err(Error::io("create", path))?;
        fill(&inner)?;
        fs::set_permissions(&inner, plain.permissions()).map_err(Error::io("set the mode of", path))?;
        File::open(&inner).and_then(|f| f.sync_all()).map_err(Error::io("flush to disk", path))?;
        Ok(fs::rename(&inner, path).map_err(Error::io("put in place", path))?)
    };
    let outcome = put();
    // A folder that stays behind is ignored by readers and removed by the next writer.
    let _ = fs::remove_dir_all(&folder);
    outcome?;
    Ok(sync_dir(parent(path))?)
}

/// Lets `fill` fill a new folder, then puts it at `path` with everything in it flushed to disk; a folder that is there
/// already is replaced. The folder around it is created, not those around that.
///
/// # Errors
/// Those of `fill`, and [`Error::Io`] in its type; the old folder stays then.
pub fn write_folder<E: From<Error>>(path: &Path, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    create_dir(parent(path))?;
    let (temporary, ()) = beside(path, |p| fs::create_dir(p))?;
    let put = || -> Result<(), E> {
        fill(&temporary)?;
        sync_tree(&temporary)?;
        if fs::symlink_metadata(path).is_ok() {
            // A folder cannot be renamed over one that holds files.
            remove_tree(path)?;
        }
        Ok(fs::rename(&temporary, path).map_err(Error::io("put in place", path))?)
    };
    put().inspect_err(|_| {
        let _ = fs::remove_dir_all(&temporary);
    })?;
    Ok(sync_dir(parent(path))?)
}

/// Removes a folder with all that is in it; at no moment does half of it stand under its name.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_tree(path: &Path) -> Result<()> {
    let (aside, ()) = beside(path, |p| fs::rename(path, p))?;
    sync_dir(parent(path))?;
    remove(&aside)
}

/// Creates a folder and its parents durably; returns those that were not there, outermost first.
///
/// # Errors
/// [`Error::Io`]; what was created is removed again.
pub fn create_dirs(path: &Path) -> Result<Vec<PathBuf>> {
    let mut missing: Vec<PathBuf> = path
        .ancestors()
        .take_while(|a| !a.as_os_str().is_empty() && fs::symlink_metadata(a).is_err())
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    missing.iter().try_for_each(|dir| create_dir(dir)).inspect_err(|_| remove_empty(&missing))?;
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(missing);
    }
    if path.symlink_metadata().is_ok_and(|m| m.is_symlink()) && !path.exists() {
        let nowhere = "it is a link to what is not there";
        return Err(Error::io("create", path)(std::io::Error::new(ErrorKind::NotADirectory, nowhere)));
    }
    Err(Error::io("create", path)(ErrorKind::NotADirectory.into()))
}

/// Creates a folder durably where there is none; the folder around it must be there.
///
/// # Errors
/// [`Error::Io`].
pub fn create_dir(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Ok(()) => sync_dir(parent(path)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::io("create", path)(e)),
    }
}

/// Removes folders that [`create_dirs`] created, innermost first, as far as they are empty.
pub fn remove_empty(created: &[PathBuf]) {
    for dir in created.iter().rev() {
        // Somebody else's files keep a folder, which is as it should be.
        let _ = fs::remove_dir(dir);
    }
}

/// Makes renames and removals in a folder durable, where the system knows the notion.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        let handle = File::open(dir).map_err(Error::io("open", dir))?;
        handle.sync_all().map_err(Error::io("flush to disk", dir))?;
    }
    Ok(())
}

/// Whether a name is one of this module's temporary names: `.NAME.PROCESS-NUMBER.tmp`.
pub fn is_temporary(name: &str) -> bool {
    let inner = name.strip_prefix('.').and_then(|n| n.strip_suffix(TEMPORARY));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    inner.and_then(|n| n.rsplit_once('.')).is_some_and(|(target, unique)| {
        !target.is_empty() && unique.split_once('-').is_some_and(|(a, b)| digits(a) && digits(b))
    })
}

/// Removes a file, a link or a folder with all that is in it, and makes that durable.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let kind = fs::symlink_metadata(path).map_err(Error::io("examine", path))?;
    let removed = if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(Error::io("remove", path))?;
    sync_dir(parent(path))
}

/// Reads a whole regular file of at most `limit` bytes.
pub(crate) fn read_whole(path: &Path, limit: u64) -> Result<Vec<u8>> {
    input::read(path, limit).map_err(|refusal| match refusal {
        Refusal::Io(source) => Error::Io { action: "read", path: path.to_owned(), source },
        other => Error::corrupt(path, format!("it {other}")),
    })
}

/// Creates something under a new temporary name beside `path`.
fn beside<T>(path: &Path, create: impl Fn(&Path) -> std::io::Result<T>) -> Result<(PathBuf, T)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut last = ErrorKind::AlreadyExists.into();
    for _ in 0..TRIES {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = parent(path).join(format!(".{name}.{}-{number}{TEMPORARY}", std::process::id()));
        // A rename onto an empty folder would succeed: only names that are free are tried.
        if fs::symlink_metadata(&temporary).is_ok() {
            continue;
        }
        match create(&temporary) {
            Ok(made) => return Ok((temporary, made)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => last = e,
            Err(e) => return Err(Error::io("create a temporary file for", path)(e)),
        }
    }
    Err(Error::io("create a temporary file for", path)(last))
}

/// The folder in which `path` lies.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Flushes every file and folder below `dir`, and `dir`.
fn sync_tree(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path).and_then(|f| f.sync_all()).map_err(Error::io("flush to disk", &path))?;
        }
    }
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn temporary_names_are_recognised_exactly() {
        for name in [".run.json.17-0.tmp", ".step-40.1-22.tmp", ".part-000000.parquet.9-9.tmp"] {
            assert!(is_temporary(name), "{name}");
        }
        for name in
            ["run.json.1-2.tmp", ".run.json.tmp", ".run.json.1-.tmp", "..1-2.tmp", ".x.1-2", ".x.a-2.tmp"]
        {
            assert!(!is_temporary(name), "{name}");
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        write_whole(&file, b"old").unwrap();
        let fails = |_: &Path| Err(Error::corrupt(&file, "said no"));
        assert!(write_whole_with(&file, fails).is_err());
        assert_eq!((fs::read(&file).unwrap(), names(dir.path())), (b"old".to_vec(), vec!["f".to_owned()]));
        let folder = dir.path().join("a/b");
        assert!(
            write_folder::<Error>(&folder.join("c"), |_| Ok(())).is_err(),
            "a folder was created around it"
        );
        write_folder::<Error>(&folder, |d| write_whole(&d.join("x"), b"1")).unwrap();
        assert!(write_folder(&folder, fails).is_err());
        assert_eq!(
            (names(&folder), names(&dir.path().join("a"))),
            (vec!["x".to_owned()], vec!["b".to_owned()])
        );
        write_folder::<Error>(&folder, |d| write_whole(&d.join("y"), b"2")).unwrap();
        assert_eq!(
            (names(&folder), names(&dir.path().join("a"))),
            (vec!["y".to_owned()], vec!["b".to_owned()])
        );
        remove_tree(&folder).unwrap();
        assert!(names(&dir.path().join("a")).is_empty());
    }

    #[test]
    fn folders_are_created_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        let made = create_dirs(&deep).unwrap();
        assert_eq!(made.len(), 3);
        assert!(create_dirs(&deep).unwrap().is_empty());
        fs::write(dir.path().join("a/note"), "x").unwrap();
        remove_empty(&made);
        assert_eq!(names(&dir.path().join("a")), ["note"]);
        assert!(create_dirs(&dir.path().join("a/note/d")).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn modes_are_the_umasks_and_links_are_not_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        fs::write(dir.path().join("plain"), "x").unwrap();
        write_whole(&dir.path().join("a"), b"x").unwrap();
        write_whole_with::<Error>(&dir.path().join("b"), |p| {
            fs::set_permissions(p, fs::Permissions::from_mode(0o600)).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!((mode("a"), mode("b")), (mode("plain"), mode("plain")));
        // Every name that might come next leads to the victim.
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let next = COUNT.load(Ordering::Relaxed);
        for n in next..next + 50 {
            symlink(&victim, dir.path().join(format!(".a.{}-{n}.tmp", std::process::id()))).unwrap();
        }
        write_whole(&dir.path().join("a"), b"new").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"new");
    }
}
