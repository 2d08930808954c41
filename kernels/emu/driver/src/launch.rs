//! The driver's entry points: modules, functions and their launch.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use growthpath_emu::{Launch, Schedule, argument_sizes, kernels};

use crate::copies::Blocks;
use crate::driver::{SHARED_MOST, in_context, on_stream};
use crate::queue;
use crate::status::{INVALID_VALUE, NOT_FOUND, SUCCESS};

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

/// Dynamic shared memory that a block gets unasked, bytes.
const SHARED_UNASKED: c_int = 48 * 1024;
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
