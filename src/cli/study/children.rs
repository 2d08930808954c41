//! Several runs at a time: each in a process of its own, so that one that fails, or is killed for its memory, takes
//! nothing with it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};

use super::args::Args;
use super::board::Board;
use super::lines;
use super::runs::{done, remember_failure, words};
use super::study_run::{StudyRun, Trained};
use super::training::stopped_between;
use crate::error::{Error, Result};
use crate::train::stop;

/// What became of each run so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Started,
    Ended,
}

/// Train every run that is not complete, `--jobs` at a time. A run whose probe times are another's waits for that one.
pub fn side_by_side(runs: &[StudyRun], plan: &Path, out: &Path, args: &Args, board: &Board) -> Result<()> {
    let program = std::env::current_exe().map_err(Error::io("this program"))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (args.threads.unwrap_or(cores) / args.jobs).max(1).to_string();
    let command = |run: &StudyRun| {
        let mut c = Command::new(&program);
        c.arg("study").arg(plan).arg("--out").arg(out).args(["--only", &run.name, "--threads", &threads]);
        c.args(["--device", args.device.name(), "--quiet", "--progress-lines"]);
        c.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        c
    };
    let stages = Mutex::new(vec![Stage::Waiting; runs.len()]);
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.min(runs.len()) {
            scope.spawn(|| {
                while let Some(i) = next(runs, &stages, &changed) {
                    let (how, trained) = one(&runs[i], &command, board);
                    board.ended(&runs[i], &how, trained);
                    stages.lock().unwrap_or_else(PoisonError::into_inner)[i] = Stage::Ended;
                    changed.notify_all();
                }
            });
        }
    });
    match stop::requested() {
        Some(signal) => Err(stopped_between(signal)),
        None => Ok(()),
    }
}

/// The next run that can start, marked as started; waits while others have to end first, none when all are taken.
fn next(runs: &[StudyRun], stages: &Mutex<Vec<Stage>>, changed: &Condvar) -> Option<usize> {
    let mut now = stages.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if stop::requested().is_some() {
            return None;
        }
        if let Some(i) = ready(runs, &now) {
            now[i] = Stage::Started;
            return Some(i);
        }
        if now.iter().all(|s| *s != Stage::Waiting) {
            return None;
        }
        now = changed.wait(now).unwrap_or_else(PoisonError::into_inner);
    }
}

/// The first waiting run whose predecessor has ended.
fn ready(runs: &[StudyRun], stages: &[Stage]) -> Option<usize> {
    (0..runs.len()).find(|&i| {
        let first = runs[i].job.like.as_ref();
        let before = first.and_then(|f| runs.iter().position(|r| r.job.folder == *f));
        stages[i] == Stage::Waiting && before.is_none_or(|b| stages[b] == Stage::Ended)
    })
}

/// Trains one run and says how it ended, and when it was trained.
fn one(run: &StudyRun, command: &dyn Fn(&StudyRun) -> Command, board: &Board) -> (String, Trained) {
    let found = done(run);
    match watch(run, command(run), board) {
        Ok(()) => (words(run, None, found), found),
        // It was asked to stop, as this process was; it left a checkpoint and goes on from there.
        Err(_) if stop::requested().is_some() => ("stopped".to_owned(), Trained::Now),
        Err(why) => {
            let kept = remember_failure(run, &why).err();
            let beside = kept.map_or_else(String::new, |e| format!(" (not kept: {e})"));
            (words(run, Some(&why), found) + &beside, Trained::Now)
        }
    }
}

/// Follows a process to its end; the error is why it failed.
fn watch(run: &StudyRun, mut command: Command, board: &Board) -> std::result::Result<(), String> {
    let mut child = command.spawn().map_err(|e| format!("cannot be started: {e}"))?;
    let mut bar = board.run(run);
    let mut told = false;
    // Errors are a few lines; they wait in their pipe until the process ends.
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(std::io::Result::ok) {
            lines::decode(&line).into_iter().for_each(|event| bar.on(event));
            if !told && stop::requested().is_some() {
                told = true;
                // A signal from a terminal reaches every process; one sent to this process alone is passed on. Where
                // that fails the run ends in its own time.
                let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            }
        }
    }
    bar.clear();
    let mut said = String::new();
    if let Some(mut err) = child.stderr.take() {
        // What cannot be read is not shown; the exit status still counts.
        let _ = err.read_to_string(&mut said);
    }
    let status = child.wait().map_err(|e| format!("cannot be waited for: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let last = said.lines().rev().find(|l| l.contains("error: ")).or_else(|| said.lines().last());
    let why = last.map(|l| l.rsplit_once("error: ").map_or(l, |(_, why)| why).to_owned());
    Err(why.unwrap_or_else(|| format!("ended with {status}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Plan;

    #[test]
    fn followers_wait_for_the_run_whose_probe_times_they_share() {
        let plan = Plan::parse(
            "flags = [\"--size=nano\"]\nseeds = [1, 2]\n[[arms]]\nname = \"a\"\n[[arms]]\nname = \"b\"\n",
        );
        let runs = super::super::runs::of(&plan.unwrap(), Path::new("out")).unwrap();
        let names: Vec<&str> = runs.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["a-seed1", "b-seed1", "a-seed2", "b-seed2"]);
        use Stage::{Ended, Started, Waiting};
        assert_eq!(ready(&runs, &[Waiting; 4]), Some(0));
        // b-seed1 waits for a-seed1; a-seed2 does not.
        assert_eq!(ready(&runs, &[Started, Waiting, Waiting, Waiting]), Some(2));
        assert_eq!(ready(&runs, &[Started, Waiting, Started, Waiting]), None);
        assert_eq!(ready(&runs, &[Ended, Waiting, Started, Waiting]), Some(1));
    }
}
