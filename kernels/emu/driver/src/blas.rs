//! cuBLAS's entry points: column-major products, with float32 sums or in float64.

use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use growthpath_emu::Bf16;

use crate::memory;
use crate::queue;

const SUCCESS: c_int = 0;
const INVALID_VALUE: c_int = 7;
const NOT_SUPPORTED: c_int = 15;
const EXECUTION_FAILED: c_int = 13;

const R_32F: c_uint = 0;
const R_16BF: c_uint = 14;
const COMPUTE_32F: c_uint = 68;

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasCreate_v2(handle: *mut usize) -> c_int {
    let made = handles(|all| {
        let made = 0x2000 + all.len();
        all.insert(made, Handle::default());
        made
    });
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *handle = made };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cublasDestroy_v2(_handle: usize) -> c_int {
    SUCCESS
}

/// What a handle was told.
#[derive(Clone, Copy, Default)]
struct Handle {
    stream: usize,
    /// Scratch memory of the caller's; 0: none. Without, products in a graph reserve some at every launch, which this
    /// library does not do.
    workspace: u64,
}

static HANDLES: Mutex<Option<HashMap<usize, Handle>>> = Mutex::new(None);

fn handles<R>(f: impl FnOnce(&mut HashMap<usize, Handle>) -> R) -> R {
    f(HANDLES.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

fn tell(handle: usize, f: impl FnOnce(&mut Handle)) -> c_int {
    handles(|all| all.get_mut(&handle).map(f)).map_or(INVALID_VALUE, |()| SUCCESS)
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetStream_v2(handle: usize, stream: usize) -> c_int {
    // As the documentation says: with the library's own scratch memory again.
    tell(handle, |h| *h = Handle { stream, workspace: 0 })
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetWorkspace_v2(handle: usize, workspace: u64, bytes: usize) -> c_int {
    if bytes == 0 || !workspace.is_multiple_of(256) || !memory::holds(workspace, bytes) {
        return INVALID_VALUE;
    }
    // Products of two streams may run at the same time.
    let taken = handles(|all| all.iter().any(|(other, h)| *other != handle && h.workspace == workspace));
    if taken { INVALID_VALUE } else { tell(handle, |h| h.workspace = workspace) }
}

/// A column-major matrix in device memory.
#[derive(Clone, Copy)]
struct Matrix {
    address: u64,
    bf16: bool,
    pitch: usize,
    transposed: bool,
}

impl Matrix {
    fn new(address: u64, kind: c_uint, pitch: c_int, operation: c_uint) -> Option<Self> {
        let bf16 = match kind {
            R_32F => false,
            R_16BF => true,
            _ => return None,
        };
        Some(Self { address, bf16, pitch: usize::try_from(pitch).ok()?, transposed: operation == 1 })
    }

    /// Whether `[rows, columns]`, after the transposition, lie inside one block.
    fn fits(&self, rows: usize, columns: usize) -> bool {
        let (r, c) = if self.transposed { (columns, rows) } else { (rows, columns) };
        let size = if self.bf16 { 2 } else { 4 };
        r <= self.pitch && memory::holds(self.address, size * (self.pitch * (c - 1) + r))
    }

    fn place(&self, i: usize, j: usize) -> usize {
        if self.transposed { i * self.pitch + j } else { j * self.pitch + i }
    }

    /// # Safety
    /// The element lies inside a live block.
    unsafe fn get(&self, i: usize, j: usize) -> f32 {
        let at = self.place(i, j);
        if self.bf16 {
            // SAFETY: the caller's contract: the element lies inside a live block.
            unsafe { *(self.address as *const Bf16).add(at) }.to_f32()
        } else {
            // SAFETY: the caller's contract: the element lies inside a live block.
            unsafe { *(self.address as *const f32).add(at) }
        }
    }

    /// # Safety
    /// As [`Matrix::get`].
    unsafe fn set(&self, i: usize, j: usize, v: f32) {
        let at = self.place(i, j);
        if self.bf16 {
            // SAFETY: the caller's contract: the element lies inside a live block.
            unsafe { *(self.address as *mut Bf16).add(at) = Bf16::from_f32(v) };
        } else {
            // SAFETY: the caller's contract: the element lies inside a live block.
            unsafe { *(self.address as *mut f32).add(at) = v };
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasGemmEx(
    handle: usize,
    operation_a: c_uint,
    operation_b: c_uint,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: u64,
    a_type: c_uint,
    lda: c_int,
    b: u64,
    b_type: c_uint,
    ldb: c_int,
    beta: *const c_void,
    c: u64,
    c_type: c_uint,
    ldc: c_int,
    compute: c_uint,
    _algorithm: c_int,
) -> c_int {
    // SAFETY: the interface asks for two float32 scalars on the host, as the compute type says.
    let (alpha, beta) = unsafe { (*alpha.cast::<f32>(), *beta.cast::<f32>()) };
    let matrices = Matrix::new(a, a_type, lda, operation_a)
        .zip(Matrix::new(b, b_type, ldb, operation_b))
        .zip(Matrix::new(c, c_type, ldc, 0));
    let Some(((a, b), c)) = matrices else { return NOT_SUPPORTED };
    if compute != COMPUTE_32F || a_type != b_type || (c.bf16 && !a.bf16) {
        return NOT_SUPPORTED;
    }
    if m <= 0 || n <= 0 || k <= 0 {
        return INVALID_VALUE;
    }
    let (m, n, k) = (m as usize, n as usize, k as usize);
    if !(a.fits(m, k) && b.fits(k, n) && c.fits(m, n)) {
        return INVALID_VALUE;
    }
    let fits = move || a.fits(m, k) && b.fits(k, n) && c.fits(m, n);
    submit(handle, fits, move || {
        for j in 0..n {
            for i in 0..m {
                // SAFETY: all three were checked to lie inside blocks.
                unsafe {
                    let sum = (0..k).map(|p| a.get(i, p) * b.get(p, j)).sum::<f32>();
                    let old = if beta == 0.0 { 0.0 } else { beta * c.get(i, j) };
                    c.set(i, j, alpha * sum + old);
                }
            }
        }
    })
}

/// Queue a product, whose matrices have to lie inside blocks when its turn comes.
fn submit(
    handle: usize,
    fits: impl Fn() -> bool + Send + Sync + 'static,
    multiply: impl Fn() + Send + Sync + 'static,
) -> c_int {
    let Some(Handle { stream, workspace }) = handles(|all| all.get(&handle).copied()) else {
        return INVALID_VALUE;
    };
    if queue::is_captured(stream) && workspace == 0 {
        queue::refuse_captured("a product without cublasSetWorkspace");
        return EXECUTION_FAILED;
    }
    let work = move || {
        if !fits() {
            return Err("a product: its memory was freed".to_owned());
        }
        multiply();
        Ok(())
    };
    if queue::push(stream, Arc::new(work)) == 0 { SUCCESS } else { EXECUTION_FAILED }
}

/// Column-major float64 matrices in device memory, `stride` elements apart.
#[derive(Clone, Copy)]
struct Batch {
    address: u64,
    pitch: usize,
    stride: usize,
    transposed: bool,
}

impl Batch {
    fn new(address: u64, pitch: c_int, stride: i64, operation: c_uint) -> Option<Self> {
        let (pitch, stride) = (usize::try_from(pitch).ok()?, usize::try_from(stride).ok()?);
        Some(Self { address, pitch, stride, transposed: operation == 1 })
    }

    /// Whether `count` matrices `[rows, columns]`, after the transposition, lie inside one block.
    fn fit(&self, rows: usize, columns: usize, count: usize) -> bool {
        let (r, c) = if self.transposed { (columns, rows) } else { (rows, columns) };
        let last = (count - 1) * self.stride + self.pitch * (c - 1) + r;
        r <= self.pitch && memory::holds(self.address, 8 * last)
    }

    fn element(&self, number: usize, i: usize, j: usize) -> *mut f64 {
        let at = if self.transposed { i * self.pitch + j } else { j * self.pitch + i };
        (self.address as *mut f64).wrapping_add(number * self.stride + at)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasDgemmStridedBatched(
    handle: usize,
    operation_a: c_uint,
    operation_b: c_uint,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const f64,
    a: u64,
    lda: c_int,
    stride_a: i64,
    b: u64,
    ldb: c_int,
    stride_b: i64,
    beta: *const f64,
    c: u64,
    ldc: c_int,
    stride_c: i64,
    count: c_int,
) -> c_int {
    // SAFETY: the interface asks for two float64 scalars on the host.
    let (alpha, beta) = unsafe { (*alpha, *beta) };
    let batches = Batch::new(a, lda, stride_a, operation_a)
        .zip(Batch::new(b, ldb, stride_b, operation_b))
        .zip(Batch::new(c, ldc, stride_c, 0));
    let Some(((a, b), c)) = batches else { return INVALID_VALUE };
    if m <= 0 || n <= 0 || k <= 0 || count <= 0 {
        return INVALID_VALUE;
    }
    let (m, n, k, count) = (m as usize, n as usize, k as usize, count as usize);
    if !(a.fit(m, k, count) && b.fit(k, n, count) && c.fit(m, n, count)) {
        return INVALID_VALUE;
    }
    let fits = move || a.fit(m, k, count) && b.fit(k, n, count) && c.fit(m, n, count);
    submit(handle, fits, move || {
        for z in 0..count {
            for j in 0..n {
                for i in 0..m {
                    // SAFETY: all three were checked to lie inside blocks, and are there still.
                    unsafe {
                        let sum = (0..k).map(|p| *a.element(z, i, p) * *b.element(z, p, j)).sum::<f64>();
                        let to = c.element(z, i, j);
                        let old = if beta == 0.0 { 0.0 } else { beta * *to };
                        *to = alpha * sum + old;
                    }
                }
            }
        }
    })
}
