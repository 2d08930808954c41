//! The background thread that encodes, compresses and writes parts.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::buffers::{Buffers, Store};
use crate::disk;
use crate::error::{Error, Result};
use crate::lock::RunLock;
use crate::manifest::{Manifest, PartEntry, part_name, part_number};
use crate::part;
use crate::rows::Row;
use crate::table::Table;

enum Job {
    Store(Box<Buffers>),
    Wait(SyncSender<()>),
}

/// Handle of the background thread.
#[derive(Debug)]
pub(super) struct Worker {
    dir: PathBuf,
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Worker {
    /// Starts the thread; the manifest is its own from here on.
    pub fn start(dir: &Path, manifest: Manifest, zstd_level: i32, lock: Arc<RunLock>) -> Result<Self> {
        // One buffer in work and one waiting: memory stays bounded, a short stall of the disk goes unnoticed.
        let (jobs, inbox) = sync_channel(1);
        let failure = Arc::new(Mutex::new(None));
        let mut flusher = Flusher { dir: dir.to_owned(), manifest, zstd_level, lock, fresh: Vec::new() };
        let slot = Arc::clone(&failure);
        let thread = thread::Builder::new()
            .name("growthpath-trace".to_owned())
            .spawn(move || run(&inbox, &mut flusher, &slot))
            .map_err(Error::io("start the thread that writes", dir))?;
        Ok(Self { dir: dir.to_owned(), jobs: Some(jobs), thread: Some(thread), failure })
    }

    /// Hands over rows. A thread that has died is noticed by [`Worker::failure`].
    pub fn store(&self, rows: Buffers) {
        self.send(Job::Store(Box::new(rows)));
    }

    /// Returns when everything handed over so far is written, or has failed.
    pub fn wait(&self) {
        let (done, signal) = sync_channel(1);
        self.send(Job::Wait(done));
        // An error means that the thread died, which the failure slot says.
        let _ = signal.recv();
    }

    /// The thread's error, once.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets the thread work off its jobs and end.
    pub fn end(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.died();
        }
    }

    fn send(&self, job: Job) {
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            self.died();
        }
    }

    fn died(&self) {
        let what = "the thread that writes it has ended".to_owned();
        let mut slot = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(Error::Corrupt { path: self.dir.clone(), what });
    }
}

fn run(inbox: &Receiver<Job>, flusher: &mut Flusher, failure: &Mutex<Option<Error>>) {
    let mut failed = false;
    for job in inbox {
        match job {
            // After an error nothing more is written: a later part would leave a gap.
            Job::Store(_) if failed => {}
            Job::Store(rows) => {
                if let Err(error) = flusher.flush(&rows) {
                    failed = true;
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
            // The asker may have gone away; nothing depends on it.
            Job::Wait(done) => drop(done.send(())),
        }
    }
}

/// Writes buffers as parts, then the manifest.
struct Flusher {
    dir: PathBuf,
    manifest: Manifest,
    zstd_level: i32,
    lock: Arc<RunLock>,
    /// Parts in place that the manifest on disk does not list yet.
    fresh: Vec<PartEntry>,
}

impl Flusher {
    fn flush(&mut self, rows: &Buffers) -> Result<()> {
        rows.for_each(self)?;
        self.lock.check()?;
        self.manifest.parts.append(&mut self.fresh);
        self.manifest.write(&self.dir)
    }
}

impl Store for Flusher {
    fn store<R: Row>(&mut self, rows: &[R]) -> Result<()> {
        self.lock.check()?;
        let number = next_number(&self.manifest, R::TABLE);
        self.fresh.push(write_part(&self.dir, rows, number, self.zstd_level)?);
        Ok(())
    }
}

/// Number after those of the table's listed parts.
pub(super) fn next_number(manifest: &Manifest, table: Table) -> u64 {
    manifest.of(table).filter_map(|p| part_number(&p.file)).max().map_or(0, |n| n.saturating_add(1))
}

/// Writes one part whole and returns its entry for the manifest.
pub(super) fn write_part<R: Row>(dir: &Path, rows: &[R], number: u64, zstd_level: i32) -> Result<PartEntry> {
    let table = R::TABLE;
    let encode = |what| Error::Encode { table, what };
    let ends = rows.first().zip(rows.last()).ok_or_else(|| encode("no rows".to_owned()))?;
    let batch = R::to_batch(rows).map_err(encode)?;
    let bytes = part::encode(table, &batch, zstd_level)?;
    let entry = PartEntry {
        table,
        file: part_name(number),
        rows: rows.len() as u64,
        bytes: bytes.len() as u64,
        first_step: ends.0.step(),
        last_step: ends.1.step(),
        blake3: blake3::hash(&bytes).to_hex().to_string(),
    };
    let folder = dir.join(table.name());
    disk::create_dir(&folder)?;
    disk::write_whole(&entry.path(dir), &bytes)?;
    Ok(entry)
}
