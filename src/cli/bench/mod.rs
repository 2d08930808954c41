//! `growthpath bench`: what telemetry, recording and probes cost, as ratios measured in one run.

#[cfg(feature = "cuda")]
mod device;
#[cfg(feature = "cuda")]
mod graphs;

use std::path::Path;

use growthpath_analysis::statistics::{median, quantile};
use growthpath_trace::{HeadRow, Row, Run, RunWriter, Table, signed};
use serde::Serialize;

use super::device::{DeviceArg, pick};
use super::output::{self, number, table};
use super::progress::{Show, note};
use super::train::{load_data, set_threads};
use super::train_args::TrainArgs;
use crate::error::{Error, Result};
use crate::tables::plural;
use crate::train::bench::{Bench, Telemetry, bench};
use crate::train::cost::Costs;
use crate::train::run_info::describe;

/// Arguments of `growthpath bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    train: TrainArgs,
    /// Rounds; in each, every mode trains a block of steps, in alternating order
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Steps a block
    #[arg(long, default_value_t = 10)]
    block: usize,
    /// Only train, in one mode, and print tokens a second: for pairing with another program
    #[arg(long, value_name = "off|every", conflicts_with = "json")]
    only: Option<String>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where to train
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceArg,
    /// Skip probes
    #[arg(long)]
    no_probes: bool,
    /// Small reference measurements, for an emulator
    #[arg(long, hide = true)]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Median of paired ratios with the spread over rounds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Ratio {
    median: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct Report {
    arm: String,
    size: String,
    device: String,
    tokens_a_step: u64,
    step_ms: f64,
    tokens_per_second: f64,
    /// Step with statistics over step without.
    telemetry: Ratio,
    /// Step with statistics recorded over step with statistics dropped.
    recording: Ratio,
    /// Every step recorded over every tenth step recorded.
    every_over_tenth: Ratio,
    probe_ms: f64,
    /// Until training can go on.
    probe_waited_ms: f64,
    /// Probe over step.
    probe_steps: f64,
    /// What the budget of `--probe auto` counts for a probe, from the shapes, in steps.
    probe_counted: f64,
    /// Bytes on disk over raw float32, `heads` table.
    heads_bytes_over_float32: f64,
    peak_memory_mib: Option<f64>,
    /// Kernel by kernel, on a device.
    #[cfg(feature = "cuda")]
    on_device: Option<device::DeviceReport>,
}

fn ratio(a: &[f64], b: &[f64]) -> Ratio {
    let r: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
    // Both are valid quantiles.
    let quartile = |q| quantile(&r, q).unwrap_or(f64::NAN);
    Ratio { median: median(&r), low: quartile(0.25), high: quartile(0.75) }
}

/// Largest resident size of this process, from the kernel; none where it does not tell.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

/// Tokens a second in one mode.
fn only(bench: &mut dyn Bench, mode: &str, args: &Args) -> Result<()> {
    let mode = match mode {
        "off" => Telemetry::Off,
        "every" => Telemetry::Recorded,
        o => return Err(Error::usage(format!("--only takes off or every, got `{o}`"))),
    };
    let mut times = Vec::new();
    for _ in 0..args.rounds {
        times.push(bench.block(args.block, &|_| mode)?);
    }
    output::print(&format!("{:.1}\n", bench.tokens() as f64 / median(&times)))
}

/// Seconds of a step in each mode and of a probe, one a round.
#[derive(Default)]
struct Times {
    off: Vec<f64>,
    measured: Vec<f64>,
    recorded: Vec<f64>,
    /// Every tenth step is recorded.
    tenth: Vec<f64>,
    probes: Vec<f64>,
    /// Until training could go on.
    probes_waited: Vec<f64>,
}

impl Times {
    fn take(bench: &mut dyn Bench, args: &Args) -> Result<Self> {
        let mut t = Self::default();
        for round in 0..args.rounds {
            // Every mode takes every place in the order equally often.
            for k in 0..4 {
                let mode: (&mut Vec<f64>, &dyn Fn(usize) -> Telemetry) = match (k + round) % 4 {
                    0 => (&mut t.off, &|_| Telemetry::Off),
                    1 => (&mut t.measured, &|_| Telemetry::Measured),
                    2 => (&mut t.recorded, &|_| Telemetry::Recorded),
                    _ => (&mut t.tenth, &|i| if i % 10 == 0 { Telemetry::Recorded } else { Telemetry::Off }),
                };
                mode.0.push(bench.block(args.block, mode.1)?);
            }
            if !args.no_probes
                && let Some(probe) = bench.probe()?
            {
                t.probes.push(probe.took);
                t.probes_waited.push(probe.waited);
            }
        }
        Ok(t)
    }
}

/// Bytes of the `heads` table on disk over the same cells as raw float32.
fn heads_over_float32(path: &Path) -> Result<f64> {
    let folder = path.join("heads");
    let files = std::fs::read_dir(&folder).map_err(Error::io(&folder))?.flatten();
    let bytes: u64 = files.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum();
    let cells = Run::open(path)?.rows(Table::Heads) * HeadRow::COLUMNS.len() as u64;
    Ok(bytes as f64 / (4 * cells) as f64)
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    set_threads(args.threads)?;
    if args.rounds == 0 || args.block == 0 {
        return Err(Error::usage("--rounds and --block must be at least 1"));
    }
    let mut config = args.train.resolve()?;
    let data = load_data(&mut config, Show::Nothing)?;
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let path = dir.path().join("run");
    let target = pick(args.device, &config)?;
    let writer = RunWriter::create(&path, &describe(&config, &data, "bench", &target)?)?;
    let mut bench = bench(&config, &data, &path, writer, &target)?;
    // Warm up caches, the allocator and the thread pool.
    bench.block(args.block, &|_| Telemetry::Recorded)?;
    if let Some(mode) = &args.only {
        return only(&mut *bench, mode, args);
    }
    let times = Times::take(&mut *bench, args)?;
    bench.flush()?;
    let (step, probe, tokens) = (median(&times.off), median(&times.probes), bench.tokens());
    #[cfg(feature = "cuda")]
    let on_device = match &target {
        crate::train::Device::Cuda(gpu) => {
            let sizes = device::Sizes::new(args.quick);
            Some(device::measure(&mut *bench, &config, gpu, args.block, step, sizes)?)
        }
        crate::train::Device::Cpu => None,
    };
    let report = Report {
        arm: config.label(),
        size: args.train.size.clone(),
        device: target.describe(),
        tokens_a_step: tokens,
        step_ms: 1e3 * step,
        tokens_per_second: tokens as f64 / step,
        telemetry: ratio(&times.measured, &times.off),
        recording: ratio(&times.recorded, &times.measured),
        every_over_tenth: ratio(&times.recorded, &times.tenth),
        probe_ms: 1e3 * probe,
        probe_waited_ms: 1e3 * median(&times.probes_waited),
        probe_steps: probe / step,
        probe_counted: Costs::of(&config).probe,
        heads_bytes_over_float32: heads_over_float32(&path)?,
        peak_memory_mib: peak_memory(),
        #[cfg(feature = "cuda")]
        on_device,
    };
    if args.json {
        return output::json(&report);
    }
    let (rounds, steps) = (plural(args.rounds as u64, "round"), plural(args.block as u64, "step"));
    note(&format!("{rounds} of {steps} a mode, in rotated order"));
    output::print(&text(&report))
}

fn text(r: &Report) -> String {
    let percent = |x: Ratio| {
        format!(
            "{} %  (quartiles {} .. {})",
            signed(100.0 * (x.median - 1.0), 2),
            signed(100.0 * (x.low - 1.0), 2),
            signed(100.0 * (x.high - 1.0), 2)
        )
    };
    let probe = match r.probe_ms.is_nan() {
        true => "-".into(),
        false => {
            let counted = number(r.probe_counted);
            let waits = match r.probe_waited_ms {
                // Elsewhere there is next to nothing between the two.
                waited if waited < 0.9 * r.probe_ms => format!(", training waits {waited:.1} ms"),
                _ => String::new(),
            };
            format!("{:.1} ms = {} steps (budget: {counted}){waits}", r.probe_ms, number(r.probe_steps))
        }
    };
    let rows = [
        ("step without telemetry", format!("{:.1} ms, {:.0} tokens/s", r.step_ms, r.tokens_per_second)),
        ("statistics at every step", percent(r.telemetry)),
        ("recording them", percent(r.recording)),
        ("every step over every tenth", percent(r.every_over_tenth)),
        ("one probe", probe),
        ("heads on disk over raw float32", format!("{:.3}", r.heads_bytes_over_float32)),
        ("peak memory", r.peak_memory_mib.map_or("-".into(), |m| format!("{m:.0} MiB"))),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(a, b)| vec![a.to_string(), b]).collect();
    #[allow(unused_mut)] // a build without CUDA adds nothing
    let mut out = format!(
        "{} {}, {}, {} tokens a step\n{}",
        r.arm,
        r.size,
        r.device,
        r.tokens_a_step,
        table(&["", ""], &rows)
    );
    #[cfg(feature = "cuda")]
    if let Some(d) = &r.on_device {
        out += &format!("\n{}", device::text(d));
    }
    out
}
