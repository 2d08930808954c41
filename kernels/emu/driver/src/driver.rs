//! The driver's entry points.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use growthpath_emu::{Launch, Schedule, argument_sizes, kernels};

use crate::memory::{self, Side};
use crate::queue;
use crate::setting::setting;
use crate::status::{
    CAPTURE_IMPLICIT, CAPTURE_INVALIDATED, CAPTURE_ISOLATION, CAPTURE_UNJOINED, CAPTURE_UNSUPPORTED,
    CAPTURED_EVENT, INVALID_CONTEXT, INVALID_DEVICE, INVALID_VALUE, NOT_FOUND, OUT_OF_MEMORY, SUCCESS,
};

/// Compute capability and multiprocessors of the pretended device.
const CAPABILITY: (c_int, c_int) = (9, 0);
const PROCESSORS: c_int = 2;
const ATTRIBUTE_PROCESSORS: c_uint = 16;
const ATTRIBUTE_MAJOR: c_uint = 75;
const ATTRIBUTE_MINOR: c_uint = 76;
const ATTRIBUTE_SHARED_MOST: c_uint = 97;
const ATTRIBUTE_FLOAT_TO_DOUBLE: c_uint = 87;
/// What handles that nobody looks into are made of; also the first stream.
pub(crate) const HANDLE: usize = 0x1000;
static STREAMS: AtomicUsize = AtomicUsize::new(HANDLE);

thread_local! {
    static CURRENT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

pub(crate) fn in_context(f: impl FnOnce() -> c_int) -> c_int {
    if CURRENT.get() { f() } else { INVALID_CONTEXT }
}

/// The same for calls that a capturing thread may not make.
fn outside_capture(what: &str, f: impl FnOnce() -> c_int) -> c_int {
    in_context(|| queue::outside_capture(what).map_or_else(|code| code, |()| f()))
}

/// The same for work on a stream: while one that programs make is captured, the one that every context has would have to
/// wait for it.
fn on_stream(stream: usize, f: impl FnOnce() -> c_int) -> c_int {
    in_context(|| if stream == 0 && queue::is_capturing() { CAPTURE_IMPLICIT } else { f() })
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *count = 1 };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> c_int {
    if ordinal != 0 {
        return INVALID_DEVICE;
    }
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *device = 0 };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, _device: c_int) -> c_int {
    let text = c"host emulator";
    let bytes = text.to_bytes_with_nul();
    if len < bytes.len() as c_int {
        return INVALID_VALUE;
    }
    // SAFETY: the caller passes room for `len` bytes, of which no more are written.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), name, bytes.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, _device: c_int) -> c_int {
    let v = match attribute {
        ATTRIBUTE_PROCESSORS => PROCESSORS,
        ATTRIBUTE_MAJOR => CAPABILITY.0,
        ATTRIBUTE_MINOR => CAPABILITY.1,
        ATTRIBUTE_SHARED_MOST => SHARED_MOST,
        // Unless told otherwise as on the devices for data centres: float64 at half the rate.
        ATTRIBUTE_FLOAT_TO_DOUBLE => setting("GROWTHPATH_EMU_DOUBLE_RATIO").unwrap_or(2),
        _ => return INVALID_VALUE,
    };
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *value = v };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut usize, _device: c_int) -> c_int {
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *context = HANDLE };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxSetCurrent(context: usize) -> c_int {
    CURRENT.set(context == HANDLE);
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut usize, _flags: c_uint) -> c_int {
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *stream = STREAMS.fetch_add(1, Ordering::Relaxed) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamWaitEvent(stream: usize, event: usize, flags: c_uint) -> c_int {
    on_stream(stream, || if flags == 0 { queue::wait_on(stream, event) } else { INVALID_VALUE })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamSynchronize(_stream: usize) -> c_int {
    in_context(queue::synchronize)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(_stream: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int {
    in_context(|| {
        // SAFETY: the interface asks for a place to write the answer to.
        unsafe { (*free, *total) = (memory::free_bytes(), memory::total_bytes()) };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_int {
    outside_capture("reserving memory", || match memory::reserve(bytes, Side::Device) {
        Some(a) => {
            // SAFETY: the interface asks for a place to write the answer to.
            unsafe { *address = a };
            SUCCESS
        }
        None => OUT_OF_MEMORY,
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    outside_capture("freeing memory", || {
        let before = queue::synchronize();
        if memory::release(address) { before } else { INVALID_VALUE }
    })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cuMemHostAlloc(
    pointer: *mut *mut c_void,
    bytes: usize,
    _flags: c_uint,
) -> c_int {
    outside_capture("reserving page-locked memory", || match memory::reserve(bytes, Side::Host) {
        Some(a) => {
            // SAFETY: the interface asks for a place to write the answer to.
            unsafe { *pointer = a as *mut c_void };
            SUCCESS
        }
        None => OUT_OF_MEMORY,
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(pointer: *mut c_void) -> c_int {
    cuMemFree_v2(pointer as u64)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD8Async(address: u64, value: u8, bytes: usize, stream: usize) -> c_int {
    on_stream(stream, || {
        if !memory::holds(address, bytes) {
            return INVALID_VALUE;
        }
        let blocks = Blocks::of(&[address]);
        queue::push(
            stream,
            Arc::new(move || {
                blocks.check("clearing")?;
                // SAFETY: inside a block, which is still there.
                unsafe { (address as *mut u8).write_bytes(value, bytes) };
                Ok(())
            }),
        )
    })
}

/// The blocks that some addresses lie in, for work that may be done again later.
struct Blocks(Vec<(u64, u64)>);

impl Blocks {
    fn of(addresses: &[u64]) -> Self {
        Self(addresses.iter().filter_map(|a| Some((*a, memory::number(*a)?))).collect())
    }

    /// That they are all still there: a graph outlives the buffers that it was captured over, its use must not.
    fn check(&self, what: &str) -> Result<(), String> {
        match self.0.iter().find(|(a, number)| memory::number(*a) != Some(*number)) {
            Some((a, _)) => Err(format!("{what}: the memory at {a:#x} was freed")),
            None => Ok(()),
        }
    }
}

/// `device` are the ends in device memory; the other one may be any host memory, but page-locked in a graph.
fn copy(stream: usize, to: u64, from: u64, bytes: usize, device: &[u64]) -> c_int {
    on_stream(stream, || {
        if bytes == 0 || device.iter().any(|a| !memory::holds(*a, bytes)) {
            return INVALID_VALUE;
        }
        let pageable = |a: &u64| !device.contains(a) && !memory::is_page_locked(*a, bytes);
        if queue::is_captured(stream) && [to, from].iter().any(pageable) {
            return queue::refuse_captured("copying pageable host memory");
        }
        let blocks = Blocks::of(&[to, from]);
        queue::push(
            stream,
            Arc::new(move || {
                blocks.check("a copy")?;
                // SAFETY: known ends are still there; pageable host ends are the caller's promise until it has waited.
                unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
                Ok(())
            }),
        )
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) -> c_int {
    copy(stream, to, from, bytes, &[to])
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyDtoHAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) -> c_int {
    copy(stream, to, from, bytes, &[from])
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) -> c_int {
    copy(stream, to, from, bytes, &[to, from])
}

/// Modules loaded so far.
static MODULES: AtomicUsize = AtomicUsize::new(1);

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cuModuleLoadData(module: *mut usize, image: *const c_void) -> c_int {
    // The kernels were compiled into this library; the image only has to be there.
    // SAFETY: not null, and the interface asks for an image of at least a byte.
    if image.is_null() || unsafe { *image.cast::<u8>() } == 0 {
        return INVALID_VALUE;
    }
    if let Err(code) = queue::outside_capture("loading a module") {
        return code;
    }
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *module = MODULES.fetch_add(1, Ordering::Relaxed) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(_module: usize) -> c_int {
    SUCCESS
}

fn names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(kernels)
}

/// The handle of the `i`-th kernel in a module: each module has functions of its own, with grants of their own.
fn function_of(module: usize, i: usize) -> usize {
    module * names().len() + i + 1
}

/// The kernel of a function.
fn name_of_function(function: usize) -> Option<&'static str> {
    function.checked_sub(1).map(|f| names()[f % names().len()].as_str())
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cuModuleGetFunction(
    function: *mut usize,
    module: usize,
    name: *const c_char,
) -> c_int {
    // SAFETY: the interface asks for a string with its end.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    match names().iter().position(|n| *n == name) {
        Some(i) => {
            // SAFETY: the interface asks for a place to write the answer to.
            unsafe { *function = function_of(module, i) };
            SUCCESS
        }
        None => NOT_FOUND,
    }
}

/// Dynamic shared memory that a block gets unasked, and the most it can be given (compute capability 9.0), bytes.
const SHARED_UNASKED: c_int = 48 * 1024;
const SHARED_MOST: c_int = 227 * 1024;
const ATTRIBUTE_DYNAMIC_SHARED: c_uint = 8;

/// Dynamic shared memory that functions were granted beyond what comes unasked.
static GRANTED: Mutex<Option<HashMap<usize, c_int>>> = Mutex::new(None);

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuFuncSetAttribute(function: usize, attribute: c_uint, value: c_int) -> c_int {
    in_context(|| {
        if name_of_function(function).is_none()
            || attribute != ATTRIBUTE_DYNAMIC_SHARED
            || !(0..=SHARED_MOST).contains(&value)
        {
            return INVALID_VALUE;
        }
        let mut granted = GRANTED.lock().unwrap_or_else(PoisonError::into_inner);
        granted.get_or_insert_default().insert(function, value);
        SUCCESS
    })
}

/// Dynamic shared memory that a launch of this function may ask for.
fn allowed_shared(function: usize) -> usize {
    let granted = GRANTED.lock().unwrap_or_else(PoisonError::into_inner);
    let most = granted.as_ref().and_then(|g| g.get(&function).copied()).unwrap_or(SHARED_UNASKED);
    most.max(0) as usize
}

pub(crate) fn schedule() -> Schedule {
    match std::env::var("GROWTHPATH_EMU_SCHEDULE").as_deref() {
        Ok("reverse") => Schedule::Reverse,
        Ok(number) => number.parse().map_or(Schedule::Forward, Schedule::Permuted),
        Err(_) => Schedule::Forward,
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cuLaunchKernel(
    function: usize,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: usize,
    parameters: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> c_int {
    on_stream(stream, || {
        let Some(name) = name_of_function(function) else { return INVALID_VALUE };
        let Some(sizes) = argument_sizes(name) else { return INVALID_VALUE };
        if shared as usize > allowed_shared(function) || !extra.is_null() {
            return INVALID_VALUE;
        }
        if let Err(code) = queue::load(function) {
            return code;
        }
        // Read now: the caller's arguments are gone when the launch runs.
        let arguments: Vec<Vec<u8>> = sizes
            .iter()
            .enumerate()
            .map(|(i, size)| {
                // SAFETY: the interface asks for one pointer an argument, to as many bytes as the kernel declares.
                unsafe { std::slice::from_raw_parts((*parameters.add(i)).cast::<u8>(), *size) }.to_vec()
            })
            .collect();
        let launch = Launch {
            grid: [grid_x, grid_y, grid_z],
            block: [block_x, block_y, block_z],
            shared: shared as usize,
            schedule: schedule(),
        };
        // Addresses, in structures too; a number that happens to be one does no harm.
        let words = arguments.iter().flat_map(|a| a.as_chunks::<8>().0);
        let addresses: Vec<u64> = words.map(|w| u64::from_ne_bytes(*w)).collect();
        let blocks = Blocks::of(&addresses);
        queue::push(
            stream,
            Arc::new(move || {
                blocks.check(name)?;
                // SAFETY: the program's promise, which the sanitizer checks.
                unsafe { launch.run_bytes(name, &arguments) }.map_err(|e| e.to_string())
            }),
        )
    })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cuEventCreate(event: *mut usize, _flags: c_uint) -> c_int {
    in_context(|| {
        // SAFETY: the interface asks for a place to write the answer to.
        unsafe { *event = queue::new_event() };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: usize) -> c_int {
    queue::drop_event(event);
    SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventRecord(event: usize, stream: usize) -> c_int {
    on_stream(stream, || queue::record(event, stream))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventSynchronize(event: usize) -> c_int {
    in_context(|| queue::wait(event))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime_v2(ms: *mut f32, start: usize, end: usize) -> c_int {
    match queue::elapsed(start, end) {
        Some(t) => {
            // SAFETY: the interface asks for a place to write the answer to.
            unsafe { *ms = t };
            SUCCESS
        }
        None => INVALID_VALUE,
    }
}

fn name_of(code: c_int) -> &'static CStr {
    match code {
        0 => c"CUDA_SUCCESS",
        INVALID_VALUE => c"CUDA_ERROR_INVALID_VALUE",
        OUT_OF_MEMORY => c"CUDA_ERROR_OUT_OF_MEMORY",
        INVALID_DEVICE => c"CUDA_ERROR_INVALID_DEVICE",
        INVALID_CONTEXT => c"CUDA_ERROR_INVALID_CONTEXT",
        NOT_FOUND => c"CUDA_ERROR_NOT_FOUND",
        CAPTURE_UNSUPPORTED => c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
        CAPTURE_INVALIDATED => c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
        CAPTURE_UNJOINED => c"CUDA_ERROR_STREAM_CAPTURE_UNJOINED",
        CAPTURE_ISOLATION => c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
        CAPTURE_IMPLICIT => c"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
        CAPTURED_EVENT => c"CUDA_ERROR_CAPTURED_EVENT",
        _ => c"CUDA_ERROR_LAUNCH_FAILED",
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(code: c_int, text: *mut *const c_char) -> c_int {
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *text = name_of(code).as_ptr() };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(code: c_int, text: *mut *const c_char) -> c_int {
    // SAFETY: as for `cuGetErrorName`: `text` is a place to write to.
    unsafe { cuGetErrorName(code, text) }
}
