//! Device memory: buffers that own it, slices that operations take.

use std::marker::PhantomData;

use cudarc::driver::{result as driver, sys};

use super::{Gpu, failed};
use crate::error::{Error, Result};

/// Type of the elements of device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit float.
    F32,
    /// Upper half of a 32-bit float.
    Bf16,
    /// 32-bit unsigned integer.
    U32,
    /// 64-bit float: what probes are worked out in.
    F64,
}

impl Elem {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::Bf16 => 2,
            Self::F64 => 8,
        }
    }

    /// Ending of the names of the kernels that store this type.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::U32 => "u32",
            Self::F64 => "f64",
        }
    }
}

/// Owned device memory of one element type.
#[derive(Debug)]
pub struct Buffer {
    gpu: Gpu,
    ptr: u64,
    len: usize,
    elem: Elem,
    /// Its number among all: see `Graphs`.
    born: u64,
}

/// A run of a buffer's elements. Copies alias, as pointers of a kernel may: operations on one stream run in order.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    gpu: &'a Gpu,
    ptr: u64,
    len: usize,
    elem: Elem,
    born: u64,
    buffer: PhantomData<&'a Buffer>,
}

impl Gpu {
    /// `len` elements of zeros (at least one is reserved, so that no pointer is null).
    ///
    /// # Errors
    /// Too little free memory.
    pub fn zeros(&self, elem: Elem, len: usize) -> Result<Buffer> {
        const WHAT: &str = "reserving device memory";
        self.enter()?;
        self.outside_recording(WHAT)?;
        let bytes = len.max(1) * elem.bytes();
        // SAFETY: at least one byte is asked for; the buffer frees it.
        let ptr = unsafe { driver::malloc_sync(bytes) }.map_err(|e| match e.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::DeviceMemory {
                wanted: mib(bytes),
                free: mib(driver::mem_get_info().map_or(0, |m| m.0)),
                message: e.to_string(),
            },
            _ => failed(WHAT, e),
        })?;
        let buffer = Buffer { gpu: self.clone(), ptr, len, elem, born: self.inner().graphs.born() };
        buffer.all().zero()?;
        Ok(buffer)
    }

    /// A float32 buffer that holds `values`.
    ///
    /// # Errors
    /// Too little free memory.
    pub fn upload(&self, values: &[f32]) -> Result<Buffer> {
        let buffer = self.zeros(Elem::F32, values.len())?;
        buffer.all().write(values)?;
        Ok(buffer)
    }

    /// A buffer that holds `values`.
    ///
    /// # Errors
    /// Too little free memory.
    pub fn upload_u32(&self, values: &[u32]) -> Result<Buffer> {
        let buffer = self.zeros(Elem::U32, values.len())?;
        buffer.all().write_u32(values)?;
        Ok(buffer)
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / (1u64 << 20) as f64
}

impl Buffer {
    /// Number of elements.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The whole buffer.
    pub fn all(&self) -> Slice<'_> {
        let Self { gpu, ptr, len, elem, born } = self;
        Slice { gpu, ptr: *ptr, len: *len, elem: *elem, born: *born, buffer: PhantomData }
    }

    /// Elements `start .. start + len`.
    ///
    /// # Errors
    /// A range past the end.
    pub fn at(&self, start: usize, len: usize) -> Result<Slice<'_>> {
        self.all().at(start, len)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // cuMemFree waits for the work that uses the memory. An error here has nowhere to go: the memory stays reserved.
        if self.gpu.enter().is_ok() && self.gpu.outside_recording("freeing device memory").is_ok() {
            self.gpu.inner().graphs.freed(self.born);
            // SAFETY: the pointer came from `malloc_sync` and is dropped once.
            let _ = unsafe { driver::free_sync(self.ptr) };
        }
    }
}

impl<'a> Slice<'a> {
    /// Number of elements.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Type of the elements.
    pub fn elem(&self) -> Elem {
        self.elem
    }

    /// Elements `start .. start + len` of this slice.
    ///
    /// # Errors
    /// A range past the end.
    pub fn at(&self, start: usize, len: usize) -> Result<Self> {
        match start.checked_add(len) {
            Some(end) if end <= self.len => {
                Ok(Self { ptr: self.ptr + (start * self.elem.bytes()) as u64, len, ..*self })
            }
            _ => Err(Error::Unsupported {
                op: "device slice",
                message: format!("{start} + {len} lies outside {} elements", self.len),
            }),
        }
    }

    pub(crate) fn gpu(&self) -> &'a Gpu {
        self.gpu
    }

    /// The only way to the address for what launches: a graph under way takes note of the buffer.
    pub(super) fn ptr(&self) -> u64 {
        self.gpu.inner().graphs.used(self.born);
        self.ptr
    }

    pub(super) fn bytes(&self) -> usize {
        self.len * self.elem.bytes()
    }

    /// The address, for tables that kernels read (the optimizer's chunks).
    pub(crate) fn address(&self) -> u64 {
        self.ptr()
    }

    /// Check type and exact length.
    pub(crate) fn check(&self, op: &'static str, what: &'static str, elem: Elem, len: usize) -> Result<()> {
        if self.elem == elem && self.len == len {
            return Ok(());
        }
        Err(Error::Shape {
            op,
            what,
            got: vec![self.len],
            expected: format!("[{len}] of {}, not of {}", elem.suffix(), self.elem.suffix()),
        })
    }

    /// Fill with zeros.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn zero(&self) -> Result<()> {
        self.gpu.enter()?;
        if self.len == 0 {
            return Ok(());
        }
        // SAFETY: the range belongs to a live buffer.
        unsafe { driver::memset_d8_async(self.ptr(), 0, self.bytes(), self.gpu.stream()) }
            .map_err(|e| failed("clearing device memory", e))
    }

    /// Copy from another slice of the same type and length.
    ///
    /// # Errors
    /// Another type, length or device.
    pub fn copy_from(&self, source: Slice<'_>) -> Result<()> {
        source.check("device copy", "source", self.elem, self.len)?;
        self.gpu.enter()?;
        if !self.gpu.same(source.gpu) {
            return Err(failed("copying device memory", "source and target are on two devices"));
        }
        // SAFETY: both ranges belong to live buffers and are equally long.
        unsafe { driver::memcpy_dtod_async(self.ptr(), source.ptr(), self.bytes(), self.gpu.stream()) }
            .map_err(|e| failed("copying device memory", e))
    }

    fn write_all<T>(&self, values: &[T]) -> Result<()> {
        const WHAT: &str = "copying to the device";
        self.gpu.enter()?;
        self.gpu.outside_recording(WHAT)?;
        // In stream order, then waited for: `values` may be gone when this returns.
        // SAFETY: the callers checked type and length.
        unsafe { driver::memcpy_htod_async(self.ptr, values, self.gpu.inner().stream) }
            .map_err(|e| failed(WHAT, e))?;
        self.gpu.inner().profile.lock().copy();
        self.gpu.synchronize()
    }

    /// Copy from the host; waits for it.
    ///
    /// # Errors
    /// Another type or length.
    pub fn write(&self, values: &[f32]) -> Result<()> {
        self.check("copy to the device", "target", Elem::F32, values.len())?;
        self.write_all(values)
    }

    /// Copy from the host; waits for it.
    ///
    /// # Errors
    /// Another type or length.
    pub fn write_u32(&self, values: &[u32]) -> Result<()> {
        self.check("copy to the device", "target", Elem::U32, values.len())?;
        self.write_all(values)
    }

    /// Copy to the host as float32, whatever the float type; waits for it.
    ///
    /// # Errors
    /// When an earlier launch failed, or the elements are integers.
    pub fn read(&self) -> Result<Vec<f32>> {
        match self.elem {
            Elem::F32 => self.read_all::<f32>(),
            Elem::Bf16 => {
                let bits = self.read_all::<u16>()?;
                Ok(bits.into_iter().map(|b| f32::from_bits(u32::from(b) << 16)).collect())
            }
            Elem::U32 | Elem::F64 => Err(Error::Unsupported {
                op: "copy from the device",
                message: "the elements are integers or float64".into(),
            }),
        }
    }

    /// Copy float64 from the host; waits for it.
    ///
    /// # Errors
    /// Another type or length.
    pub fn write_f64(&self, values: &[f64]) -> Result<()> {
        self.check("copy to the device", "target", Elem::F64, values.len())?;
        self.write_all(values)
    }

    /// Copy float64 to the host; waits for it.
    ///
    /// # Errors
    /// When an earlier launch failed, or the elements are of another type.
    pub fn read_f64(&self) -> Result<Vec<f64>> {
        self.check("copy from the device", "source", Elem::F64, self.len)?;
        self.read_all()
    }

    fn read_all<T: Default + Clone>(&self) -> Result<Vec<T>> {
        const WHAT: &str = "copying from the device";
        self.gpu.enter()?;
        self.gpu.outside_recording(WHAT)?;
        let mut out = vec![T::default(); self.len];
        // SAFETY: `out` is as long as the slice, of elements as wide.
        unsafe { driver::memcpy_dtoh_async(&mut out, self.ptr, self.gpu.inner().stream) }
            .map_err(|e| failed(WHAT, e))?;
        self.gpu.inner().profile.lock().copy();
        self.gpu.synchronize()?;
        Ok(out)
    }
}
