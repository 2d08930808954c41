//! CUDA graphs: work that was captured, done again at every launch.

use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_ulonglong};
use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::{HANDLE, in_context};
use crate::queue::{self, Work};
use crate::status::{CAPTURE_UNSUPPORTED, INVALID_VALUE, SUCCESS};

/// Graphs and their executable forms, by handle.
#[derive(Default)]
struct Known {
    next: usize,
    graphs: HashMap<usize, Arc<[Work]>>,
    executable: HashMap<usize, Arc<[Work]>>,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

fn known<R>(f: impl FnOnce(&mut Known) -> R) -> R {
    f(KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamBeginCapture_v2(stream: usize, mode: c_uint) -> c_int {
    in_context(|| {
        if mode > 2 {
            return INVALID_VALUE;
        }
        // The stream that every context has cannot be captured.
        if stream != HANDLE {
            return CAPTURE_UNSUPPORTED;
        }
        queue::begin_capture()
    })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cuStreamEndCapture(stream: usize, graph: *mut usize) -> c_int {
    in_context(|| {
        let (code, handle) = match queue::end_capture() {
            _ if stream != HANDLE => (INVALID_VALUE, 0),
            Err(code) => (code, 0),
            Ok(nodes) => known(|k| {
                k.next += 1;
                k.graphs.insert(k.next, nodes.into());
                (SUCCESS, k.next)
            }),
        };
        // SAFETY: the interface asks for a place to write the answer to.
        unsafe { *graph = handle };
        code
    })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cuGraphInstantiateWithFlags(
    executable: *mut usize,
    graph: usize,
    flags: c_ulonglong,
) -> c_int {
    in_context(|| {
        if let Err(code) = queue::outside_capture("instantiating a graph") {
            return code;
        }
        known(|k| {
            let (0, Some(nodes)) = (flags, k.graphs.get(&graph).cloned()) else { return INVALID_VALUE };
            k.next += 1;
            k.executable.insert(k.next, nodes);
            // SAFETY: the interface asks for a place to write the answer to.
            unsafe { *executable = k.next };
            SUCCESS
        })
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphLaunch(executable: usize, stream: usize) -> c_int {
    in_context(|| {
        if queue::is_capturing() {
            return queue::refuse_captured("launching a graph");
        }
        let nodes = known(|k| k.executable.get(&executable).cloned());
        match nodes {
            Some(nodes) if stream == HANDLE => {
                queue::push(Arc::new(move || nodes.iter().try_for_each(|work| work())))
            }
            _ => INVALID_VALUE,
        }
    })
}

fn destroy(from: impl FnOnce(&mut Known) -> Option<Arc<[Work]>>) -> c_int {
    if known(from).is_some() { SUCCESS } else { INVALID_VALUE }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphDestroy(graph: usize) -> c_int {
    destroy(|k| k.graphs.remove(&graph))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGraphExecDestroy(executable: usize) -> c_int {
    destroy(|k| k.executable.remove(&executable))
}
