//! The second stream of a device, where one was made.

use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::cublas::{result as cublas, sys as cublas_sys};
use cudarc::driver::{result as driver, sys};
use parking_lot::Mutex;

use super::failed;
use crate::error::Result;

/// The second stream of a device, made when it is first used.
pub(super) struct Branch {
    /// Whether it is to be used; none: where it is faster.
    pub wanted: Mutex<Option<bool>>,
    /// Whether it is used.
    pub on: AtomicBool,
    /// Whether launches go to it now.
    pub active: AtomicBool,
    pub made: Mutex<Option<Made>>,
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
pub(super) struct Made {
    pub stream: sys::CUstream,
    pub blas: cublas_sys::cublasHandle_t,
    pub workspace: sys::CUdeviceptr,
    /// Where the main stream stood when work beside it began; where the last two pieces of work ended.
    pub fork: sys::CUevent,
    pub ends: [sys::CUevent; 2],
    /// Whether the main stream has yet to wait for them; the older one comes next.
    pub open: [bool; 2],
    pub next: usize,
}

fn wrong(e: driver::DriverError) -> crate::Error {
    failed("working on a second stream", e)
}

impl Made {
    pub fn new(capability: (i32, i32)) -> Result<Self> {
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

/// Give cuBLAS scratch memory of our own, of the size that it would reserve itself: recorded products need it to stay
/// where it is, and recorded or not they choose their algorithm by it.
pub(super) fn blas_workspace(
    blas: cublas_sys::cublasHandle_t,
    capability: (i32, i32),
) -> Result<sys::CUdeviceptr> {
    const WHAT: &str = "reserving cuBLAS's scratch memory";
    let bytes = if capability.0 >= 9 { 32 << 20 } else { 4 << 20 };
    // SAFETY: freed in `Inner::drop`.
    let workspace = unsafe { driver::malloc_sync(bytes) }.map_err(|e| failed(WHAT, e))?;
    // SAFETY: the handle is live, the memory as long as said and aligned by the driver.
    unsafe { cublas_sys::cublasSetWorkspace_v2(blas, workspace as *mut _, bytes) }
        .result()
        .map_err(|e| failed(WHAT, e))?;
    Ok(workspace)
}

/// `stream` waits until `event` has passed.
pub(super) fn wait(stream: sys::CUstream, event: sys::CUevent) -> Result<()> {
    let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
    // SAFETY: both handles are live.
    unsafe { driver::stream::wait_event(stream, event, flags) }.map_err(wrong)
}

pub(super) fn record(event: sys::CUevent, stream: sys::CUstream) -> Result<()> {
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
