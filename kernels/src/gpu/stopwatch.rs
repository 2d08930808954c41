//! Time of a piece of work on the device.

use cudarc::driver::{result as driver, sys};

use super::{Gpu, failed};
use crate::error::Result;

/// Two events around a piece of work.
pub struct Stopwatch {
    gpu: Gpu,
    start: sys::CUevent,
    end: sys::CUevent,
}

// SAFETY: the handles are the value's own; the driver takes them from any thread.
unsafe impl Send for Stopwatch {}

fn wrong(e: driver::DriverError) -> crate::Error {
    failed("timing the device", e)
}

impl Stopwatch {
    /// Not running.
    ///
    /// # Errors
    /// When the driver has no more events.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        gpu.enter()?;
        let event = || driver::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(wrong);
        Ok(Self { gpu: gpu.clone(), start: event()?, end: event()? })
    }

    /// Start when the device is done with what was launched before, stop when it is done with what `work` launches;
    /// nothing is waited for.
    ///
    /// # Errors
    /// What `work` meets, or what the driver refuses.
    pub fn around(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.gpu.enter()?;
        self.gpu.outside_recording("timing the device")?;
        let stream = self.gpu.inner().stream;
        // SAFETY: both handles are live.
        unsafe { driver::event::record(self.start, stream) }.map_err(wrong)?;
        work()?;
        // SAFETY: as above.
        unsafe { driver::event::record(self.end, stream) }.map_err(wrong)
    }

    /// Milliseconds that the last work took; waits for its end.
    ///
    /// # Errors
    /// When there was none, or a launch before the end failed.
    pub fn milliseconds(&self) -> Result<f32> {
        self.gpu.enter()?;
        self.gpu.outside_recording("timing the device")?;
        // SAFETY: both handles are live.
        unsafe {
            driver::event::synchronize(self.end).map_err(wrong)?;
            driver::event::elapsed(self.start, self.end).map_err(wrong)
        }
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        if self.gpu.enter().is_ok() {
            for e in [self.start, self.end] {
                // SAFETY: created in `new`, destroyed once.
                let _ = unsafe { driver::event::destroy(e) };
            }
        }
    }
}
