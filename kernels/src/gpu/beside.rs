//! A second stream: work that may run beside what follows it, for kernels that do not fill the device.
//!
//! Results do not change: what runs beside reads and writes other memory than what it runs beside, which is the caller's
//! to see to, and every kernel computes the same wherever it runs.

use std::sync::atomic::Ordering;

use super::Gpu;
use super::branch::{Made, record, wait};
use crate::error::Result;

impl Gpu {
    /// Have work that can be recorded use a second stream or not; none: where it is faster. Returns what it was.
    pub fn want_two_streams(&self, wanted: Option<bool>) -> Option<bool> {
        std::mem::replace(&mut *self.inner().branch.wanted.lock(), wanted)
    }

    /// What [`Gpu::want_two_streams`] asked for.
    pub fn wants_two_streams(&self) -> Option<bool> {
        *self.inner().branch.wanted.lock()
    }

    /// From here on, [`Gpu::beside`] uses a second stream or not. Where there cannot be one (too little memory), none is
    /// used nor wanted.
    pub fn use_two_streams(&self, on: bool) {
        let on = on && self.make_branch().is_ok();
        self.inner().branch.on.store(on, Ordering::Relaxed);
    }

    fn make_branch(&self) -> Result<()> {
        let mut made = self.inner().branch.made.lock();
        if made.is_some() {
            return Ok(());
        }
        self.enter()?;
        self.outside_recording("making a second stream")?;
        match Made::new(self.capability()) {
            Ok(new) => *made = Some(new),
            Err(e) => {
                self.want_two_streams(Some(false));
                return Err(e);
            }
        }
        Ok(())
    }

    /// Launch what `work` launches so that it may run beside what is launched after it, up to the call of `beside` after
    /// the next, or [`Gpu::join`]. It sees everything launched before it.
    ///
    /// What follows must not write what `work` reads or writes, nor read what it writes, before one of these.
    ///
    /// # Errors
    /// What `work` meets, or what the driver refuses.
    pub fn beside(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let branch = &self.inner().branch;
        if !branch.on.load(Ordering::Relaxed) || branch.active.load(Ordering::Relaxed) {
            return work();
        }
        self.enter()?;
        let main = self.inner().stream;
        let mut made = branch.made.lock();
        let Some(m) = made.as_mut() else { return work() };
        let (turn, fork, stream) = (m.next, m.fork, m.stream);
        let end = m.ends[turn];
        if std::mem::take(&mut m.open[turn]) {
            wait(main, end)?;
        }
        record(fork, main)?;
        wait(stream, fork)?;
        drop(made);
        branch.active.store(true, Ordering::Relaxed);
        let outcome = work();
        branch.active.store(false, Ordering::Relaxed);
        record(end, stream)?;
        if let Some(m) = branch.made.lock().as_mut() {
            m.open[turn] = true;
            m.next = 1 - turn;
        }
        outcome
    }

    /// Have what is launched from here see all that ran beside.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn join(&self) -> Result<()> {
        let main = self.inner().stream;
        if let Some(m) = self.inner().branch.made.lock().as_mut() {
            for (open, end) in m.open.iter_mut().zip(m.ends) {
                if std::mem::take(open) {
                    wait(main, end)?;
                }
            }
        }
        Ok(())
    }
}
