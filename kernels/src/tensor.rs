//! Borrowing candle's CPU storage as slices, and building tensors without a copy.

use parking_lot::RwLockReadGuard;
use std::ops::Deref;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Shape, Storage, Tensor};

use crate::error::{Error, Result, shape_error};

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
    read_as("read", "tensor", t)
}

/// [`read`] for argument `what` of operation `op`: the error names both.
pub(crate) fn read_as<'a>(op: &'static str, what: &'static str, t: &'a Tensor) -> Result<CpuF32<'a>> {
    let (guard, layout) = t.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(Error::Unsupported {
            op,
            message: format!("{what} of shape {:?} is not contiguous: call .contiguous() first", t.dims()),
        });
    };
    match &*guard {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(CpuF32 { guard, start, len: end - start }),
        _ => Err(Error::Unsupported {
            op,
            message: format!(
                "{what} has to be a float32 CPU tensor, got {:?} on {:?}: convert it first",
                t.dtype(),
                t.device().location()
            ),
        }),
    }
}

/// The values of an argument that candle hands to a custom operation.
pub(crate) fn flat<'a>(
    op: &'static str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(v), Some((a, b))) => Ok(&v[a..b]),
        (_, None) => candle_core::bail!("{op}: an argument of shape {:?} is not contiguous", layout.shape()),
        _ => candle_core::bail!("{op}: an argument is not float32"),
    }
}

/// Rows and columns of a matrix argument with at least one element.
pub(crate) fn matrix(op: &'static str, what: &'static str, t: &Tensor) -> Result<(usize, usize)> {
    match *t.dims() {
        [rows, columns] if rows > 0 && columns > 0 => Ok((rows, columns)),
        _ => Err(shape_error(op, what, t.dims(), "a matrix with at least one row and one column".into())),
    }
}

/// Check an argument's exact shape.
pub(crate) fn expect_dims(op: &'static str, what: &'static str, t: &Tensor, want: &[usize]) -> Result<()> {
    if t.dims() == want { Ok(()) } else { Err(shape_error(op, what, t.dims(), format!("{want:?}"))) }
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
/// The tensor is locked meanwhile: a guard from [`read`] over the same storage has to be dropped before.
///
/// # Errors
/// When the tensor is on another device, of another type or not contiguous.
pub fn edit(t: &Tensor, f: impl FnOnce(&mut [f32]) + Send) -> Result<()> {
    Ok(t.inplace_op1(&Edit(std::sync::Mutex::new(Some(f))))?)
}

/// Read `source` and change `target` (argument `what` of operation `op`).
///
/// # Errors
/// As [`edit`], and when both share one storage: the reader's lock would keep the writer out for ever.
pub(crate) fn edit_from(
    op: &'static str,
    what: (&'static str, &Tensor),
    source: (&'static str, &Tensor),
    f: impl FnOnce(&mut [f32], &[f32]) + Send,
) -> Result<()> {
    let from = read_as(op, source.0, source.1)?;
    {
        let to = read_as(op, what.0, what.1)?;
        if std::ptr::eq(&*to.guard, &*from.guard) {
            return Err(Error::Unsupported {
                op,
                message: format!("{} and {} share one storage: pass a copy", what.0, source.0),
            });
        }
    }
    let from: &[f32] = &from;
    edit(what.1, |to| f(to, from))
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
}
