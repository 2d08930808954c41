//! `growthpath study`: arms x seeds from a plan, then tables, figures and a report.

mod board;
mod children;
mod collect;
mod lines;
mod runs;
mod slurm;
mod study_run;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use growthpath_trace::{RunLock, disk, shown_path};

use self::board::Board;
use super::device::{DeviceArg, pick};
use super::output;
use super::progress::{Progress, note};
use super::train::{load_data, set_threads, settle_vocab};
use super::train_args::TrainArgs;
use super::usage;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::study::{Job, Plan, State, plan, state};
use crate::train::config::ProbeTimes;
use crate::train::{Event, resume, stop, train};

/// What trains a study's runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Launcher {
    /// This machine, now.
    Local,
    /// A Slurm cluster: job arrays and a collecting step are written, with the script that submits them.
    Slurm,
}

/// Arguments of `growthpath study`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The plan (TOML): shared `flags`, `seeds`, `arms`, pairs to `compare`; `--example` prints one
    #[arg(required_unless_present = "example")]
    plan: Option<PathBuf>,
    /// Directory for the runs, tables, figures and the report [default: the plan's name without .toml]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on with a study that was stopped; finished runs are kept
    #[arg(long)]
    resume: bool,
    /// Print an annotated plan that runs as it is, and stop
    #[arg(long, exclusive = true)]
    example: bool,
    /// Runs trained at a time, each in a process of its own with its share of the threads
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "only")]
    jobs: usize,
    /// Train here, or write what a cluster needs to
    #[arg(long, value_enum, default_value = "local")]
    launcher: Launcher,
    /// Options for sbatch with --launcher slurm, e.g. `--sbatch=--partition=cpu --sbatch=--time=2:00:00`
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Train this one run of the study, e.g. gpt-seed1, as a task of a job array does
    #[arg(long, value_name = "ARM-seedN", conflicts_with_all = ["collect", "launcher"])]
    only: Option<String>,
    /// Train nothing: tables, figures and report of the runs that are there
    #[arg(long, conflicts_with_all = ["launcher", "jobs", "resume", "threads", "device"])]
    collect: bool,
    /// Threads in all, shared among --jobs; with --launcher slurm, of each run [default: all cores; slurm: 1]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where to train
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceArg,
    /// Print the results as JSON
    #[arg(long, conflicts_with = "only")]
    json: bool,
    /// No progress display
    #[arg(long, short)]
    quiet: bool,
    /// Progress as JSON lines on standard output, for the study that started this run
    #[arg(long, hide = true, requires = "only")]
    progress_lines: bool,
    /// Flags of `growthpath train` that decide what is trained, added to the plan's shared ones, after `--`
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// Training flags alone, for parsing a plan's.
#[derive(Debug, Parser)]
#[command(name = "flags", no_binary_name = true, args_override_self = true, allow_negative_numbers = true)]
struct Flags {
    #[command(flatten)]
    train: TrainArgs,
}

/// Where what a flag of `growthpath train` says is said of a study; none for the flags that a plan may hold.
fn of_the_study(flag: &str) -> Option<&'static str> {
    let name = flag.split('=').next().unwrap_or(flag);
    match name {
        "--out" => Some("each run has its own folder in the study's --out"),
        "--label" => Some("an arm is called by its `name`"),
        "--quiet" | "-q" | "--resume" | "--threads" | "--device" => {
            Some("give it to growthpath study itself, before any `--`")
        }
        "--checkpoint-minutes" | "--profile" => Some("it is growthpath train's alone"),
        _ => None,
    }
}

/// The configuration that a list of training flags stands for.
pub fn parse_flags(flags: &[String]) -> Result<TrainArgs> {
    if let Some((flag, why)) = flags.iter().find_map(|f| Some((f, of_the_study(f)?))) {
        return Err(Error::usage(format!("{flag} is no flag of a plan: {why}")));
    }
    let parsed = Flags::try_parse_from(flags)
        .map_err(|e| Error::usage(usage::sentence(&e, "growthpath train --help")))?;
    Ok(parsed.train)
}

/// A text that the next run may share.
type Loaded = Option<(String, Arc<Dataset>)>;

/// Train what is not trained yet; texts that runs share are loaded once.
pub fn train_all(jobs: &mut [Job], device: DeviceArg, quiet: bool) -> Result<()> {
    let mut loaded = None;
    // Everything that can be known to be wrong is found before anything is written.
    jobs.iter().try_for_each(Job::check)?;
    stop::watch();
    Job::share_probe_times(jobs);
    for job in jobs {
        let mut bar = Progress::new(&job.label, job.config.steps, 0, quiet);
        let ended = train_job(job, &mut loaded, device, quiet, &mut |e| bar.on(e));
        bar.finish();
        keep_diverged(&job.label, ended)?;
    }
    Ok(())
}

/// Train one run, or go on with it, or leave it as it is where it is complete.
fn train_job(
    job: &mut Job,
    loaded: &mut Loaded,
    device: DeviceArg,
    quiet: bool,
    on: &mut dyn FnMut(Event),
) -> Result<()> {
    let own = job.config.probe.times.clone();
    job.settle_probe_times()?;
    let key = format!("{:?} {} {}", job.config.data, job.config.tokenizer, job.config.model.context);
    let data = match loaded {
        Some((k, d)) if *k == key => {
            settle_vocab(&mut job.config, d)?;
            Arc::clone(d)
        }
        _ => Arc::new(load_data(&mut job.config, quiet)?),
    };
    *loaded = Some((key, Arc::clone(&data)));
    job.config.validate()?;
    let device = pick(device, &job.config)?;
    if let Some(signal) = stop::requested() {
        return Err(stopped_between(signal));
    }
    match found(job, own)? {
        State::Done => return Ok(()),
        State::New => {}
        State::Stopped(from) => {
            for s in &from.skipped {
                note(&format!("skipped {}: {}", s.dir.display(), s.why));
            }
            if from.from.is_some() {
                return resume(&job.config, &data, &from, &device, on).map(|_| ());
            }
            // Stopped before its first checkpoint.
            from.discard()?;
        }
    }
    train(&job.config, &data, &job.folder, &job.label, &device, on).map(|_| ())
}

/// What is in a run's folder. One that was trained when the run whose probe times it shares had failed has times of its own.
fn found(job: &mut Job, own: ProbeTimes) -> Result<State> {
    let shared = match state(&job.folder, &job.config) {
        Ok(found) => return Ok(found),
        Err(e) => e,
    };
    let mut config = job.config.clone();
    config.probe.times = own;
    match state(&job.folder, &config) {
        Ok(found) => {
            job.config = config;
            Ok(found)
        }
        Err(_) => Err(shared),
    }
}

/// A diverged arm is a result of the study, not its end.
fn keep_diverged(label: &str, ended: Result<()>) -> Result<()> {
    match ended {
        Err(Error::Diverged(why)) => {
            note(&format!("{label}: {}", why.lines().next().unwrap_or("diverged")));
            Ok(())
        }
        other => other,
    }
}

fn stopped_between(signal: i32) -> Error {
    let what = format!("stopped by {} between two runs", stop::name(signal));
    Error::Interrupted { signal, what, mend: String::new() }
}

/// What goes on with a whole study or demo, in place of what goes on with one of its runs.
pub fn mended(e: Error, command: &str) -> Error {
    match e {
        Error::Interrupted { signal, what, .. } => {
            Error::Interrupted { signal, what, mend: command.to_owned() }
        }
        e => e,
    }
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    if args.launcher != Launcher::Slurm && !args.sbatch.is_empty() {
        return Err(Error::usage("--sbatch has no effect here: it goes with --launcher slurm"));
    }
    if args.launcher == Launcher::Slurm && (args.jobs != 1 || args.json) {
        return Err(Error::usage(
            "--launcher slurm trains nothing here: leave --jobs and --json out (Slurm decides how many runs go at a time)",
        ));
    }
    let Some(path) = args.plan.as_ref().filter(|_| !args.example) else {
        return output::print(plan::EXAMPLE);
    };
    let mut plan = Plan::read(path)?;
    plan.flags.extend(args.flags.iter().cloned());
    let out = args.out.clone().unwrap_or_else(|| path.with_extension(""));
    let mut runs = runs::of(&plan, &out)?;
    if args.collect {
        return collect::run(&plan, &out, args.json);
    }
    stop::watch();
    let again = format!("growthpath study {} --out {}", shown_path(path), shown_path(&out));
    if let Some(name) = &args.only {
        set_threads(args.threads)?;
        let ended = runs::only(&mut runs, name, &out, args);
        return ended.map_err(|e| mended(e, &format!("{again} --only {name}")));
    }
    if args.jobs == 0 {
        return Err(Error::usage("--jobs must be at least 1"));
    }
    let kept = args.resume || args.launcher == Launcher::Slurm;
    if out.exists() && !kept && out.read_dir().is_ok_and(|mut d| d.next().is_some()) {
        return Err(Error::format(&out, "exists already; go on with --resume or choose another --out"));
    }
    runs.iter().try_for_each(|r| r.job.check())?;
    runs.iter().try_for_each(|r| r.job.agrees_with_its_folder())?;
    disk::create_dirs(&out)?;
    let _lock = RunLock::take(&out)?;
    let snapshot = plan.save(&out)?;
    if args.launcher == Launcher::Slurm {
        return slurm::write(&runs, &snapshot, &out, args);
    }
    let board = Board::new(&runs, args.quiet);
    let ended = if args.jobs == 1 {
        set_threads(args.threads)?;
        runs::one_by_one(&mut runs, args, &board)
    } else {
        children::side_by_side(&runs, &snapshot, &out, args, &board)
    };
    board.close();
    ended.map_err(|e| mended(e, &format!("{again} --resume")))?;
    collect::run(&plan, &out, args.json)
}
