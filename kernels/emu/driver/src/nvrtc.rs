//! NVRTC's entry points. The kernels were compiled into this library, so a program compiles to its own source.

use std::ffi::{CStr, c_char, c_int};

const SUCCESS: c_int = 0;
const INVALID_INPUT: c_int = 3;

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcCreateProgram(
    program: *mut *mut Vec<u8>,
    source: *const c_char,
    _name: *const c_char,
    headers: c_int,
    texts: *const *const c_char,
    names: *const *const c_char,
) -> c_int {
    // Every header that the source includes has to come along.
    // SAFETY: the interface asks for a string with its end.
    let text = unsafe { CStr::from_ptr(source) };
    let mut given = Vec::new();
    for i in 0..usize::try_from(headers).unwrap_or(0) {
        // SAFETY: the interface asks for `headers` strings with their ends.
        given.push(unsafe { CStr::from_ptr(*names.add(i)) }.to_string_lossy().into_owned());
        // SAFETY: the interface asks for `headers` strings with their ends.
        if unsafe { CStr::from_ptr(*texts.add(i)) }.is_empty() {
            return INVALID_INPUT;
        }
    }
    let included =
        |l: &str| l.strip_prefix("#include \"").and_then(|l| l.strip_suffix('"')).map(str::to_owned);
    if text.to_string_lossy().lines().filter_map(included).any(|h| !given.contains(&h)) {
        return INVALID_INPUT;
    }
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *program = Box::into_raw(Box::new(text.to_bytes_with_nul().to_vec())) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvrtcCompileProgram(
    _program: *mut Vec<u8>,
    _count: c_int,
    _options: *const *const c_char,
) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcDestroyProgram(program: *mut *mut Vec<u8>) -> c_int {
    // SAFETY: a program that `nvrtcCreateProgram` made, given back once.
    drop(unsafe { Box::from_raw(*program) });
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetCUBINSize(program: *mut Vec<u8>, size: *mut usize) -> c_int {
    // SAFETY: a program that `nvrtcCreateProgram` made and nobody has destroyed.
    unsafe { *size = (*program).len() };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetCUBIN(program: *mut Vec<u8>, image: *mut c_char) -> c_int {
    // SAFETY: a program that `nvrtcCreateProgram` made and nobody has destroyed.
    let text: &Vec<u8> = unsafe { &*program };
    // SAFETY: the interface asks for room for as many bytes as `nvrtcGetCUBINSize` said.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), image, text.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetProgramLogSize(_program: *mut Vec<u8>, size: *mut usize) -> c_int {
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *size = 1 };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetProgramLog(_program: *mut Vec<u8>, log: *mut c_char) -> c_int {
    // SAFETY: the interface asks for a place to write the answer to.
    unsafe { *log = 0 };
    SUCCESS
}
