//! CUDA graphs: work that was captured, done again at every launch.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{c_int, c_uint, c_ulonglong};
use std::sync::{Arc, Mutex, PoisonError};

use growthpath_emu::Schedule;

use crate::driver::in_context;
use crate::launch::schedule;
use crate::queue::{self, Node};
use crate::status::{CAPTURE_UNSUPPORTED, INVALID_VALUE, SUCCESS};

/// Do a graph's work in an order that its edges allow: that of the calls, the latest call that can be done, or by chance.
/// Work that should wait for other work and does not goes wrong in one of them.
fn run(nodes: &[Node], schedule: Schedule) -> Result<(), String> {
    let mut waits: Vec<usize> = nodes.iter().map(|n| n.after.len()).collect();
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        node.after.iter().for_each(|a| before[*a].push(i));
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|i| waits[*i] == 0).collect();
    let mut draw = match schedule {
        Schedule::Permuted(seed) => u64::from(seed),
        _ => 0,
    };
    while !ready.is_empty() {
        let at = match schedule {
            Schedule::Forward => 0,
            Schedule::Reverse => ready.len() - 1,
            Schedule::Permuted(_) => {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (draw >> 33) as usize % ready.len()
            }
        };
        let Some(i) = ready.iter().nth(at).copied() else { break };
        ready.remove(&i);
        (nodes[i].work)()?;
        for next in &before[i] {
            waits[*next] -= 1;
            if waits[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    Ok(())
}

/// Graphs and their executable forms, by handle.
#[derive(Default)]
struct Known {
    next: usize,
    graphs: HashMap<usize, Arc<[Node]>>,
    executable: HashMap<usize, Arc<[Node]>>,
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
        if stream == 0 {
            return CAPTURE_UNSUPPORTED;
        }
        queue::begin_capture(stream)
    })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cuStreamEndCapture(stream: usize, graph: *mut usize) -> c_int {
    in_context(|| {
        let (code, handle) = match queue::end_capture(stream) {
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
            Some(nodes) if stream != 0 => {
                let schedule = schedule();
                queue::push(stream, Arc::new(move || run(&nodes, schedule)))
            }
            _ => INVALID_VALUE,
        }
    })
}

fn destroy(from: impl FnOnce(&mut Known) -> Option<Arc<[Node]>>) -> c_int {
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
