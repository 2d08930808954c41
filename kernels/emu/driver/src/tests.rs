//! Captures and graphs through the interface, as a program calls them.

use std::ffi::{c_int, c_void};
use std::sync::{Mutex, PoisonError};

use super::copies::{
    cuMemAlloc_v2, cuMemFree_v2, cuMemHostAlloc, cuMemcpyDtoDAsync_v2, cuMemcpyDtoHAsync_v2,
    cuMemcpyHtoDAsync_v2, cuMemsetD8Async,
};
use super::driver::{HANDLE, cuCtxSetCurrent};
use super::graph::{
    cuGraphDestroy, cuGraphExecDestroy, cuGraphInstantiateWithFlags, cuGraphLaunch, cuStreamBeginCapture_v2,
    cuStreamEndCapture,
};
use super::launch::{cuFuncSetAttribute, cuLaunchKernel, cuModuleGetFunction, cuModuleLoadData};
use super::status::{
    CAPTURE_IMPLICIT, CAPTURE_INVALIDATED, CAPTURE_ISOLATION, CAPTURE_UNJOINED, CAPTURE_UNSUPPORTED,
    CAPTURED_EVENT, ILLEGAL_STATE, INVALID_VALUE, LAUNCH_FAILED, SUCCESS,
};
use super::streams::{
    cuEventCreate, cuEventRecord, cuEventSynchronize, cuStreamSynchronize, cuStreamWaitEvent,
};

/// There is one stream: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

fn device(bytes: usize) -> u64 {
    let mut address = 0;
    // SAFETY: a place to write the answer to.
    assert_eq!(unsafe { cuMemAlloc_v2(&raw mut address, bytes) }, SUCCESS);
    address
}

fn page_locked(values: &[f32]) -> *mut f32 {
    let mut p: *mut c_void = std::ptr::null_mut();
    // SAFETY: a place to write the answer to.
    assert_eq!(unsafe { cuMemHostAlloc(&raw mut p, 4 * values.len(), 0) }, SUCCESS);
    // SAFETY: just reserved, as long.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), p.cast(), values.len()) };
    p.cast()
}

fn read(address: u64) -> [f32; 4] {
    let mut out = [0f32; 4];
    assert_eq!(cuMemcpyDtoHAsync_v2(out.as_mut_ptr() as u64, address, 16, HANDLE), SUCCESS);
    assert_eq!(cuStreamSynchronize(HANDLE), SUCCESS);
    out
}

/// `round_bf16` of four floats at `from` to `to`.
fn kernel(function: usize, from: u64, to: u64, stream: usize) -> c_int {
    let n = 4u64;
    let mut arguments = [
        (&raw const from).cast_mut().cast(),
        (&raw const to).cast_mut().cast(),
        (&raw const n).cast_mut().cast::<c_void>(),
    ];
    // SAFETY: three arguments of eight bytes, as the kernel declares.
    unsafe {
        cuLaunchKernel(function, 1, 1, 1, 256, 1, 1, 0, stream, arguments.as_mut_ptr(), std::ptr::null_mut())
    }
}

fn round() -> usize {
    let mut function = 0;
    // SAFETY: a place to write the answer to, and a string with its end.
    assert_eq!(unsafe { cuModuleGetFunction(&raw mut function, 0, c"round_bf16".as_ptr()) }, SUCCESS);
    function
}

fn end() -> (c_int, usize) {
    let mut graph = 7;
    // SAFETY: a place to write the answer to.
    (unsafe { cuStreamEndCapture(HANDLE, &raw mut graph) }, graph)
}

fn instantiate(graph: usize) -> usize {
    let mut executable = 0;
    // SAFETY: a place to write the answer to.
    assert_eq!(unsafe { cuGraphInstantiateWithFlags(&raw mut executable, graph, 0) }, SUCCESS);
    executable
}

#[test]
fn captured_work_runs_at_every_launch_and_reads_what_is_there_then() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    cuCtxSetCurrent(HANDLE);
    let (a, b, c) = (device(16), device(16), device(16));
    let source = page_locked(&[1.0, 2.0, 3.0, 4.0]);
    let round = round();
    assert_eq!(kernel(round, a, b, HANDLE), SUCCESS, "its first launch loads it");
    assert_eq!(cuMemsetD8Async(b, 0, 16, HANDLE), SUCCESS);
    assert_eq!(cuMemsetD8Async(c, 0, 16, HANDLE), SUCCESS);
    assert_eq!(cuStreamBeginCapture_v2(HANDLE, 1), SUCCESS);
    assert_eq!(cuStreamBeginCapture_v2(HANDLE, 1), ILLEGAL_STATE);
    assert_eq!(cuMemcpyHtoDAsync_v2(a, source as u64, 16, HANDLE), SUCCESS);
    assert_eq!(kernel(round, a, b, HANDLE), SUCCESS);
    assert_eq!(cuMemcpyDtoDAsync_v2(c, a, 16, HANDLE), SUCCESS);
    let (code, graph) = end();
    assert_eq!(code, SUCCESS);
    assert_eq!((read(b), read(c)), ([0.0; 4], [0.0; 4]), "nothing of it has run");
    let executable = instantiate(graph);
    assert_eq!(cuGraphDestroy(graph), SUCCESS);
    assert_eq!(cuGraphDestroy(graph), INVALID_VALUE);
    assert_eq!(cuGraphLaunch(executable, HANDLE), SUCCESS);
    assert_eq!(read(c), [1.0, 2.0, 3.0, 4.0]);
    assert_ne!(read(b), [0.0; 4]);
    // A launch reads its sources when it runs, not when it is asked for: the host has to wait before it writes there.
    assert_eq!(cuGraphLaunch(executable, HANDLE), SUCCESS);
    // SAFETY: four floats are there.
    unsafe { *source = 5.0 };
    assert_eq!(read(c), [5.0, 2.0, 3.0, 4.0]);
    assert_eq!(cuGraphExecDestroy(executable), SUCCESS);
    assert_eq!(cuGraphLaunch(executable, HANDLE), INVALID_VALUE);
}

#[test]
fn what_a_device_refuses_during_a_capture_is_refused() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    cuCtxSetCurrent(HANDLE);
    let (a, b) = (device(16), device(16));
    let round = round();
    assert_eq!(kernel(round, a, b, HANDLE), SUCCESS);
    let pageable = [0f32; 4];
    let mut room: *mut c_void = std::ptr::null_mut();
    let mut address = 0;
    let mut event = 0;
    // SAFETY: a place to write the answer to.
    assert_eq!(unsafe { cuEventCreate(&raw mut event, 2) }, SUCCESS);
    assert_eq!(cuEventRecord(event, HANDLE), SUCCESS);
    let refused: [(&str, &mut dyn FnMut() -> c_int); 7] = [
        ("synchronize", &mut || cuStreamSynchronize(HANDLE)),
        // SAFETY: places to write answers to.
        ("reserve", &mut || unsafe { cuMemAlloc_v2(&raw mut address, 16) }),
        // SAFETY: places to write answers to.
        ("page-lock", &mut || unsafe { cuMemHostAlloc(&raw mut room, 16, 0) }),
        ("free", &mut || cuMemFree_v2(b)),
        ("pageable copy", &mut || cuMemcpyHtoDAsync_v2(a, pageable.as_ptr() as u64, 16, HANDLE)),
        ("wait for an event", &mut || cuEventSynchronize(event)),
        ("launch a graph", &mut || cuGraphLaunch(1, HANDLE)),
    ];
    for (what, call) in refused {
        assert_eq!(cuStreamBeginCapture_v2(HANDLE, 1), SUCCESS, "{what}");
        assert_eq!(kernel(round, a, b, HANDLE), SUCCESS, "{what}");
        assert_eq!(call(), CAPTURE_UNSUPPORTED, "{what}");
        assert_eq!(kernel(round, a, b, HANDLE), CAPTURE_INVALIDATED, "{what}");
        assert_eq!(end(), (CAPTURE_INVALIDATED, 0), "{what}");
        assert_eq!(cuStreamSynchronize(HANDLE), SUCCESS, "{what}: the stream goes on");
    }
    // The stream that every context has, capturing or captured.
    assert_eq!(cuStreamBeginCapture_v2(0, 1), CAPTURE_UNSUPPORTED);
    assert_eq!(cuStreamBeginCapture_v2(HANDLE, 1), SUCCESS);
    assert_eq!(kernel(round, a, b, 0), CAPTURE_IMPLICIT);
    // An event becomes a part of the graph.
    assert_eq!(cuEventRecord(event, HANDLE), SUCCESS);
    assert_eq!(end().0, SUCCESS);
    assert_eq!(cuEventSynchronize(event), CAPTURED_EVENT);
    assert_eq!(end().0, ILLEGAL_STATE);
    // A kernel that has never run.
    let mut other = 0;
    // SAFETY: a place to write the answer to, and a string with its end.
    assert_eq!(unsafe { cuModuleGetFunction(&raw mut other, 0, c"bias_add_f32".as_ptr()) }, SUCCESS);
    assert_eq!(cuStreamBeginCapture_v2(HANDLE, 1), SUCCESS);
    assert_eq!(kernel(other, a, b, HANDLE), CAPTURE_UNSUPPORTED);
    assert_eq!(end().0, CAPTURE_INVALIDATED);
}

#[test]
fn memory_freed_after_the_capture_is_missed() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    cuCtxSetCurrent(HANDLE);
    let (a, b) = (device(16), device(16));
    let round = round();
    assert_eq!(kernel(round, a, b, HANDLE), SUCCESS);
    assert_eq!(cuStreamBeginCapture_v2(HANDLE, 1), SUCCESS);
    assert_eq!(kernel(round, a, b, HANDLE), SUCCESS);
    let (_, graph) = end();
    let executable = instantiate(graph);
    assert_eq!(cuMemFree_v2(b), SUCCESS);
    // The allocator may give the same address again: it is another block.
    let again = device(16);
    assert_eq!(cuGraphLaunch(executable, HANDLE), SUCCESS);
    assert_eq!(cuStreamSynchronize(HANDLE), LAUNCH_FAILED);
    super::queue::forgive();
    assert_eq!(cuMemFree_v2(again), SUCCESS);
}

/// A fork and a join: `a` is cleared to ones, on the second stream copied to `b`, on the first to `c`, then `a` is cleared to
/// zeros; `joined` tells whether the second stream is waited for before that.
fn forked(joined: bool) -> (c_int, usize, [u64; 3]) {
    const SECOND: usize = HANDLE + 0x500;
    let [a, b, c] = [device(16), device(16), device(16)];
    let (mut fork, mut end_of_second) = (0, 0);
    // SAFETY: places to write the answers to.
    unsafe {
        assert_eq!(cuEventCreate(&raw mut fork, 2), SUCCESS);
        assert_eq!(cuEventCreate(&raw mut end_of_second, 2), SUCCESS);
    }
    assert_eq!(cuStreamBeginCapture_v2(HANDLE, 1), SUCCESS);
    assert_eq!(cuMemsetD8Async(a, 1, 16, HANDLE), SUCCESS);
    assert_eq!(cuEventRecord(fork, HANDLE), SUCCESS);
    assert_eq!(cuStreamWaitEvent(SECOND, fork, 0), SUCCESS);
    assert_eq!(cuMemcpyDtoDAsync_v2(b, a, 16, SECOND), SUCCESS);
    assert_eq!(cuEventRecord(end_of_second, SECOND), SUCCESS);
    assert_eq!(cuMemcpyDtoDAsync_v2(c, a, 16, HANDLE), SUCCESS);
    if joined {
        assert_eq!(cuStreamWaitEvent(HANDLE, end_of_second, 0), SUCCESS);
    }
    assert_eq!(cuMemsetD8Async(a, 0, 16, HANDLE), SUCCESS);
    if !joined {
        assert_eq!(cuStreamWaitEvent(HANDLE, end_of_second, 0), SUCCESS);
        assert_eq!(cuMemsetD8Async(c, 0, 16, HANDLE), SUCCESS);
    }
    let (code, graph) = end();
    (code, graph, [a, b, c])
}

#[test]
fn two_streams_are_done_in_every_order_that_they_allow() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    cuCtxSetCurrent(HANDLE);
    let ones = [f32::from_ne_bytes([1; 4]); 4];
    for (joined, schedule, copied) in [
        (true, "forward", true),
        (true, "reverse", true),
        (false, "forward", true),
        (false, "reverse", false),
    ] {
        let (code, graph, [_, b, _]) = forked(joined);
        assert_eq!(code, SUCCESS);
        let executable = instantiate(graph);
        // SAFETY: every test here holds `ONE`, and nothing else reads or writes the environment.
        unsafe { std::env::set_var("GROWTHPATH_EMU_SCHEDULE", schedule) };
        assert_eq!(cuGraphLaunch(executable, HANDLE), SUCCESS);
        assert_eq!(read(b) == ones, copied, "joined {joined}, {schedule}");
    }
    // SAFETY: as above.
    unsafe { std::env::remove_var("GROWTHPATH_EMU_SCHEDULE") };
}

#[test]
fn a_stream_that_is_not_joined_again_makes_no_graph() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    cuCtxSetCurrent(HANDLE);
    let (a, mut event) = (device(16), 0);
    // SAFETY: a place to write the answer to.
    assert_eq!(unsafe { cuEventCreate(&raw mut event, 2) }, SUCCESS);
    assert_eq!(cuStreamBeginCapture_v2(HANDLE, 1), SUCCESS);
    assert_eq!(cuEventRecord(event, HANDLE), SUCCESS);
    assert_eq!(cuStreamWaitEvent(HANDLE + 0x501, event, 0), SUCCESS);
    assert_eq!(cuMemsetD8Async(a, 0, 16, HANDLE + 0x501), SUCCESS);
    assert_eq!(end(), (CAPTURE_UNJOINED, 0));
    // An event from before the capture is not part of it.
    assert_eq!(cuEventRecord(event, HANDLE), SUCCESS);
    assert_eq!(cuStreamBeginCapture_v2(HANDLE, 1), SUCCESS);
    assert_eq!(cuStreamWaitEvent(HANDLE, event, 0), CAPTURE_ISOLATION);
    assert_eq!(end().0, CAPTURE_INVALIDATED);
}

/// Two users of one device load their own modules: what one is granted, the other's smaller wish does not take away.
#[test]
fn each_module_has_functions_of_its_own() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    cuCtxSetCurrent(HANDLE);
    let function = || {
        let (mut module, mut function) = (0, 0);
        // SAFETY: places to write the answers to, an image of a byte, a string with its end.
        unsafe {
            assert_eq!(cuModuleLoadData(&raw mut module, c"x".as_ptr().cast()), SUCCESS);
            assert_eq!(cuModuleGetFunction(&raw mut function, module, c"round_bf16".as_ptr()), SUCCESS);
        }
        function
    };
    let (mine, other) = (function(), function());
    assert_eq!(cuFuncSetAttribute(mine, 8, 2048), SUCCESS);
    assert_eq!(cuFuncSetAttribute(other, 8, 1024), SUCCESS);
    let launch = |function, shared| {
        let (from, to) = (device(16), device(16));
        let n = 4u64;
        let mut arguments =
            [&raw const from, &raw const to, &raw const n].map(|p| p.cast_mut().cast::<c_void>());
        // SAFETY: three arguments of eight bytes, as the kernel declares.
        unsafe {
            cuLaunchKernel(
                function,
                1,
                1,
                1,
                256,
                1,
                1,
                shared,
                HANDLE,
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        }
    };
    assert_eq!(launch(mine, 2048), SUCCESS);
    assert_eq!(launch(other, 2048), INVALID_VALUE);
    assert_eq!(cuStreamSynchronize(HANDLE), SUCCESS);
}
