//! One launch of a kernel of this crate.

use std::ffi::c_void;

use bytemuck::Pod;
use cudarc::driver::result as driver;

use super::{Gpu, Slice, failed};
use crate::error::Result;

/// Shape of a launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub blocks: [usize; 3],
    pub threads: [usize; 2],
    /// Bytes of dynamic shared memory of a block.
    pub shared: usize,
}

impl Grid {
    pub(crate) fn new(blocks: [usize; 3], threads: usize) -> Self {
        Self::flat(blocks, [threads, 1])
    }

    /// Blocks of two dimensions.
    pub(crate) fn flat(blocks: [usize; 3], threads: [usize; 2]) -> Self {
        Self { blocks, threads, shared: 0 }
    }

    /// The same with `bytes` of dynamic shared memory a block.
    pub(crate) fn with_shared(self, bytes: usize) -> Self {
        Self { shared: bytes, ..self }
    }
}

/// One argument of a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arg {
    Address(u64),
    Int(i32),
    Float(f32),
}

impl Arg {
    pub(crate) const NULL: Self = Self::Address(0);

    fn bits(self) -> u64 {
        match self {
            Self::Address(a) => a,
            // Little-endian: the kernel reads the first four bytes.
            Self::Int(i) => u64::from(i as u32),
            Self::Float(f) => u64::from(f.to_bits()),
        }
    }
}

impl From<Slice<'_>> for Arg {
    fn from(s: Slice<'_>) -> Self {
        Self::Address(s.ptr())
    }
}

impl From<Option<Slice<'_>>> for Arg {
    fn from(s: Option<Slice<'_>>) -> Self {
        s.map_or(Self::NULL, Self::from)
    }
}

impl From<i32> for Arg {
    fn from(v: i32) -> Self {
        Self::Int(v)
    }
}

impl From<f32> for Arg {
    fn from(v: f32) -> Self {
        Self::Float(v)
    }
}

impl Gpu {
    /// Launch `kernel`; nothing is waited for.
    ///
    /// # Errors
    /// A kernel that does not compile for this device, or a launch that the driver refuses.
    ///
    /// # Safety
    /// The arguments fit the kernel's signature, and every address holds as much as its documentation says.
    pub(crate) unsafe fn launch(&self, kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
        let bits: Vec<u64> = args.iter().map(|a| a.bits()).collect();
        let pointers = bits.iter().map(|b| std::ptr::from_ref(b).cast_mut().cast()).collect();
        // SAFETY: the caller's promise.
        unsafe { self.submit(kernel, grid, pointers) }
    }

    /// Launch `kernel`, whose one argument is a structure.
    ///
    /// # Errors
    /// As [`Gpu::launch`].
    ///
    /// # Safety
    /// As [`Gpu::launch`], of the addresses in the structure.
    pub(crate) unsafe fn launch_struct<T: Pod>(&self, kernel: &str, grid: Grid, argument: &T) -> Result<()> {
        let pointer = std::ptr::from_ref(argument).cast_mut().cast();
        // SAFETY: the caller's promise.
        unsafe { self.submit(kernel, grid, vec![pointer]) }
    }

    /// # Safety
    /// A pointer for each argument of the kernel; the rest as for [`Gpu::launch`].
    unsafe fn submit(&self, kernel: &str, grid: Grid, mut pointers: Vec<*mut c_void>) -> Result<()> {
        self.enter()?;
        let mut kernels = self.inner().kernels.lock();
        if !kernels.knows(kernel, grid.shared) {
            self.outside_recording("loading a kernel")?;
        }
        let function = kernels.function(kernel, grid.shared)?;
        drop(kernels);
        let [x, y, z] = grid.blocks.map(|b| b as u32);
        let [tx, ty] = grid.threads.map(|t| t as u32);
        let inner = self.inner();
        let stream = self.stream();
        let mut profile = inner.profile.lock();
        let mark = profile.before(stream)?;
        // SAFETY: the function belongs to a loaded module; the arguments are the caller's promise.
        unsafe {
            driver::launch_kernel(function, (x, y, z), (tx, ty, 1), grid.shared as u32, stream, &mut pointers)
        }
        .map_err(|e| failed(format!("launching {kernel}"), e))?;
        profile.after(kernel, mark, stream)
    }
}
