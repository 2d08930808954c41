//! Which checkpoint to go on from, and which ones to keep.

use std::path::{Path, PathBuf};

use growthpath_trace::{Run, Table, disk};

use super::seal::Seal;
use crate::error::{Error, Result};

/// Checkpoints that stay, the newest first, whether or not anybody asked for them.
pub const KEPT: usize = 2;

/// A checkpoint that nothing speaks against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Steps done.
    pub step: u32,
    /// Its folder.
    pub dir: PathBuf,
}

/// One that cannot be used.
#[derive(Debug)]
pub struct Skipped {
    /// Its folder.
    pub dir: PathBuf,
    /// Why not.
    pub why: Error,
    /// Whether it is damaged, and not another run's or another step's.
    pub ours: bool,
}

/// Outcome of looking for a checkpoint to go on from.
#[derive(Debug, Default)]
pub struct Choice {
    /// The newest one that can be used.
    pub found: Option<Found>,
    /// Newer ones that cannot, newest first.
    pub skipped: Vec<Skipped>,
}

/// Every folder `checkpoints/step-N` of a run with its step, newest first.
pub fn all(run: &Path) -> Vec<(u32, PathBuf)> {
    let entries = std::fs::read_dir(run.join("checkpoints"));
    let step = |e: std::fs::DirEntry| {
        let step = e.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?;
        Some((step, e.path()))
    };
    let mut all: Vec<(u32, PathBuf)> = entries.into_iter().flatten().flatten().filter_map(step).collect();
    all.sort();
    all.reverse();
    all
}

/// Whether a folder holds the checkpoint that its name says, of the run `id`, whole.
///
/// # Errors
/// [`Error::Format`] naming the file that is wrong.
pub fn check(dir: &Path, id: &str, step: u32) -> Result<Seal> {
    let seal = Seal::read(dir)?;
    let wrong = |what: String| Err(Error::format(dir.join(super::seal::FILE), what));
    if seal.run != id {
        return wrong("belongs to another run".into());
    }
    if seal.step != step {
        return wrong(format!("belongs to step {}, not to the folder's {step}", seal.step));
    }
    seal.check_files(dir)?;
    Ok(seal)
}

/// The newest usable checkpoint of a run.
///
/// # Errors
/// When the run cannot be read.
pub fn newest(run: &Path) -> Result<Choice> {
    let record = Run::open(run)?;
    let reached = record.step_span(Table::Steps).map_or(0, |(_, last)| last + 1);
    let mut choice = Choice::default();
    for (step, dir) in all(run) {
        let usable = check(&dir, &record.info().id, step).and_then(|_| match step <= reached {
            true => Ok(()),
            false => Err(Error::format(&dir, format!("the record ends before it, after {reached} steps"))),
        });
        match usable {
            Ok(()) => {
                choice.found = Some(Found { step, dir });
                break;
            }
            Err(why) => {
                let foreign = Seal::read(&dir).is_ok_and(|s| s.run != record.info().id || s.step != step);
                choice.skipped.push(Skipped { dir, why, ours: !foreign });
            }
        }
    }
    Ok(choice)
}

/// Everything wrong with a run's checkpoints: the file and what it is.
pub fn problems(run: &Run) -> Vec<(String, String)> {
    let told = |(step, dir): (u32, PathBuf)| {
        let e = check(&dir, &run.info().id, step).err()?;
        let (path, what) = match e {
            Error::Format { path, message } => (path, message),
            Error::Io { path, source } => (path, source.to_string()),
            e => (dir, e.to_string()),
        };
        Some((growthpath_trace::shown_path(path.strip_prefix(run.dir()).unwrap_or(&path)), what))
    };
    all(run.dir()).into_iter().rev().filter_map(told).collect()
}

/// Remove automatic checkpoints but the newest `keep`.
///
/// # Errors
/// When one cannot be removed.
pub fn prune(run: &Path, keep: usize) -> Result<()> {
    for (_, dir) in all(run).into_iter().skip(keep) {
        // One whose seal cannot be read is not known to be superfluous.
        if Seal::read(&dir).is_ok_and(|s| s.automatic) {
            disk::remove_tree(&dir)?;
        }
    }
    Ok(())
}
