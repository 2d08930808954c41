//! Who records on a device, and what may still be launched.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::failed;
use crate::error::Result;

/// Who records on a device, and which graphs may still be launched.
pub(super) struct Graphs {
    /// Whether work is to be recorded at all.
    pub wanted: AtomicBool,
    /// Why something could not be recorded, after which nothing is.
    pub refused: Mutex<Option<String>>,
    /// Number of the recording thread; 0: nobody records.
    pub recording: AtomicU64,
    pub lives: Mutex<Lives>,
}

impl Default for Graphs {
    /// `GROWTHPATH_CUDA_GRAPHS=off` has everything launched one by one.
    fn default() -> Self {
        let wanted = !std::env::var("GROWTHPATH_CUDA_GRAPHS").is_ok_and(|v| v == "off");
        Self {
            wanted: AtomicBool::new(wanted),
            refused: Mutex::new(None),
            recording: AtomicU64::new(0),
            lives: Mutex::new(Lives::default()),
        }
    }
}

/// Every buffer has a number. A graph reaches the buffers whose addresses were asked for while it was recorded, and dies
/// with any of them.
#[derive(Default)]
pub(super) struct Lives {
    pub next: u64,
    /// The buffers of the graph being recorded.
    pub used: BTreeSet<u64>,
    pub graphs: Vec<(BTreeSet<u64>, Weak<AtomicBool>)>,
}

/// This thread's number, from 1.
pub(super) fn me() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: Cell<u64> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed)));
    NUMBER.get()
}

impl Graphs {
    /// The number of a new buffer.
    pub(super) fn born(&self) -> u64 {
        let mut lives = self.lives.lock();
        lives.next += 1;
        lives.next
    }

    /// A buffer's address is asked for.
    pub(super) fn used(&self, buffer: u64) {
        if self.recording.load(Ordering::Relaxed) != 0 {
            self.lives.lock().used.insert(buffer);
        }
    }

    /// A buffer is about to be freed: graphs that use it can be launched no more.
    pub(super) fn freed(&self, buffer: u64) {
        self.lives.lock().graphs.retain(|(used, alive)| match alive.upgrade() {
            Some(alive) if used.contains(&buffer) => {
                alive.store(false, Ordering::Relaxed);
                false
            }
            Some(_) => true,
            None => false,
        });
    }

    /// Refuse another thread's work while one records: it would become part of the graph.
    pub(super) fn check_thread(&self) -> Result<()> {
        match self.recording.load(Ordering::Relaxed) {
            0 => Ok(()),
            n if n == me() => Ok(()),
            _ => Err(failed("using the device", "another thread is recording a graph on it")),
        }
    }
}
