//! Writing a run directory.

mod batch;
mod buffers;
mod cut;
mod options;
mod pushes;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub use options::WriterOptions;

use crate::disk;
use crate::error::{Error, Result};
use crate::info::{RunInfo, SCHEMA_VERSION, Status, fresh_id, unix_now};
use crate::lock::RunLock;
use crate::manifest::{Manifest, strays};
use crate::names::{MANIFEST_FILE, RUN_FILE};
use crate::rows::{Row, show_key};
use crate::table::{Keep, Table};
use buffers::Buffers;
use cut::LastKeys;
use worker::Worker;

/// Records a run. Pushing a row costs a copy into memory; a background thread encodes and writes.
///
/// Rows of a table must come in key order, each once. Buffers are handed over when the first row of a new step is
/// pushed to `steps`, `heads` or `writes` and a budget of [`WriterOptions`] is used up, so that a part ends with a
/// whole step. An error of the background thread is returned by the next call; after it, every call fails with
/// [`Error::WriterStopped`], and what was flushed before is intact.
///
/// Dropped without [`RunWriter::finish`], it still tries to write what is buffered, cannot report whether that
/// worked, and leaves the status [`Status::Running`].
#[derive(Debug)]
pub struct RunWriter {
    dir: PathBuf,
    info: RunInfo,
    options: WriterOptions,
    buffers: Buffers,
    last: LastKeys,
    /// Last step pushed to a table that is written while training.
    frontier: Option<u32>,
    pending_rows: usize,
    pending_bytes: usize,
    last_flush: Instant,
    /// Of life, to followers, while rows are held.
    last_sign: Instant,
    /// Between [`RunWriter::hold`] and [`RunWriter::release`].
    held: bool,
    worker: Worker,
    stopped: Option<String>,
    lock: Arc<RunLock>,
}

impl RunWriter {
    /// Starts recording in a new or empty directory, which is created along with its parents. The schema version
    /// and the status ([`Status::Running`]) of `info` are set here.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyARun`], [`Error::NotEmpty`], [`Error::InUse`], [`Error::Io`].
    pub fn create(dir: impl AsRef<Path>, info: &RunInfo) -> Result<Self> {
        Self::create_with(dir, info, WriterOptions::default())
    }

    /// [`RunWriter::create`] with options.
    ///
    /// # Errors
    ///
    /// As [`RunWriter::create`].
    pub fn create_with(dir: impl AsRef<Path>, info: &RunInfo, options: WriterOptions) -> Result<Self> {
        let dir = dir.as_ref();
        let created = disk::create_dirs(dir)?;
        Self::create_in(dir, info, options).inspect_err(|_| disk::remove_empty(&created))
    }

    fn create_in(dir: &Path, info: &RunInfo, options: WriterOptions) -> Result<Self> {
        let lock = RunLock::take(dir)?;
        for leftover in refuse_full(dir)? {
            disk::remove(&leftover)?;
        }
        let (schema_version, status) = (SCHEMA_VERSION, Status::Running);
        let info = RunInfo { schema_version, status, id: fresh_id(dir), ..info.clone() };
        // run.json comes last: a directory that has it has everything.
        let manifest = Manifest::empty();
        manifest.write(dir)?;
        info.write(dir).inspect_err(|_| {
            let _ = fs::remove_file(dir.join(MANIFEST_FILE));
        })?;
        Self::start(dir, info, options, manifest, LastKeys::default(), lock)
    }

    /// Goes on with a run from the checkpoint taken before step `step`: of `steps`, `heads` and `writes` the rows
    /// with a smaller step stay, of the other tables those with a step up to it (see [`Keep`]); later rows are
    /// removed. The part in which the cut lies is rewritten; a crash while this happens leaves the old record or
    /// the new one, never a mixture. Leftovers of an earlier crash are removed.
    ///
    /// # Errors
    ///
    /// [`Error::ResumeGap`] if `steps` does not reach up to `step` (nothing is changed then), the errors of
    /// [`crate::Run::open`], [`Error::Corrupt`], [`Error::InUse`], [`Error::Io`].
    pub fn resume(dir: impl AsRef<Path>, step: u32) -> Result<Self> {
        Self::resume_with(dir, step, WriterOptions::default())
    }

    /// [`RunWriter::resume`] with options.
    ///
    /// # Errors
    ///
    /// As [`RunWriter::resume`].
    pub fn resume_with(dir: impl AsRef<Path>, step: u32, options: WriterOptions) -> Result<Self> {
        let dir = dir.as_ref();
        RunInfo::read(dir)?;
        let lock = RunLock::take(dir)?;
        // Once more: what was there before belonged to whoever held the lock.
        let mut info = RunInfo::read(dir)?;
        let (manifest, last) = cut::cut(dir, step, options.zstd_level)?;
        info.status = Status::Running;
        info.finished_unix = None;
        info.resumed.push(step);
        info.write(dir)?;
        Self::start(dir, info, options, manifest, last, lock)
    }

    fn start(
        dir: &Path,
        info: RunInfo,
        options: WriterOptions,
        manifest: Manifest,
        last: LastKeys,
        lock: RunLock,
    ) -> Result<Self> {
        let telemetry = Table::ALL.iter().filter(|t| t.keep() == Keep::Before);
        let frontier = telemetry.filter_map(|&t| last[t as usize].map(|key| key[0] as u32)).max();
        let lock = Arc::new(lock);
        Ok(Self {
            worker: Worker::start(dir, manifest, options.zstd_level, Arc::clone(&lock))?,
            dir: dir.to_owned(),
            info,
            options,
            buffers: Buffers::default(),
            last,
            frontier,
            pending_rows: 0,
            pending_bytes: 0,
            last_flush: Instant::now(),
            last_sign: Instant::now(),
            held: false,
            stopped: None,
            lock,
        })
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `run.json` says now.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// Changes `run.json`, atomically.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; the old file stays then.
    pub fn update_info(&mut self, change: impl FnOnce(&mut RunInfo)) -> Result<()> {
        let mut info = self.info.clone();
        change(&mut info);
        info.schema_version = SCHEMA_VERSION;
        self.still_ours()?;
        info.write(&self.dir)?;
        self.info = info;
        Ok(())
    }

    /// Whether the directory is still the one that this writer took: for what else is to be written there.
    ///
    /// # Errors
    ///
    /// [`Error::Replaced`], [`Error::Io`].
    pub fn still_ours(&self) -> Result<()> {
        self.lock.check()
    }

    /// Step of the last row that a table has, on disk or in memory.
    pub fn last_step(&self, table: Table) -> Option<u32> {
        self.last[table as usize].map(|key| key[0] as u32)
    }

    /// Adds rows to their table.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`] if a row's key is not above that of the row before it (none of `rows` is taken then);
    /// an error of the background thread; [`Error::WriterStopped`] after one.
    pub fn push<R: Row>(&mut self, rows: &[R]) -> Result<()> {
        self.check()?;
        let Some(first) = rows.first() else { return Ok(()) };
        let mut last = self.last[R::TABLE as usize];
        for row in rows {
            let key = row.key();
            if let Some(last) = last.filter(|last| *last >= key) {
                let (key, last) = (show_key::<R>(&key), show_key::<R>(&last));
                return Err(Error::OutOfOrder { table: R::TABLE, key, last });
            }
            last = Some(key);
        }
        if R::TABLE.keep() == Keep::Before {
            if self.frontier < Some(first.step()) {
                if self.budget_spent(1) {
                    self.hand_over()?;
                } else if self.held && self.last_sign.elapsed() >= self.options.flush_interval {
                    self.show_life();
                }
            }
            self.frontier = self.frontier.max(rows.last().map(Row::step));
        }
        self.last[R::TABLE as usize] = last;
        self.buffers.extend(rows);
        self.pending_rows += rows.len();
        self.pending_bytes += rows.len() * R::TABLE.row_bytes();
        // Memory stays bounded even for a caller that never begins a new step.
        if self.budget_spent(4) { self.hand_over() } else { Ok(()) }
    }

    /// Keeps rows in memory, whatever they amount to, until [`RunWriter::release`]: rows that belong before them are still
    /// being worked out, and what is on disk is to have no gap at any time. [`RunWriter::flush`] writes them nevertheless, and so
    /// does the end of the writer: where what was awaited failed, they are the evidence. Memory is what the rows of so long a
    /// time take; the manifest's time of change moves on, so that followers see that the run goes on.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Ends [`RunWriter::hold`], between two steps.
    ///
    /// # Errors
    ///
    /// An error of the background thread; [`Error::WriterStopped`] after one.
    pub fn release(&mut self) -> Result<()> {
        self.held = false;
        if self.budget_spent(1) { self.hand_over() } else { Ok(()) }
    }

    /// Makes everything pushed so far durable: it returns when the parts and the manifest are on disk.
    ///
    /// # Errors
    ///
    /// An error of the background thread; [`Error::WriterStopped`] after one.
    pub fn flush(&mut self) -> Result<()> {
        self.check()?;
        self.hand_over()?;
        self.worker.wait();
        self.check()
    }

    /// Flushes, ends the background thread, removes temporary files that are still there, and writes the status and the
    /// time into `run.json`.
    ///
    /// # Errors
    ///
    /// As [`RunWriter::flush`] (the status in `run.json` stays then), and [`Error::Io`].
    pub fn finish(mut self, status: Status) -> Result<RunInfo> {
        self.flush()?;
        self.worker.end();
        self.still_ours()?;
        sweep(&self.dir);
        self.update_info(|info| {
            info.status = status;
            info.finished_unix = Some(unix_now());
        })?;
        Ok(self.info.clone())
    }

    /// Let the manifest look as if it had just been written. What else may be wrong with it is found when it is.
    fn show_life(&mut self) {
        self.last_sign = Instant::now();
        let manifest = fs::File::options().append(true).open(self.dir.join(MANIFEST_FILE));
        let _ = manifest.and_then(|f| f.set_modified(std::time::SystemTime::now()));
    }

    /// Whether a multiple of a size budget is used up, or the time since the last flush (whatever the multiple,
    /// counted only at the start of a step).
    fn budget_spent(&self, multiple: usize) -> bool {
        self.pending_rows > 0
            && !self.held
            && (self.pending_rows >= self.options.flush_rows.saturating_mul(multiple)
                || self.pending_bytes >= self.options.flush_bytes.saturating_mul(multiple)
                || (multiple == 1 && self.last_flush.elapsed() >= self.options.flush_interval))
    }

    /// Gives the buffers to the background thread; waits only if it is two buffers behind.
    fn hand_over(&mut self) -> Result<()> {
        self.last_flush = Instant::now();
        if self.pending_rows > 0 {
            (self.pending_rows, self.pending_bytes) = (0, 0);
            self.worker.store(std::mem::take(&mut self.buffers));
        }
        self.check()
    }

    /// Returns the background thread's error once, and [`Error::WriterStopped`] from then on.
    fn check(&mut self) -> Result<()> {
        if let Some(reason) = &self.stopped {
            return Err(Error::WriterStopped { reason: reason.clone() });
        }
        match self.worker.failure() {
            None => Ok(()),
            Some(error) => {
                self.stopped = Some(error.to_string());
                Err(error)
            }
        }
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if self.pending_rows > 0 {
            self.worker.store(std::mem::take(&mut self.buffers));
        }
        self.worker.end();
    }
}

/// Removes temporary files whose own removal failed. Nobody goes on with a complete run, so this is the last that can be
/// done about them; `verify` names those that resist.
fn sweep(dir: &Path) {
    let left = Manifest::read(dir).and_then(|m| strays(dir, &m)).unwrap_or_default();
    let temporary = |p: &&PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(disk::is_temporary);
    for path in left.iter().filter(temporary) {
        let _ = disk::remove(path);
    }
}

/// Refuses a directory that holds anything but what a creation cut short by a crash leaves; returns that.
fn refuse_full(dir: &Path) -> Result<Vec<PathBuf>> {
    if dir.join(RUN_FILE).exists() {
        return Err(Error::AlreadyARun { path: dir.to_owned() });
    }
    let mut leftovers = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        let name = entry.file_name();
        if name != MANIFEST_FILE && !name.to_str().is_some_and(disk::is_temporary) {
            return Err(Error::NotEmpty { path: dir.to_owned() });
        }
        leftovers.push(entry.path());
    }
    Ok(leftovers)
}

/// Whether a directory holds nothing but what is left of a creation that was cut short: [`RunWriter::create`] takes
/// it. False where there is none.
pub fn is_unborn(dir: &Path) -> bool {
    dir.is_dir() && refuse_full(dir).is_ok()
}
