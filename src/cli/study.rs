//! `growthpath study`: arms x seeds from a plan, then comparisons, figures and a report.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use growthpath_analysis::compare::{Layers, compare, seeds};
use growthpath_analysis::statistics::{CONFIDENCE, estimate, mean_interval};
use growthpath_trace::{Run, RunLock, Status, disk, shown_path};

use super::device::{DeviceArg, pick};
use super::output::{self, number, table};
use super::progress::note;
use super::seed_table;
use super::train::{load_data, resume_shown, set_threads, settle_vocab, train_shown};
use super::train_args::TrainArgs;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::report;
use crate::study::{Arm, Job, Plan, State, state};
use crate::train::{Outcome, stop};

/// Arguments of `growthpath study`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The plan (TOML): shared `flags`, `seeds`, `arms`, pairs to `compare`
    plan: PathBuf,
    /// Directory for the runs, figures and the report [default: the plan's name without .toml]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on with a study that was stopped; finished runs are kept
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

/// Training flags alone, for parsing a plan's.
#[derive(Debug, Parser)]
#[command(name = "flags", no_binary_name = true, args_override_self = true, allow_negative_numbers = true)]
struct Flags {
    #[command(flatten)]
    train: TrainArgs,
}

/// The configuration that a list of training flags stands for.
pub fn parse_flags(flags: &[String]) -> Result<TrainArgs> {
    let parsed = Flags::try_parse_from(flags).map_err(|e| {
        let text = e.to_string();
        Error::usage(text.lines().next().unwrap_or("a flag cannot be used").trim_start_matches("error: "))
    })?;
    Ok(parsed.train)
}

/// Train what is not trained yet; texts that runs share are loaded once.
pub fn train_all(jobs: &mut [Job], device: DeviceArg, quiet: bool) -> Result<()> {
    let mut loaded: Option<(String, Arc<Dataset>)> = None;
    // Everything that can be known to be wrong is found before anything is written.
    jobs.iter().try_for_each(Job::check)?;
    stop::watch();
    Job::share_probe_times(jobs);
    for job in jobs {
        job.settle_probe_times()?;
        let key = format!("{:?} {} {}", job.config.data, job.config.tokenizer, job.config.model.context);
        let data = match &loaded {
            Some((k, d)) if *k == key => {
                settle_vocab(&mut job.config, d)?;
                Arc::clone(d)
            }
            _ => Arc::new(load_data(&mut job.config, quiet)?),
        };
        loaded = Some((key, Arc::clone(&data)));
        job.config.validate()?;
        let device = pick(device, &job.config)?;
        if let Some(signal) = stop::requested() {
            return Err(stopped_between(signal));
        }
        match state(&job.folder, &job.config)? {
            State::Done => note(&format!("{}: done", shown_path(&job.folder))),
            State::New => {
                keep_diverged(job, train_shown(&job.config, &data, &job.folder, &job.label, &device, quiet))?;
            }
            State::Stopped(from) => {
                keep_diverged(job, resume_shown(&job.config, &data, from, &job.label, &device, quiet))?;
            }
        }
    }
    Ok(())
}

/// A diverged arm is a result of the study, not its end.
fn keep_diverged(job: &Job, outcome: Result<Outcome>) -> Result<()> {
    match outcome {
        Err(Error::Diverged(why)) => {
            note(&format!("{}: {why}", job.label));
            Ok(())
        }
        other => other.map(|_| ()),
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
    set_threads(args.threads)?;
    let plan = Plan::read(&args.plan)?;
    let out = args.out.clone().unwrap_or_else(|| args.plan.with_extension(""));
    if out.exists() && !args.resume && out.read_dir().is_ok_and(|mut d| d.next().is_some()) {
        return Err(Error::format(&out, "exists already; go on with --resume or choose another --out"));
    }
    let mut jobs = Vec::new();
    for seed in &plan.seeds {
        for arm in &plan.arms {
            let mut flags = plan.flags.clone();
            flags.extend(arm.flags.iter().cloned());
            flags.extend(["--seed".into(), seed.to_string()]);
            let named = |e| match e {
                Error::Usage(m) => Error::usage(format!("arm `{}`: {m}", arm.name)),
                e => e,
            };
            let config = parse_flags(&flags).and_then(|f| f.resolve()).map_err(named)?;
            jobs.push(Job {
                label: arm.name.clone(),
                folder: Plan::folder(&out, arm, *seed),
                config,
                like: None,
            });
        }
    }
    jobs.iter().try_for_each(Job::check)?;
    disk::create_dirs(&out)?;
    let _lock = RunLock::take(&out)?;
    let again = format!("growthpath study {} --out {} --resume", shown_path(&args.plan), shown_path(&out));
    train_all(&mut jobs, args.device, args.quiet).map_err(|e| mended(e, &again))?;
    let first: Vec<Run> = plan
        .arms
        .iter()
        .map(|a| Ok(Run::open(Plan::folder(&out, a, plan.seeds[0]))?))
        .collect::<Result<_>>()?;
    let pairs: Vec<(usize, usize)> =
        plan.compare.iter().filter_map(|[a, b]| Some((index(&plan, a)?, index(&plan, b)?))).collect();
    let figures = out.join("figures");
    let material = report::read(&first, &pairs, None)?;
    report::draw_all(&material, &figures)?;
    report::write(&material, &out.join("report.html"))?;
    output::print(&summary(&plan, &out)?)
}

fn index(plan: &Plan, name: &str) -> Option<usize> {
    plan.arms.iter().position(|a| a.name == name)
}

fn summary(plan: &Plan, out: &Path) -> Result<String> {
    let open = |arm: &Arm, seed: u64| -> Result<Run> { Ok(Run::open(Plan::folder(out, arm, seed))?) };
    let mut text = arms_table(plan, &open)?;
    for [a, b] in &plan.compare {
        let arm = |name: &String| {
            let found = plan.arms.iter().find(|x| x.name == *name);
            found.ok_or_else(|| Error::usage(format!("no arm `{name}`")))
        };
        let (arm_a, arm_b) = (arm(a)?, arm(b)?);
        let (mut all, mut left_out) = (Vec::new(), Vec::new());
        for &seed in &plan.seeds {
            let (run_a, run_b) = (open(arm_a, seed)?, open(arm_b, seed)?);
            match [(a, &run_a), (b, &run_b)].iter().find(|(_, run)| run.info().status != Status::Complete) {
                Some((name, run)) => left_out.push(format!("seed {seed} ({name} {})", ended(run))),
                None => all.push(compare(&run_a, &run_b, Layers::Upper, 0..u32::MAX)?),
            }
        }
        let of = if left_out.is_empty() { String::new() } else { format!(" of {}", plan.seeds.len()) };
        text += &format!("\n{b} against {a}, upper half, {}{of} seeds\n", all.len());
        if !left_out.is_empty() {
            text += &format!(
                "left out: {}. What follows is about the seeds in which both arms finished, and says nothing of the others.\n",
                left_out.join(", ")
            );
        }
        if !all.is_empty() {
            text += &seed_table::text(&seeds(&all, CONFIDENCE)?);
        }
    }
    text += &format!("\nreport: {}\n", shown_path(&out.join("report.html")));
    Ok(text)
}

/// How a run ended, for a sentence.
fn ended(run: &Run) -> &'static str {
    match run.info().status {
        Status::Complete => "finished",
        Status::Diverged => "diverged",
        Status::Running | Status::Interrupted => "did not finish",
    }
}

/// Final validation loss of every arm over the seeds that finished.
fn arms_table(plan: &Plan, open: &dyn Fn(&Arm, u64) -> Result<Run>) -> Result<String> {
    let mut rows = Vec::new();
    for arm in &plan.arms {
        let (mut losses, mut diverged) = (Vec::new(), 0);
        for &seed in &plan.seeds {
            let run = open(arm, seed)?;
            match run.info().status {
                Status::Complete => losses.extend(run.evals()?.last().map(|e| e.loss)),
                Status::Diverged => diverged += 1,
                Status::Running | Status::Interrupted => {}
            }
        }
        let (e, i) = (estimate(&losses), mean_interval(&losses, CONFIDENCE)?);
        let of = if e.count < plan.seeds.len() { format!(" of {}", plan.seeds.len()) } else { String::new() };
        let diverged = if diverged > 0 { format!(" ({diverged} diverged)") } else { String::new() };
        rows.push(vec![
            arm.name.clone(),
            format!("{}{of}{diverged}", e.count),
            if e.count > 0 { format!("{:.4}", e.mean) } else { "-".to_owned() },
            number(e.error),
            format!("{} .. {}", number(i.low), number(i.high)),
            number(e.mean.exp()),
        ]);
    }
    let head =
        ["arm", "seeds", "validation loss", "standard error over seeds", "95 % interval", "perplexity"];
    Ok(table(&head, &rows))
}
