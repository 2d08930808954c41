//! Pinned host memory that copies do not wait for: batches on their way in, statistics on their way out.

use std::ffi::c_void;

use cudarc::driver::{result as driver, sys};

use super::{Elem, Gpu, Slice, failed};
use crate::error::{Result, shape_error};

/// Page-locked host memory of 32-bit words.
struct Pinned {
    gpu: Gpu,
    ptr: *mut c_void,
    len: usize,
    event: sys::CUevent,
    /// Whether `event` was recorded and not yet waited for.
    busy: bool,
}

// SAFETY: the memory is reached through `&mut self` or after the copy's event; the pointer is the value's own.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(gpu: &Gpu, len: usize) -> Result<Self> {
        gpu.enter()?;
        gpu.outside_recording("reserving page-locked memory")?;
        // SAFETY: at least one word is asked for; freed in `drop`.
        let ptr = unsafe { driver::malloc_host(4 * len.max(1), 0) }
            .map_err(|e| failed("reserving page-locked memory", e))?;
        // SAFETY: just reserved, as long.
        unsafe { std::ptr::write_bytes(ptr.cast::<u8>(), 0, 4 * len.max(1)) };
        let event = driver::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
            .map_err(|e| failed("creating an event", e))?;
        Ok(Self { gpu: gpu.clone(), ptr, len, event, busy: false })
    }

    /// Ready for another copy: the one before it is done, and no graph is being recorded, which would repeat the copy
    /// after this memory is gone.
    fn ready(&mut self, what: &str) -> Result<()> {
        self.gpu.enter()?;
        self.gpu.outside_recording(what)?;
        self.wait()
    }

    fn record(&mut self) -> Result<()> {
        self.gpu.inner().profile.lock().copy();
        // SAFETY: both handles are live.
        unsafe { driver::event::record(self.event, self.gpu.inner().stream) }
            .map_err(|e| failed("recording an event", e))?;
        self.busy = true;
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        if std::mem::take(&mut self.busy) {
            self.gpu.enter()?;
            // SAFETY: recorded in `record`.
            unsafe { driver::event::synchronize(self.event) }
                .map_err(|e| failed("running on the device", e))?;
        }
        Ok(())
    }

    fn words<T: Copy>(&self) -> &[T] {
        assert_eq!(size_of::<T>(), 4, "32-bit words");
        // SAFETY: as long as reserved, aligned by the driver, every bit pattern is a valid word.
        unsafe { std::slice::from_raw_parts(self.ptr.cast::<T>(), self.len) }
    }

    fn words_mut<T: Copy>(&mut self) -> &mut [T] {
        assert_eq!(size_of::<T>(), 4, "32-bit words");
        // SAFETY: as above, and `&mut self` is the only way in.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.cast::<T>(), self.len) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.wait();
        if self.gpu.enter().is_ok() {
            // SAFETY: created in `new`, dropped once; no copy is under way.
            unsafe {
                let _ = driver::event::destroy(self.event);
                let _ = driver::free_host(self.ptr);
            }
        }
    }
}

/// Words on their way to the device.
pub struct Staging(Pinned);

impl Staging {
    /// Room for `len` words.
    ///
    /// # Errors
    /// When the driver cannot lock as much memory.
    pub fn new(gpu: &Gpu, len: usize) -> Result<Self> {
        Ok(Self(Pinned::new(gpu, len)?))
    }

    /// Copy `words` to the front of `target` in stream order, without waiting for it. Waits for this staging's
    /// previous copy: keep two in turn.
    ///
    /// # Errors
    /// More words than there is room for, or a target of another type.
    pub fn send(&mut self, words: &[u32], target: Slice<'_>) -> Result<()> {
        const OP: &str = "copy to the device";
        target.check(OP, "target", Elem::U32, target.len())?;
        if words.len() > self.0.len || words.len() > target.len() {
            return Err(shape_error(OP, "words", &[words.len()], format!("at most {}", self.0.len)));
        }
        self.0.ready(OP)?;
        self.0.words_mut::<u32>()[..words.len()].copy_from_slice(words);
        let source = &self.0.words::<u32>()[..words.len()];
        // SAFETY: the target holds as many words; the source stays until the event recorded next has passed.
        unsafe { driver::memcpy_htod_async(target.ptr(), source, self.0.gpu.inner().stream) }
            .map_err(|e| failed(OP, e))?;
        self.0.record()
    }
}

/// Floats on their way to the host.
pub struct Readback(Pinned);

impl Readback {
    /// Room for `len` floats.
    ///
    /// # Errors
    /// When the driver cannot lock as much memory.
    pub fn new(gpu: &Gpu, len: usize) -> Result<Self> {
        Ok(Self(Pinned::new(gpu, len)?))
    }

    /// Start copying `source` in stream order; nothing is waited for.
    ///
    /// # Errors
    /// A source of another type or length.
    pub fn start(&mut self, source: Slice<'_>) -> Result<()> {
        const OP: &str = "copy from the device";
        source.check(OP, "source", Elem::F32, self.0.len)?;
        self.0.ready(OP)?;
        let stream = self.0.gpu.inner().stream;
        let target = self.0.words_mut::<f32>();
        // SAFETY: the target holds as many floats and stays until the event recorded next has passed.
        unsafe { driver::memcpy_dtoh_async(target, source.ptr(), stream) }.map_err(|e| failed(OP, e))?;
        self.0.record()
    }

    /// Wait for the copy and read it.
    ///
    /// # Errors
    /// When a launch before the copy failed.
    pub fn wait(&mut self) -> Result<&[f32]> {
        self.0.wait()?;
        Ok(self.0.words())
    }
}
