//! The kernels' sources, and the functions that a device got from them.

use std::collections::HashMap;
use std::ffi::{CString, c_void};

use cudarc::driver::{result as driver, sys};
use cudarc::nvrtc::{result as nvrtc, sys as nvrtc_sys};

use super::failed;
use crate::error::Result;

/// One file of `cuda/`: its name, its source, and its PTX where the build made one (empty otherwise).
struct Source {
    name: &'static str,
    text: &'static str,
    ptx: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// The file that defines a kernel: written out there, or made by a macro's line.
fn source_of(kernel: &str) -> Result<&'static Source> {
    let (written, made) = (format!(" {kernel}("), format!("({kernel},"));
    let defines = |s: &&Source| s.text.contains(&written) || s.text.contains(&made);
    SOURCES.iter().find(defines).ok_or_else(|| failed("looking a kernel up", format!("there is no {kernel}")))
}

/// Modules and functions of one device, compiled when first asked for.
pub(super) struct Kernels {
    capability: (i32, i32),
    modules: HashMap<&'static str, sys::CUmodule>,
    /// Functions, each with the dynamic shared memory that it was granted so far.
    functions: HashMap<String, (sys::CUfunction, usize)>,
}

impl Kernels {
    pub(super) fn new(capability: (i32, i32)) -> Self {
        Self { capability, modules: HashMap::new(), functions: HashMap::new() }
    }

    /// Whether a function was looked up before and granted as much shared memory.
    pub(super) fn knows(&self, kernel: &str, shared: usize) -> bool {
        self.functions.get(kernel).is_some_and(|f| f.1 >= shared)
    }

    /// The function of a kernel, granted `shared` bytes of dynamic shared memory; the device's context is current.
    pub(super) fn function(&mut self, kernel: &str, shared: usize) -> Result<sys::CUfunction> {
        let known = self.functions.get(kernel).copied();
        let (function, granted) = match known {
            Some(f) => f,
            None => (self.look_up(kernel)?, 0),
        };
        if shared > granted {
            // More than 48 KiB have to be asked for; less may be.
            // SAFETY: the function belongs to a loaded module.
            unsafe {
                driver::function::set_function_attribute(
                    function,
                    sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    shared as i32,
                )
            }
            .map_err(|e| failed(format!("giving the kernel {kernel} {shared} bytes of shared memory"), e))?;
        }
        if known.is_none() || shared > granted {
            self.functions.insert(kernel.to_owned(), (function, shared.max(granted)));
        }
        Ok(function)
    }

    fn look_up(&mut self, kernel: &str) -> Result<sys::CUfunction> {
        let module = self.module(source_of(kernel)?)?;
        let name = CString::new(kernel).map_err(|e| failed("looking a kernel up", e))?;
        // SAFETY: the module is loaded.
        unsafe { driver::module::get_function(module, name) }
            .map_err(|e| failed(format!("looking up the kernel {kernel}"), e))
    }

    fn module(&mut self, source: &'static Source) -> Result<sys::CUmodule> {
        if let Some(m) = self.modules.get(source.name) {
            return Ok(*m);
        }
        let image = if source.ptx.is_empty() {
            compile(source, self.capability)?
        } else {
            let mut text = source.ptx.as_bytes().to_vec();
            text.push(0);
            text
        };
        // SAFETY: PTX text with its NUL, or a cubin from NVRTC; both outlive the call.
        let module = unsafe { driver::module::load_data(image.as_ptr().cast::<c_void>()) }
            .map_err(|e| failed(format!("loading {}.cu for this device", source.name), e))?;
        self.modules.insert(source.name, module);
        Ok(module)
    }

    /// Give the modules back; the device's context is current.
    pub(super) fn unload(&mut self) {
        self.functions.clear();
        for (_, m) in self.modules.drain() {
            // SAFETY: loaded by `module`, unloaded once.
            let _ = unsafe { driver::module::unload(m) };
        }
    }
}

/// Machine code for this device, by NVRTC.
fn compile(source: &Source, capability: (i32, i32)) -> Result<Vec<u8>> {
    let what = || format!("compiling {}.cu", source.name);
    // SAFETY: looks the library up and closes it again.
    if !unsafe { nvrtc_sys::is_culib_present() } {
        return Err(failed(
            what(),
            "this program holds no PTX and NVRTC (libnvrtc.so.13) was not found: put CUDA's library folder on LD_LIBRARY_PATH",
        ));
    }
    let c = |s: &str| CString::new(s).map_err(|e| failed(what(), e));
    let (text, name) = (c(source.text)?, c(&format!("{}.cu", source.name))?);
    let names = HEADERS.iter().map(|h| c(h.0)).collect::<Result<Vec<_>>>()?;
    let texts = HEADERS.iter().map(|h| c(h.1)).collect::<Result<Vec<_>>>()?;
    let name_pointers: Vec<_> = names.iter().map(|n| n.as_ptr()).collect();
    let text_pointers: Vec<_> = texts.iter().map(|t| t.as_ptr()).collect();
    let mut program = std::ptr::null_mut();
    // SAFETY: every string lives to the end of this function, past the program.
    unsafe {
        nvrtc_sys::nvrtcCreateProgram(
            &raw mut program,
            text.as_ptr(),
            name.as_ptr(),
            HEADERS.len() as i32,
            text_pointers.as_ptr(),
            name_pointers.as_ptr(),
        )
    }
    .result()
    .map_err(|e| failed(what(), e))?;
    // The instructions of warpgroups are in an architecture of their own.
    let own = if capability == (9, 0) { "a" } else { "" };
    // nvcc takes a lambda within a device function for device code; NVRTC wants to be told.
    let options = [
        format!("--gpu-architecture=sm_{}{}{own}", capability.0, capability.1),
        "--std=c++17".to_owned(),
        "--device-as-default-execution-space".to_owned(),
    ];
    // SAFETY: the program was just created and is destroyed below.
    let outcome = unsafe { nvrtc::compile_program(program, &options) };
    let image = match outcome {
        Ok(()) => machine_code(program).map_err(|e| failed(what(), e)),
        Err(e) => Err(failed(what(), format!("{e}: {}", log(program)))),
    };
    // SAFETY: created above, used no more.
    let _ = unsafe { nvrtc::destroy_program(program) };
    image
}

fn machine_code(program: nvrtc_sys::nvrtcProgram) -> std::result::Result<Vec<u8>, nvrtc::NvrtcError> {
    let mut size = 0usize;
    // SAFETY: the program is compiled.
    unsafe { nvrtc_sys::nvrtcGetCUBINSize(program, &raw mut size) }.result()?;
    let mut image = vec![0u8; size];
    // SAFETY: as long as NVRTC said.
    unsafe { nvrtc_sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()) }.result()?;
    Ok(image)
}

fn log(program: nvrtc_sys::nvrtcProgram) -> String {
    // SAFETY: the program exists.
    let bytes = unsafe { nvrtc::get_program_log(program) }.unwrap_or_default();
    let bytes: Vec<u8> = bytes.iter().map(|b| *b as u8).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
