//! The driver's entry points: memory, clearing and copying.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;

use crate::driver::{in_context, on_stream, outside_capture};
use crate::memory::{self, Side};
use crate::queue;
use crate::status::{INVALID_VALUE, OUT_OF_MEMORY, SUCCESS};

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
pub(crate) struct Blocks(Vec<(u64, u64)>);

impl Blocks {
    pub(crate) fn of(addresses: &[u64]) -> Self {
        Self(addresses.iter().filter_map(|a| Some((*a, memory::number(*a)?))).collect())
    }

    /// That they are all still there: a graph outlives the buffers that it was captured over, its use must not.
    pub(crate) fn check(&self, what: &str) -> Result<(), String> {
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
