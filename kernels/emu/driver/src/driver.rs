//! The driver's entry points: the device, its context, errors.

use std::ffi::{CStr, c_char, c_int, c_uint};

use crate::queue;
use crate::setting::setting;
use crate::status::{
    CAPTURE_IMPLICIT, CAPTURE_INVALIDATED, CAPTURE_ISOLATION, CAPTURE_UNJOINED, CAPTURE_UNSUPPORTED,
    CAPTURED_EVENT, INVALID_CONTEXT, INVALID_DEVICE, INVALID_VALUE, NOT_FOUND, OUT_OF_MEMORY, SUCCESS,
};

/// Compute capability and multiprocessors of the pretended device.
const CAPABILITY: (c_int, c_int) = (9, 0);
const PROCESSORS: c_int = 2;
/// Dynamic shared memory that a block can be given at most (compute capability 9.0), bytes.
pub(crate) const SHARED_MOST: c_int = 227 * 1024;
const ATTRIBUTE_PROCESSORS: c_uint = 16;
const ATTRIBUTE_MAJOR: c_uint = 75;
const ATTRIBUTE_MINOR: c_uint = 76;
const ATTRIBUTE_SHARED_MOST: c_uint = 97;
const ATTRIBUTE_FLOAT_TO_DOUBLE: c_uint = 87;
/// What handles that nobody looks into are made of; also the first stream.
pub(crate) const HANDLE: usize = 0x1000;

thread_local! {
    static CURRENT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

pub(crate) fn in_context(f: impl FnOnce() -> c_int) -> c_int {
    if CURRENT.get() { f() } else { INVALID_CONTEXT }
}

/// The same for calls that a capturing thread may not make.
pub(crate) fn outside_capture(what: &str, f: impl FnOnce() -> c_int) -> c_int {
    in_context(|| queue::outside_capture(what).map_or_else(|code| code, |()| f()))
}

/// The same for work on a stream: while one that programs make is captured, the one that every context has would have to
/// wait for it.
pub(crate) fn on_stream(stream: usize, f: impl FnOnce() -> c_int) -> c_int {
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
