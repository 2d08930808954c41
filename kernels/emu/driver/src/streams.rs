//! The driver's entry points: streams and events.

use std::ffi::{c_int, c_uint};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::driver::{HANDLE, in_context, on_stream};
use crate::queue;
use crate::status::{INVALID_VALUE, SUCCESS};

static STREAMS: AtomicUsize = AtomicUsize::new(HANDLE);

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
