//! What a CUDA graph saves: the same steps launched as one and kernel by kernel, in one run.

use growthpath_analysis::statistics::median;
use growthpath_kernels::gpu::Gpu;
use serde::Serialize;

use crate::error::Result;
use crate::train::bench::{Bench, Telemetry};

/// Rounds of a block of steps in either way, in turn.
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
    /// Of a step with statistics recorded, as runs do it.
    step_ms: f64,
    /// The same with every kernel launched by itself.
    one_by_one_ms: f64,
    /// Why the steps could not be recorded, if so.
    refused: Option<String>,
}

/// Time blocks of `steps` steps in both ways.
pub fn measure(bench: &mut dyn Bench, gpu: &Gpu, steps: usize) -> Result<Launches> {
    let usual = gpu.want_graphs(false);
    let mut times = [Vec::new(), Vec::new()];
    let mut given = gpu.submitted();
    for _ in 0..ROUNDS {
        for (way, times) in [false, usual].into_iter().zip(&mut times) {
            gpu.want_graphs(way);
            // The first steps after a change are recorded.
            bench.block(2, &|_| Telemetry::Recorded)?;
            let before = gpu.submitted();
            times.push(bench.block(steps, &|_| Telemetry::Recorded)?);
            given = gpu.submitted().since(before);
        }
    }
    gpu.want_graphs(usual);
    let [one_by_one, as_usual] = times.map(|t| 1e3 * median(&t));
    let a_step = |n: u64| n as f64 / steps as f64;
    Ok(Launches {
        kernels: bench.launches(),
        graphs: a_step(given.graphs),
        beside: a_step(given.launches),
        copies: a_step(given.copies),
        step_ms: as_usual,
        one_by_one_ms: one_by_one,
        refused: gpu.graphs_refused(),
    })
}

/// For people.
pub fn text(l: &Launches) -> String {
    let (ms, alone) = (l.step_ms, l.one_by_one_ms);
    let copies = l.copies;
    if l.graphs > 0.0 {
        let beside =
            if l.beside > 0.0 { format!(" and {:.1} kernels beside it", l.beside) } else { String::new() };
        return format!(
            "{} launches and {copies:.0} copies a step: as {:.0} graph{beside} {ms:.2} ms, one by one {alone:.2} ms",
            l.kernels, l.graphs
        );
    }
    let why = l.refused.as_ref().map_or("no graph is wanted".into(), |w| format!("no graph: {w}"));
    format!("{} launches and {copies:.0} copies a step, one by one {alone:.2} ms ({why})", l.kernels)
}
