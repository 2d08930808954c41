//! Opening a device, and what belongs to it alone.

use std::sync::Arc;

use cudarc::cublas::{result as cublas, sys as cublas_sys};
use cudarc::driver::{result as driver, sys};
use parking_lot::Mutex;

use super::branch::{Branch, blas_workspace};
use super::failed;
use super::graphs::Graphs;
use super::module::Kernels;
use super::profile::Profile;
use crate::error::{Error, Result};

/// A CUDA device with one stream. Clones share it.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

pub(super) struct Inner {
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub(super) stream: sys::CUstream,
    pub(super) blas: Mutex<cublas_sys::cublasHandle_t>,
    pub(super) kernels: Mutex<Kernels>,
    pub(super) profile: Mutex<Profile>,
    pub(super) graphs: Graphs,
    pub(super) branch: Branch,
    /// Scratch memory of cuBLAS.
    workspace: sys::CUdeviceptr,
    name: String,
    capability: (i32, i32),
    processors: usize,
    shared_memory: usize,
    float_to_double: i32,
}

// SAFETY: the driver's handles may be used from any thread that has made the context current (`enter` does); cuBLAS
// calls are behind a lock.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.describe())
    }
}

fn missing(library: &str) -> Error {
    failed(
        "opening the CUDA device",
        format!(
            "{library} was not found: install NVIDIA's driver and CUDA 13 libraries, put their folder on LD_LIBRARY_PATH, or use the CPU"
        ),
    )
}

impl Gpu {
    /// Open device number `ordinal`.
    ///
    /// # Errors
    /// No driver, no cuBLAS, no such device, or one below compute capability 8.0.
    pub fn open(ordinal: usize) -> Result<Self> {
        // SAFETY: these look a library up and close it again; loading it has no effect of its own.
        if !unsafe { sys::is_culib_present() } {
            return Err(missing("the driver (libcuda.so.1)"));
        }
        // SAFETY: as above.
        if !unsafe { cublas_sys::is_culib_present() } {
            return Err(missing("cuBLAS (libcublas.so.13)"));
        }
        let what = || format!("opening CUDA device {ordinal}");
        driver::init().map_err(|e| failed(what(), e))?;
        let count = driver::device::get_count().map_err(|e| failed(what(), e))?;
        let number = i32::try_from(ordinal).ok().filter(|n| *n < count);
        let Some(number) = number else {
            return Err(failed(what(), format!("this machine has {count} CUDA device(s)")));
        };
        let device = driver::device::get(number).map_err(|e| failed(what(), e))?;
        let name = driver::device::get_name(device).map_err(|e| failed(what(), e))?;
        let attribute = |a| {
            // SAFETY: `device` was returned by the driver.
            unsafe { driver::device::get_attribute(device, a) }.map_err(|e| failed(what(), e))
        };
        use sys::CUdevice_attribute as A;
        let capability = (
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        if capability.0 < 8 {
            return Err(failed(
                what(),
                format!(
                    "{name} has compute capability {}.{}, the kernels need 8.0",
                    capability.0, capability.1
                ),
            ));
        }
        let processors = attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1) as usize;
        let shared_memory =
            attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?.max(0) as usize;
        let float_to_double = attribute(A::CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO)?;
        // SAFETY: `device` is valid; the context is released in `Inner::drop`.
        let context = unsafe { driver::primary_ctx::retain(device) }.map_err(|e| failed(what(), e))?;
        // SAFETY: the context was just retained.
        unsafe { driver::ctx::set_current(context) }.map_err(|e| failed(what(), e))?;
        let stream =
            driver::stream::create(driver::stream::StreamKind::NonBlocking).map_err(|e| failed(what(), e))?;
        let blas = cublas::create_handle().map_err(|e| failed("starting cuBLAS", e))?;
        // SAFETY: both handles are live. The stream types of the two libraries are the same pointer.
        unsafe { cublas::set_stream(blas, stream.cast()) }.map_err(|e| failed("starting cuBLAS", e))?;
        let workspace = blas_workspace(blas, capability)?;
        Ok(Self(Arc::new(Inner {
            device,
            context,
            stream,
            blas: Mutex::new(blas),
            kernels: Mutex::new(Kernels::new(capability)),
            profile: Mutex::new(Profile::default()),
            graphs: Graphs::default(),
            branch: Branch::default(),
            workspace,
            name,
            capability,
            processors,
            shared_memory,
            float_to_double,
        })))
    }

    /// Name and compute capability, for people.
    pub fn describe(&self) -> String {
        format!("{} (compute capability {}.{})", self.0.name, self.0.capability.0, self.0.capability.1)
    }

    /// Compute capability, major and minor.
    pub fn capability(&self) -> (i32, i32) {
        self.0.capability
    }

    /// Number of multiprocessors: what launches of free size follow.
    pub fn processors(&self) -> usize {
        self.0.processors
    }

    /// Most shared memory that a block can ask for, bytes.
    pub fn shared_memory(&self) -> usize {
        self.0.shared_memory
    }

    /// Whether float64 runs at a rate worth using: a quarter of float32's or more, as on devices for data centres.
    pub fn fast_double(&self) -> bool {
        (1..=4).contains(&self.0.float_to_double)
    }

    /// Free and total memory, bytes.
    ///
    /// # Errors
    /// When the driver does not answer.
    pub fn memory(&self) -> Result<(usize, usize)> {
        self.enter()?;
        driver::mem_get_info().map_err(|e| failed("asking for free memory", e))
    }

    /// Wait until everything that was launched is done.
    ///
    /// # Errors
    /// An error that an earlier launch left behind.
    pub fn synchronize(&self) -> Result<()> {
        self.enter()?;
        self.join()?;
        // SAFETY: the stream lives as long as `self`.
        unsafe { driver::stream::synchronize(self.0.stream) }.map_err(|e| failed("running on the device", e))
    }

    /// Where launches go: the main stream, or the one beside it.
    pub(super) fn stream(&self) -> sys::CUstream {
        self.0.branch.stream().unwrap_or(self.0.stream)
    }

    /// Whether both are the same device handle.
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Make the context current on the calling thread.
    pub(super) fn enter(&self) -> Result<()> {
        self.0.graphs.check_thread()?;
        // SAFETY: the context is retained until `Inner::drop`.
        unsafe { driver::ctx::set_current(self.0.context) }
            .map_err(|e| failed("entering the CUDA context", e))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Errors have nowhere to go; the process is done with the device.
        // SAFETY: every handle was created by `open` and is used no more.
        unsafe {
            let _ = driver::ctx::set_current(self.context);
            let _ = driver::stream::synchronize(self.stream);
            self.branch.destroy();
            let _ = cublas::destroy_handle(*self.blas.lock());
            let _ = driver::free_sync(self.workspace);
            self.profile.lock().clear();
            self.kernels.lock().unload();
            let _ = driver::stream::destroy(self.stream);
            let _ = driver::primary_ctx::release(self.device);
        }
    }
}
