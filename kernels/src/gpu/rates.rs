//! What this device can do at most: the measures that kernels are held against.

use cudarc::driver::{result as driver, sys};

use super::{Elem, Gpu, Matrix, failed};
use crate::error::Result;

/// Repetitions after one to warm up; the fastest counts, since nothing makes a device faster than it is.
const REPETITIONS: usize = 10;

impl Gpu {
    /// Seconds that `work` keeps the device busy.
    fn time(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        self.enter()?;
        let wrong = |e: driver::DriverError| failed("timing the device", e);
        let event = || driver::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(wrong);
        let (start, end) = (event()?, event()?);
        let stream = self.inner().stream;
        // SAFETY: the events were just created, the stream is live.
        unsafe { driver::event::record(start, stream) }.map_err(wrong)?;
        let outcome = work();
        // SAFETY: as above; both events are destroyed once, after they were waited for.
        let ms = unsafe {
            driver::event::record(end, stream).map_err(wrong)?;
            driver::event::synchronize(end).map_err(wrong)?;
            let ms = driver::event::elapsed(start, end).map_err(wrong)?;
            let _ = driver::event::destroy(start);
            let _ = driver::event::destroy(end);
            ms
        };
        outcome.map(|()| f64::from(ms) / 1e3)
    }

    fn fastest(&self, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        work()?;
        let mut best = f64::INFINITY;
        for _ in 0..REPETITIONS {
            best = best.min(self.time(&mut work)?);
        }
        Ok(best)
    }

    /// Bytes a second, read and written, of a copy of `bytes` within the device's memory.
    ///
    /// # Errors
    /// Too little memory.
    pub fn copy_rate(&self, bytes: usize) -> Result<f64> {
        let len = bytes / Elem::F32.bytes();
        let (from, to) = (self.zeros(Elem::F32, len)?, self.zeros(Elem::F32, len)?);
        let seconds = self.fastest(|| to.all().copy_from(from.all()))?;
        Ok(2.0 * bytes as f64 / seconds)
    }

    /// Floating-point operations a second of an `[n, n] x [n, n]` product.
    ///
    /// # Errors
    /// Too little memory.
    pub fn gemm_rate(&self, n: usize, elem: Elem) -> Result<f64> {
        let (a, b, c) = (self.zeros(elem, n * n)?, self.zeros(elem, n * n)?, self.zeros(elem, n * n)?);
        let seconds = self.fastest(|| {
            let (x, y) = (Matrix::new(a.all(), n, n)?, Matrix::new(b.all(), n, n)?);
            self.gemm(Matrix::new(c.all(), n, n)?, x, y.t(), faer::Accum::Replace)
        })?;
        Ok(2.0 * (n as f64).powi(3) / seconds)
    }
}
