//! NVIDIA's driver, cuBLAS and NVRTC, as far as growthpath calls them, with the host as the device.
//!
//! Put the library's folder on `LD_LIBRARY_PATH` and a program built with the `cuda` feature trains on the emulator,
//! through the same calls that it makes on a GPU. Work is queued and done only when something waits for it, so a host
//! that reads a result too early, or reuses the source of a copy too early, gets wrong numbers here too. New memory
//! holds NaN. Copies and products outside an allocation are refused; kernels are checked by the `sanitize` feature,
//! for which every allocation is a heap block of its own. A stream can be captured and the graph launched again and
//! again; a call that a device refuses during a capture is refused here, whatever a graph uses has to be there still when
//! it runs, and kernels, like a device's, have to have run once before. What a graph holds of several streams is done in any
//! order that their waits for each other allow. `GROWTHPATH_EMU_SCHEDULE` (forward, reverse, or a number that
//! seeds a permutation) sets the order of a block's threads, `GROWTHPATH_EMU_DOUBLE_RATIO` how many times faster than float64
//! the device says that its float32 is (2; 32 and more on cards for desktops), `GROWTHPATH_EMU_MEMORY` its memory in MiB
//! (4096). A failure is explained on standard error.
#![allow(non_snake_case, clippy::missing_safety_doc)]

mod blas;
mod copies;
mod driver;
mod graph;
mod launch;
mod memory;
mod nvrtc;
mod queue;
mod setting;
mod streams;
#[cfg(test)]
mod tests;

/// CUDA's status codes, those that are given out.
pub(crate) mod status {
    use std::ffi::c_int;

    pub(crate) const SUCCESS: c_int = 0;
    pub(crate) const INVALID_VALUE: c_int = 1;
    pub(crate) const OUT_OF_MEMORY: c_int = 2;
    pub(crate) const INVALID_DEVICE: c_int = 101;
    pub(crate) const INVALID_CONTEXT: c_int = 201;
    pub(crate) const NOT_FOUND: c_int = 500;
    pub(crate) const ILLEGAL_STATE: c_int = 401;
    pub(crate) const LAUNCH_FAILED: c_int = 719;
    pub(crate) const CAPTURE_UNSUPPORTED: c_int = 900;
    pub(crate) const CAPTURE_INVALIDATED: c_int = 901;
    pub(crate) const CAPTURE_UNJOINED: c_int = 904;
    pub(crate) const CAPTURE_ISOLATION: c_int = 905;
    pub(crate) const CAPTURE_IMPLICIT: c_int = 906;
    pub(crate) const CAPTURED_EVENT: c_int = 907;
    pub(crate) const CAPTURE_WRONG_THREAD: c_int = 908;
}
