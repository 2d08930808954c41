//! What a CUDA graph saves: the same steps launched as one, on one stream or two, and kernel by kernel, in one run.

use growthpath_analysis::statistics::median;
use growthpath_kernels::gpu::Gpu;
use serde::Serialize;

use crate::error::Result;
use crate::train::bench::{Bench, Telemetry};

/// Rounds of a block of steps in every way, in turn.
const ROUNDS: usize = 3;

/// How a step reaches the device.
#[derive(Debug, Clone, Serialize)]
pub struct Launches {
    /// Kernels, products included.
    kernels: u64,
    /// Graphs that hold them; 0 where every kernel is launched by itself.
    graphs: f64,
    /// Kernels beside the graphs.
    beside: f64,
    /// From and to the host.
    copies: f64,
    /// Of a step with statistics recorded, as a graph on one stream and with weights' gradients on a second one.
    graph_ms: Option<f64>,
    two_streams_ms: Option<f64>,
    /// The same with every kernel launched by itself.
    one_by_one_ms: f64,
    /// Why the steps could not be recorded, if so.
    refused: Option<String>,
}

/// Time blocks of `steps` steps in every way that the device is asked for.
pub fn measure(bench: &mut dyn Bench, gpu: &Gpu, steps: usize) -> Result<Launches> {
    let usual = (gpu.want_graphs(false), gpu.wants_two_streams());
    // Whether as graphs, and on how many streams less one.
    let mut ways = vec![(false, false)];
    if usual.0 {
        ways.extend([(true, true), (true, false)]);
    }
    let mut times = vec![Vec::new(); ways.len()];
    let mut given = gpu.submitted();
    for _ in 0..ROUNDS {
        for ((graphs, two), times) in ways.iter().zip(&mut times) {
            gpu.want_graphs(*graphs);
            gpu.want_two_streams(Some(*two));
            // The first steps after a change are recorded.
            bench.block(2, &|_| Telemetry::Recorded)?;
            let before = gpu.submitted();
            times.push(bench.block(steps, &|_| Telemetry::Recorded)?);
            given = gpu.submitted().since(before);
        }
    }
    gpu.want_graphs(usual.0);
    gpu.want_two_streams(usual.1);
    let mut ms = times.into_iter().map(|t| 1e3 * median(&t));
    let a_step = |n: u64| n as f64 / steps as f64;
    Ok(Launches {
        kernels: bench.launches(),
        graphs: a_step(given.graphs),
        beside: a_step(given.launches),
        copies: a_step(given.copies),
        one_by_one_ms: ms.next().unwrap_or(f64::NAN),
        two_streams_ms: ms.next(),
        graph_ms: ms.next(),
        refused: gpu.graphs_refused(),
    })
}

/// For people.
pub fn text(l: &Launches) -> String {
    let (kernels, copies, alone) = (l.kernels, l.copies, l.one_by_one_ms);
    let head = format!("{kernels} launches and {copies:.0} copies a step");
    match (l.graph_ms, l.two_streams_ms) {
        (Some(one), Some(two)) if l.graphs > 0.0 => {
            let beside = match l.beside {
                0.0 => String::new(),
                n => format!(" and {n:.1} kernels beside it"),
            };
            let graphs = l.graphs;
            format!(
                "{head}: as {graphs:.0} graph{beside} {one:.2} ms, on two streams {two:.2} ms, one by one {alone:.2} ms"
            )
        }
        _ => {
            let why = l.refused.as_ref().map_or("no graph is wanted".into(), |w| format!("no graph: {w}"));
            format!("{head}, one by one {alone:.2} ms ({why})")
        }
    }
}
