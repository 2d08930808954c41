//! `growthpath demo`: the main job in one command.

use std::path::{Path, PathBuf};
use std::time::Instant;

use growthpath_trace::{Run, RunLock, disk, shown_path};

use super::device::{self, DeviceArg};
use super::output;
use super::progress::{Show, note};
use super::study::{mended, parse_flags, train_all};
use super::train::set_threads;
use super::values::place;
use super::words::{shell, wrap};
use crate::data::corpus::entropy_rate;
use crate::data::{bundled, read_text};
use crate::destination::outside_tables;
use crate::error::{Error, Result};
use crate::report;
use crate::study::Job;

/// Arguments of `growthpath demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Text to train on instead of the bundled one (Shakespeare's plays, 0.7 MB)
    #[arg(long, value_name = "FILE", conflicts_with = "language")]
    data: Option<PathBuf>,
    /// Train on the built-in formal language, whose entropy rate is known, instead
    #[arg(long)]
    language: bool,
    /// Directory for runs, figures and report
    #[arg(long, value_parser = place(), default_value = "growthpath-demo")]
    out: PathBuf,
    /// Optimizer steps of each arm
    #[arg(long, default_value_t = 800)]
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

/// Pairs compared: each arm with its slowed twin, then LLaMA with GPT.
const PAIRS: [(usize, usize); 3] = [(0, 1), (2, 3), (0, 2)];

/// Training flags of one arm.
fn flags(args: &Args, text: &[String], preset: &str, slow: bool) -> Vec<String> {
    let mut flags: Vec<String> = vec![
        format!("--preset={preset}"),
        format!("--size={}", args.size),
        format!("--steps={}", args.steps),
        format!("--seed={}", args.seed),
        "--batch=8".into(),
        // The whole validation text: what no model can beat without looking back is computed over the same windows.
        "--eval-sequences=192".into(),
        format!("--eval-every={}", (args.steps / 8).max(1)),
        // Steps are small here, so a probe weighs more: buy a finer picture.
        "--probe-budget=0.3".into(),
        "--reliance-sequences=32".into(),
    ];
    flags.extend(text.iter().cloned());
    if slow {
        flags.extend(
            ["--intervene=upper-qk", "--multiplier=0.25", "--hold=0.2", "--ramp=0.05"].map(Into::into),
        );
    }
    flags
}

/// Flags that name the text; the bundled one is written beside the runs, so that a run of one's own can use it.
fn text_flags(args: &Args) -> Result<Vec<String>> {
    if args.language {
        return Ok(Vec::new());
    }
    if let Some(data) = &args.data {
        // What cannot be read is said before anything else is.
        read_text(data)?;
        return Ok(vec![format!("--data={}", data.display())]);
    }
    let (train, valid) = bundled::shakespeare().map_err(Error::io("the bundled text"))?;
    let folder = args.out.join("text");
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let mut flags = Vec::new();
    for (flag, name, text) in [("data", "train.txt", train), ("valid", "valid.txt", valid)] {
        let path = folder.join(name);
        if std::fs::read(&path).is_ok_and(|old| old != text.as_bytes()) {
            return Err(Error::format(
                &path,
                "is not the demo's text; choose another --out, or name yours with --data",
            ));
        }
        std::fs::write(&path, text).map_err(Error::io(&path))?;
        flags.push(format!("--{flag}={}", path.display()));
    }
    Ok(flags)
}

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
    if args.out.exists() && !args.out.is_dir() {
        return Err(Error::format(&args.out, "is a file; choose another --out"));
    }
    outside_tables(&args.out)?;
    if args.resume && !holds_demo(&args.out) {
        return Err(Error::format(&args.out, "no demo to go on with; leave --resume out to begin"));
    }
    // Wrong flags are found before anything is written.
    parse_flags(&flags(args, &[], "gpt", true))?.resolve()?.validate_without_text()?;
    let first = parse_flags(&flags(args, &[], "gpt", false))?.resolve()?;
    device::pick(args.device, &first)?;
    let created = disk::create_dirs(&args.out)?;
    // What fails before the first step leaves nothing behind.
    done(args, started).inspect_err(|_| disk::remove_empty(&created))
}

/// Train, draw, report, in the demo's folder.
fn done(args: &Args, started: Instant) -> Result<()> {
    let text = text_flags(args)?;
    let mut jobs = Vec::new();
    for (name, preset, slow) in ARMS {
        let config = parse_flags(&flags(args, &text, preset, slow))?.resolve()?;
        jobs.push(Job { label: name.into(), folder: args.out.join(name), config, like: None });
    }
    jobs.iter().try_for_each(Job::check)?;
    if !args.quiet {
        note(&wrap("", &about(args), 0));
    }
    let _lock = RunLock::take(&args.out)?;
    train_all(&mut jobs, args.device, Show::unless(args.quiet))
        .map_err(|e| mended(e, "the same command and --resume"))?;
    let runs: Vec<Run> = jobs.iter().map(|j| Ok(Run::open(&j.folder)?)).collect::<Result<_>>()?;
    let figures = args.out.join("figures");
    let material = report::read(&runs, &PAIRS, None)?;
    report::draw_all(&material, &figures)?;
    let page = args.out.join("report.html");
    report::write(&material, &page)?;
    let summary = report::summary(&material);
    let page = page.canonicalize().unwrap_or(page);
    let (first, second) = (shell(&jobs[0].folder), shell(&jobs[1].folder));
    output::print(&format!(
        "{summary}\n{:.0} s in all. Figures: {}\nOpen the report: {}\nnext:\n  growthpath analyze {first}\n  \
         growthpath compare {first} {second}\n",
        started.elapsed().as_secs_f64(),
        shown_path(&figures),
        shown_path(&page)
    ))
}

/// Whether a demo began in this folder: one of its models' runs is there, or the text that it writes first.
fn holds_demo(folder: &Path) -> bool {
    let begun = |(name, ..): &(&str, &str, bool)| folder.join(name).join("run.json").is_file();
    ARMS.iter().any(begun) || folder.join("text").join("train.txt").is_file()
}

/// What is about to happen.
fn about(args: &Args) -> String {
    let what = format!(
        "Four models ({}) learn to predict the next byte: GPT and LLaMA, each as it is and with the upper half's W_Q \
         and W_K slowed to a quarter over the first fifth.",
        args.size
    );
    match (args.language, &args.data) {
        (true, _) => {
            let r = entropy_rate();
            format!(
                "{what} The text is the built-in formal language: entropy rate {:.4} nats/byte (no model can do \
                 better), {:.4} without looking back.",
                r.nats_per_byte, r.without_recall
            )
        }
        (false, Some(path)) => format!("{what} The text is {}.", path.display()),
        (false, None) => format!("{what} The text is Shakespeare's plays."),
    }
}
