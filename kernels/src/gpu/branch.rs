//! A second stream: work that may run beside what follows it, for kernels that do not fill the device.
//!
//! Results do not change: what runs beside reads and writes other memory than what it runs beside, which is the caller's
//! to see to, and every kernel computes the same wherever it runs.

use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::cublas::{result as cublas, sys as cublas_sys};
use cudarc::driver::{result as driver, sys};
use parking_lot::Mutex;

use super::device::blas_workspace;
use super::{Gpu, failed};
use crate::error::Result;

/// The second stream of a device, made when it is first used.
pub(super) struct Branch {
    /// Whether it is to be used; none: where it is faster.
    wanted: Mutex<Option<bool>>,
    /// Whether it is used.
    on: AtomicBool,
    /// Whether launches go to it now.
    active: AtomicBool,
    made: Mutex<Option<Made>>,
}

impl Default for Branch {
    /// `GROWTHPATH_CUDA_GRAPHS=1` and `2` say how many streams a graph has.
    fn default() -> Self {
        let wanted = match std::env::var("GROWTHPATH_CUDA_GRAPHS").as_deref() {
            Ok("1") => Some(false),
            Ok("2") => Some(true),
            _ => None,
        };
        Self {
            wanted: Mutex::new(wanted),
            on: AtomicBool::new(false),
            active: AtomicBool::new(false),
            made: Mutex::new(None),
        }
    }
}

#[derive(Clone, Copy)]
struct Made {
    stream: sys::CUstream,
    blas: cublas_sys::cublasHandle_t,
    workspace: sys::CUdeviceptr,
    /// Where the main stream stood when work beside it began; where the last two pieces of work ended.
    fork: sys::CUevent,
    ends: [sys::CUevent; 2],
    /// Whether the main stream has yet to wait for them; the older one comes next.
    open: [bool; 2],
    next: usize,
}

fn wrong(e: driver::DriverError) -> crate::Error {
    failed("working on a second stream", e)
}

impl Made {
    fn new(capability: (i32, i32)) -> Result<Self> {
        let event = || driver::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(wrong);
        let stream = driver::stream::create(driver::stream::StreamKind::NonBlocking).map_err(wrong)?;
        let blas = cublas::create_handle().map_err(|e| failed("starting cuBLAS", e))?;
        // SAFETY: both handles are live. The stream types of the two libraries are the same pointer.
        unsafe { cublas::set_stream(blas, stream.cast()) }.map_err(|e| failed("starting cuBLAS", e))?;
        Ok(Self {
            workspace: blas_workspace(blas, capability)?,
            stream,
            blas,
            fork: event()?,
            ends: [event()?, event()?],
            open: [false; 2],
            next: 0,
        })
    }
}

/// `stream` waits until `event` has passed.
fn wait(stream: sys::CUstream, event: sys::CUevent) -> Result<()> {
    let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
    // SAFETY: both handles are live.
    unsafe { driver::stream::wait_event(stream, event, flags) }.map_err(wrong)
}

fn record(event: sys::CUevent, stream: sys::CUstream) -> Result<()> {
    // SAFETY: both handles are live.
    unsafe { driver::event::record(event, stream) }.map_err(wrong)
}

impl Branch {
    /// The second stream, where launches go to it.
    pub(super) fn stream(&self) -> Option<sys::CUstream> {
        self.active.load(Ordering::Relaxed).then(|| self.made.lock().map(|m| m.stream)).flatten()
    }

    /// Its cuBLAS handle.
    pub(super) fn blas(&self) -> Option<cublas_sys::cublasHandle_t> {
        self.active.load(Ordering::Relaxed).then(|| self.made.lock().map(|m| m.blas)).flatten()
    }

    /// Give everything back; the device's context is current and idle.
    pub(super) fn destroy(&self) {
        if let Some(m) = self.made.lock().take() {
            // SAFETY: every handle was made in `Made::new`, and is used no more.
            unsafe {
                let _ = driver::stream::synchronize(m.stream);
                let _ = cublas::destroy_handle(m.blas);
                let _ = driver::free_sync(m.workspace);
                for e in [m.fork, m.ends[0], m.ends[1]] {
                    let _ = driver::event::destroy(e);
                }
                let _ = driver::stream::destroy(m.stream);
            }
        }
    }
}

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
