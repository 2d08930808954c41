//! What a device makes of a training step: its share of what the device can do, kernel by kernel.

use growthpath_kernels::gpu::{Elem, Gpu, KernelUse};
use serde::Serialize;

use super::graphs::{self, Launches};
use crate::error::Result;
use crate::model::params::count;
use crate::tables::table;
use crate::train::TrainConfig;
use crate::train::bench::{Bench, Telemetry};
use crate::train::config::Precision;

/// One kernel in a training step.
#[derive(Debug, Clone, Serialize)]
pub struct KernelRow {
    kernel: String,
    launches_a_step: f64,
    ms_a_step: f64,
    /// Of the kernels' time.
    share: f64,
    /// Bytes it has to move, over its time; for memory-bound kernels.
    bytes_per_second: Option<f64>,
    /// The same over the rate of a copy measured here.
    of_copy: Option<f64>,
}

/// A training step on a device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceReport {
    device: String,
    precision: Precision,
    memory_mib: f64,
    launches: Launches,
    copy_bytes_per_second: f64,
    gemm_flops: f64,
    model_flops: f64,
    /// Model operations over the rate of a large product measured here.
    of_gemm: f64,
    /// Model operations over the maker's figure for this precision, where it is known.
    mfu: Option<f64>,
    kernels: Vec<KernelRow>,
}

/// Sizes of the reference measurements.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    copy_bytes: usize,
    gemm: usize,
}

impl Sizes {
    /// Large enough to reach the device's rates, or small enough for an emulator.
    pub fn new(quick: bool) -> Self {
        if quick { Self { copy_bytes: 1 << 16, gemm: 64 } } else { Self { copy_bytes: 1 << 30, gemm: 8192 } }
    }
}

/// Operations a token: 6 a parameter that multiplies (the embedding's lookup does not), 12 L d T in attention.
fn flops_a_token(c: &TrainConfig) -> f64 {
    let m = &c.model;
    let (_, body) = count(m);
    6.0 * (body + m.vocab * m.width) as f64 + (12 * m.layers * m.width * m.context) as f64
}

/// Dense operations a second that the maker states, without sparsity.
fn stated_peak(device: &str, precision: Precision) -> Option<f64> {
    const PEAKS: [(&str, f64, f64); 3] =
        [("H100", 989.4e12, 66.9e12), ("H200", 989.4e12, 66.9e12), ("A100", 312e12, 19.5e12)];
    let p = PEAKS.iter().find(|p| device.contains(p.0))?;
    Some(if precision == Precision::Bf16 { p.1 } else { p.2 })
}

/// Profile a block of steps and hold it against the device's rates; `step_seconds` is the step without telemetry.
pub fn measure(
    bench: &mut dyn Bench,
    config: &TrainConfig,
    gpu: &Gpu,
    steps: usize,
    step_seconds: f64,
    sizes: Sizes,
) -> Result<DeviceReport> {
    let (free, total) = gpu.memory()?;
    gpu.profile_start(true);
    bench.block(steps, &|_| Telemetry::Recorded)?;
    let uses = gpu.profile_end()?;
    let (launches, roofline) = (graphs::measure(bench, gpu, steps)?, bench.roofline());
    let elem = if config.precision == Precision::Bf16 { Elem::Bf16 } else { Elem::F32 };
    let copy = gpu.copy_rate(sizes.copy_bytes)?;
    let gemm = gpu.gemm_rate(sizes.gemm, elem)?;
    let model_flops = flops_a_token(config) * bench.tokens() as f64 / step_seconds;
    let all: f64 = uses.iter().map(|u| u.milliseconds).sum();
    let row = |u: &KernelUse| {
        let ms = u.milliseconds / steps as f64;
        // A name goes on with the variant, if any, and the type: `add_norm_fwd_w768_bf16`.
        let named = |t: &&(&str, f64)| u.kernel.starts_with(t.0);
        let rate = roofline.iter().find(named).filter(|t| t.1 > 0.0 && ms > 0.0).map(|t| t.1 / (ms / 1e3));
        KernelRow {
            kernel: u.kernel.clone(),
            launches_a_step: u.launches as f64 / steps as f64,
            ms_a_step: ms,
            share: u.milliseconds / all,
            bytes_per_second: rate,
            of_copy: rate.map(|r| r / copy),
        }
    };
    Ok(DeviceReport {
        device: gpu.describe(),
        precision: config.precision,
        memory_mib: (total - free) as f64 / f64::from(1 << 20),
        launches,
        copy_bytes_per_second: copy,
        gemm_flops: gemm,
        model_flops,
        of_gemm: model_flops / gemm,
        mfu: stated_peak(&gpu.describe(), config.precision).map(|p| model_flops / p),
        kernels: uses.iter().map(row).collect(),
    })
}

/// For people.
pub fn text(r: &DeviceReport) -> String {
    let optional = |v: Option<f64>, digits: usize| v.map_or("-".into(), |v| format!("{v:.digits$}"));
    let rows: Vec<Vec<String>> = r
        .kernels
        .iter()
        .map(|k| {
            vec![
                k.kernel.clone(),
                format!("{:.1}", k.launches_a_step),
                format!("{:.3}", k.ms_a_step),
                format!("{:.1}", 100.0 * k.share),
                optional(k.bytes_per_second.map(|b| b / 1e9), 0),
                optional(k.of_copy.map(|b| 100.0 * b), 0),
            ]
        })
        .collect();
    let mut out =
        table(&["kernel", "launches a step", "ms a step", "% of the time", "GB/s", "% of a copy"], &rows);
    let precision = if r.precision == Precision::Bf16 { "bf16" } else { "f32" };
    let mfu = r.mfu.map_or(String::new(), |m| format!(", {:.1} % of the maker's figure", 100.0 * m));
    out += &format!(
        "\n{}, {precision}; {:.0} MiB in use\n\
         {}\n\
         a large copy moves {:.0} GB/s, a large product does {:.1} TFLOP/s\n\
         the model's operations: {:.1} TFLOP/s = {:.1} % of the product's rate{mfu}\n",
        r.device,
        r.memory_mib,
        graphs::text(&r.launches),
        r.copy_bytes_per_second / 1e9,
        r.gemm_flops / 1e12,
        r.model_flops / 1e12,
        100.0 * r.of_gemm,
    );
    out
}
