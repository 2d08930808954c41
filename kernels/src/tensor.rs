//! Borrowing candle's CPU storage as slices, and building tensors without a copy.

use parking_lot::RwLockReadGuard;
use std::ops::Deref;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Shape, Storage, Tensor};

use crate::error::{Error, Result};

/// A read guard over the float32 values of a contiguous CPU tensor.
pub struct CpuF32<'a> {
    guard: RwLockReadGuard<'a, Storage>,
    start: usize,
    len: usize,
}

impl Deref for CpuF32<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match &*self.guard {
            Storage::Cpu(CpuStorage::F32(v)) => &v[self.start..self.start + self.len],
            // `read` checked the variant under this same guard.
            _ => &[],
        }
    }
}

/// Borrow the values of a contiguous float32 tensor that lives on the CPU.
///
/// # Errors
/// When the tensor is on another device, of another type or not contiguous.
pub fn read(t: &Tensor) -> Result<CpuF32<'_>> {
    let (guard, layout) = t.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(Error::Unsupported {
            op: "read",
            message: format!("tensor of shape {:?} is not contiguous: call .contiguous() first", t.dims()),
        });
    };
    match &*guard {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(CpuF32 { guard, start, len: end - start }),
        _ => Err(Error::Unsupported {
            op: "read",
            message: format!(
                "expected a float32 CPU tensor, got {:?} on {:?}",
                t.dtype(),
                t.device().location()
            ),
        }),
    }
}

/// Wrap a vector as a CPU tensor; moves, does not copy.
pub(crate) fn wrap(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Ok(Tensor::from_vec(data, shape.into(), &Device::Cpu)?)
}

/// A vector of `n` floats whose contents are whatever was in memory: for outputs that the caller overwrites whole.
///
/// Zeroing costs a pass over memory for each of the many activations of a step.
#[allow(clippy::uninit_vec)]
pub(crate) fn scratch(n: usize) -> Vec<f32> {
    let mut v = Vec::with_capacity(n);
    // SAFETY: capacity is n; every bit pattern is a valid f32; each caller writes all n elements before any read.
    unsafe { v.set_len(n) };
    v
}

struct Edit<F>(std::sync::Mutex<Option<F>>);

impl<F: FnOnce(&mut [f32]) + Send> InplaceOp1 for Edit<F> {
    fn name(&self) -> &'static str {
        "edit"
    }
    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((a, b)) = layout.contiguous_offsets() else {
            candle_core::bail!("edit: tensor of shape {:?} is not contiguous", layout.shape())
        };
        let CpuStorage::F32(v) = storage else { candle_core::bail!("edit: tensor is not float32") };
        let f = self.0.lock().ok().and_then(|mut f| f.take());
        if let Some(f) = f {
            f(&mut v[a..b]);
        }
        Ok(())
    }
}

/// Change the values of a contiguous float32 CPU tensor in place (a `Var`'s update).
///
/// # Errors
/// When the tensor is on another device, of another type or not contiguous.
pub fn edit(t: &Tensor, f: impl FnOnce(&mut [f32]) + Send) -> Result<()> {
    Ok(t.inplace_op1(&Edit(std::sync::Mutex::new(Some(f))))?)
}

/// A pointer that several threads write through, each to elements of its own.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut {
    ptr: *mut f32,
    len: usize,
}

// SAFETY: `slice` is unsafe and its contract demands disjoint ranges; the pointee outlives the parallel region.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    pub(crate) fn new(v: &mut [f32]) -> Self {
        Self { ptr: v.as_mut_ptr(), len: v.len() }
    }

    /// # Safety
    /// No two live slices may overlap, and the vector behind must outlive them.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(start + len <= self.len, "slice {start}+{len} out of {}", self.len);
        // SAFETY: in bounds by the assertion; disjointness is the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(start), len) }
    }

    /// Raw start pointer offset by `start` (for strided matrices).
    pub(crate) fn ptr_at(&self, start: usize) -> *mut f32 {
        assert!(start <= self.len);
        // SAFETY: in bounds by the assertion.
        unsafe { self.ptr.add(start) }
    }
}
