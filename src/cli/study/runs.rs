//! The runs of a study on this machine: one after the other, or one alone. A run that fails leaves its error beside
//! the others and does not stop them.

use std::path::Path;

use growthpath_trace::{Run, Status, Table};

use super::super::progress::{Progress, Show, note};
use super::args::Args;
use super::board::Board;
use super::flags::parse_flags;
use super::lines;
use super::study_run::{StudyRun, Trained};
use super::training::{Loaded, keep_diverged, train_job};
use crate::error::{Error, Result};
use crate::study::results::failure_file;
use crate::study::{Arm, Job, Plan};
use crate::tables::plural;
use crate::train::Event;

/// Every run of a plan, seed by seed, so that a study that is stopped has whole seeds.
pub fn of(plan: &Plan, out: &Path) -> Result<Vec<StudyRun>> {
    let seed = |f: &&String| *f == "--seed" || f.starts_with("--seed=");
    if let Some(flag) = plan.flags.iter().chain(plan.arms.iter().flat_map(|a| &a.flags)).find(seed) {
        return Err(Error::usage(format!("{flag} is no flag of a plan: it says in `seeds` which to train")));
    }
    let mut jobs = Vec::new();
    let mut named: Vec<(&Arm, u64)> = Vec::new();
    for &seed in &plan.seeds {
        for arm in &plan.arms {
            let mut flags = plan.flags.clone();
            flags.extend(arm.flags.iter().cloned());
            flags.extend(["--seed".into(), seed.to_string()]);
            let of_arm = |e| match e {
                Error::Usage(m) => Error::usage(format!("arm `{}`: {m}", arm.name)),
                e => e,
            };
            let config = parse_flags(&flags).and_then(|f| f.resolve()).map_err(of_arm)?;
            jobs.push(Job {
                label: arm.name.clone(),
                folder: Plan::folder(out, arm, seed),
                config,
                like: None,
            });
            named.push((arm, seed));
        }
    }
    Job::share_probe_times(&mut jobs);
    let run = |((arm, seed), job): ((&Arm, u64), Job)| StudyRun {
        name: Plan::run_name(arm, seed),
        failure: failure_file(out, arm, seed),
        job,
    };
    Ok(named.into_iter().zip(jobs).map(run).collect())
}

/// Train a run; its error is kept in a file for the tables, which a run that does not fail has not.
fn attempt(run: &mut StudyRun, loaded: &mut Loaded, args: &Args, on: &mut dyn FnMut(Event)) -> Result<()> {
    forget_failure(run)?;
    let ended = train_job(&mut run.job, loaded, args.device, Show::unless(args.quiet), on);
    let ended = keep_diverged(&run.name, ended);
    match &ended {
        // A run that was asked to stop has not failed.
        Ok(()) | Err(Error::Interrupted { .. }) => {}
        Err(e) => remember_failure(run, &e.to_string())?,
    }
    ended
}

fn forget_failure(run: &StudyRun) -> Result<()> {
    match std::fs::remove_file(&run.failure) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&run.failure)(e)),
        _ => Ok(()),
    }
}

/// Keep the error of a run.
pub fn remember_failure(run: &StudyRun, why: &str) -> Result<()> {
    if let Some(folder) = run.failure.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    std::fs::write(&run.failure, format!("{why}\n")).map_err(Error::io(&run.failure))
}

/// Train every run that is not complete, in this process.
pub fn one_by_one(runs: &mut [StudyRun], args: &Args, board: &Board) -> Result<()> {
    let mut loaded = None;
    for run in runs {
        let found = done(run);
        let mut bar = board.run(run);
        let ended = attempt(run, &mut loaded, args, &mut |e| bar.on(e));
        bar.clear();
        if let Err(e @ Error::Interrupted { .. }) = ended {
            return Err(e);
        }
        let failed = ended.err().map(|e| e.to_string());
        board.ended(run, &words(run, failed.as_deref(), found), found);
    }
    Ok(())
}

/// Whether a run has something left to train.
pub fn done(run: &StudyRun) -> Trained {
    let over = |r: Run| matches!(r.info().status, Status::Complete | Status::Diverged);
    if Run::open(&run.job.folder).is_ok_and(over) { Trained::Before } else { Trained::Now }
}

/// How a run ended, in words; `failed` is its error.
pub fn words(run: &StudyRun, failed: Option<&str>, found: Trained) -> String {
    if let Some(why) = failed {
        return format!("failed: {}", why.lines().next().unwrap_or(""));
    }
    let before = if found == Trained::Before { ", done before" } else { "" };
    let Ok(read) = Run::open(&run.job.folder) else { return format!("done{before}") };
    if read.info().status == Status::Diverged {
        let steps = read.step_span(Table::Steps).map_or(0, |(_, last)| last + 1);
        return format!("diverged after {}{before}", plural(steps, "step"));
    }
    let loss = read.evals().ok().and_then(|e| e.last().map(|e| e.loss));
    loss.map_or_else(|| format!("done{before}"), |l| format!("validation loss {l:.4}{before}"))
}

/// Train the one run of a name: a task of a job array, or a process of `--jobs`.
pub fn only(runs: &mut [StudyRun], name: &str, out: &Path, args: &Args) -> Result<()> {
    let Some(run) = runs.iter_mut().find(|r| r.name == name) else {
        return Err(Error::usage(format!(
            "--only {name}: the plan has no such run; runs are named ARM-seedN"
        )));
    };
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let mut loaded = None;
    if args.progress_lines {
        let mut printer = lines::Printer::default();
        return attempt(run, &mut loaded, args, &mut |e| printer.on(e));
    }
    let mut bar = Progress::new(name, run.job.config.steps, 0, Show::unless(args.quiet));
    let ended = attempt(run, &mut loaded, args, &mut |e| bar.on(e));
    bar.finish();
    if ended.is_ok() && !args.quiet {
        note(&format!("{name}: done"));
    }
    ended
}
