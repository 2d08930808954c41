//! `growthpath demo`: the main job in one command.

use std::path::PathBuf;
use std::time::Instant;

use growthpath_trace::{Run, RunLock, disk, shown_path};

use super::device::DeviceArg;
use super::output;
use super::progress::note;
use super::study::{mended, parse_flags, train_all};
use super::train::set_threads;
use crate::data::corpus::entropy_rate;
use crate::error::{Error, Result};
use crate::report;
use crate::study::Job;

/// Arguments of `growthpath demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Text to train on instead of the built-in formal language
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Directory for runs, figures and report
    #[arg(long, default_value = "growthpath-demo")]
    out: PathBuf,
    /// Optimizer steps of each arm
    #[arg(long, default_value_t = 300)]
    steps: u32,
    /// Seed of weights and data order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Size of the models
    #[arg(long, default_value = "micro")]
    size: String,
    /// Go on with a demo that was stopped
    #[arg(long)]
    resume: bool,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where to train
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceArg,
    /// No progress display
    #[arg(long, short)]
    quiet: bool,
}

/// Arms of the demo: name, preset, whether upper Q/K is slowed.
const ARMS: [(&str, &str, bool); 4] = [
    ("gpt", "gpt", false),
    ("gpt+slow-qk", "gpt", true),
    ("llama", "llama", false),
    ("llama+slow-qk", "llama", true),
];

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    set_threads(args.threads)?;
    if !args.resume && args.out.exists() && args.out.read_dir().is_ok_and(|mut d| d.next().is_some()) {
        return Err(Error::Format {
            path: args.out.clone(),
            message: "exists already; go on with --resume, remove it or choose another --out".into(),
        });
    }
    let mut jobs = Vec::new();
    for (name, preset, slow) in ARMS {
        let mut flags: Vec<String> = vec![
            format!("--preset={preset}"),
            format!("--size={}", args.size),
            format!("--steps={}", args.steps),
            format!("--seed={}", args.seed),
            "--batch=8".into(),
            // Steps are small here, so a probe weighs more: buy a finer picture.
            "--probe-budget=0.3".into(),
            "--warmup=40".into(),
        ];
        flags.extend(args.data.iter().map(|d| format!("--data={}", d.display())));
        if slow {
            flags.extend(
                ["--intervene=upper-qk", "--multiplier=0.25", "--hold=0.2", "--ramp=0.05"].map(Into::into),
            );
        }
        let config = parse_flags(&flags)?.resolve()?;
        jobs.push(Job { label: name.into(), folder: args.out.join(name), config, like: None });
    }
    if args.data.is_none() {
        let r = entropy_rate();
        note(&format!(
            "built-in language: entropy rate {:.4} nats/byte (no model can do better); {:.4} without looking back",
            r.nats_per_byte, r.without_recall
        ));
    }
    jobs.iter().try_for_each(Job::check)?;
    disk::create_dirs(&args.out)?;
    let _lock = RunLock::take(&args.out)?;
    train_all(&mut jobs, args.device, args.quiet).map_err(|e| mended(e, "the same command and --resume"))?;
    let runs: Vec<Run> = jobs.iter().map(|j| Ok(Run::open(&j.folder)?)).collect::<Result<_>>()?;
    let pairs = [(0, 1), (2, 3), (0, 2)];
    let figures = args.out.join("figures");
    let material = report::read(&runs, &pairs, None)?;
    report::draw_all(&material, &figures)?;
    let page = args.out.join("report.html");
    report::write(&material, &page)?;
    let summary = report::summary(&material);
    let page = page.canonicalize().unwrap_or(page);
    output::print(&format!(
        "{summary}\nfigures: {}\n{:.0} s in all. Open the report: {}\n",
        shown_path(&figures),
        started.elapsed().as_secs_f64(),
        shown_path(&page)
    ))
}
