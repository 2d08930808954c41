//! How fast, and in how much memory, a long trace is analysed.
//!
//! ```text
//! long_trace write DIR [STEPS LAYERS HEADS PROBE_EVERY]    default: 2,000 x 12 x 8, a probe every 100 steps
//! long_trace read DIR                                      any run directory
//! ```
//!
//! Writing and reading are two commands so that the peak memory of reading is its own. The peak is
//! what Linux reports; elsewhere it is left out.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use growthpath_analysis::read::{analyze, series, verify};
use growthpath_trace::{Run, Table};

#[path = "../src/read/tests/synthetic/mod.rs"]
mod synthetic;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", dir] => write(dir.as_ref(), 2_000, 12, 8, 100),
        ["write", dir, steps, layers, heads, every] => {
            write(dir.as_ref(), steps.parse()?, layers.parse()?, heads.parse()?, every.parse()?)
        }
        ["read", dir] => read(dir.as_ref()),
        _ => Err("usage: long_trace write DIR [STEPS LAYERS HEADS PROBE_EVERY] | long_trace read DIR".into()),
    }
}

fn write(dir: &Path, steps: u32, layers: u16, heads: u16, probe_every: u32) -> Result<(), Box<dyn Error>> {
    let size = synthetic::Synthetic {
        layers,
        heads,
        steps,
        telemetry_every: 1,
        probe_every,
        qk_norm: false,
        part_rows: 0,
        seed: 1,
    };
    let start = Instant::now();
    synthetic::write(dir, size, &mut synthetic::Honest)?;
    let rows: u64 = total(&Run::open(dir)?);
    println!("write    {:>7.1} s  {rows} rows{}", start.elapsed().as_secs_f64(), peak());
    Ok(())
}

fn read(dir: &Path) -> Result<(), Box<dyn Error>> {
    let run = Run::open(dir)?;
    let rows = total(&run);
    println!("{rows} rows, of them {} in heads", run.rows(Table::Heads));
    let report = |what: &str, start: Instant| {
        let seconds = start.elapsed().as_secs_f64();
        println!("{what:<8} {seconds:>7.1} s  {:>6.2} M rows/s{}", rows as f64 / seconds / 1e6, peak());
    };
    let start = Instant::now();
    let analysis = analyze(&run, None)?;
    report("analyze", start);
    let start = Instant::now();
    let curves = series(&run, 1_000)?;
    report("series", start);
    let start = Instant::now();
    let verification = verify(&run)?;
    report("verify", start);
    println!("sound: {}; {} points of training loss", verification.ok(), curves.train_loss.values.len());
    for check in &verification.checks {
        let place = check
            .at
            .map_or(String::new(), |p| format!("step {} layer {:?} head {:?}", p.step, p.layer, p.head));
        println!(
            "{:<16} {:<6} {:>10} rows  worst {:>10.3e}  tolerance {:.0e}  violations {}  {place}",
            check.name,
            check.equation,
            check.rows,
            check.worst.unwrap_or(f64::NAN),
            check.tolerance,
            check.violations
        );
    }
    for problem in
        verification.unread.iter().chain(verification.integrity.problems.iter().map(|p| &p.message))
    {
        println!("problem: {problem}");
    }
    println!("{}", serde_json::to_string(&analysis)?);
    Ok(())
}

fn total(run: &Run) -> u64 {
    Table::ALL.iter().map(|t| run.rows(*t)).sum()
}

/// The peak of this process's memory so far, in words.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map_or(String::new(), |kib| format!("  peak {:.0} MiB", kib / 1024.0))
}
