//! What a study's runs came to: read from their folders, whoever trained them and wherever.

use std::path::{Path, PathBuf};

use growthpath_analysis::arms::{ArmSummary, Departure, RunSummary, departures};
use growthpath_analysis::compare::{Comparison, Layers, SeedMetric, SeedSummary, compare, seeds};
use growthpath_analysis::statistics::{CONFIDENCE, holm};
use growthpath_trace::{Run, Status};
use rayon::prelude::*;
use serde::Serialize;

use super::plan::{Arm, Plan};
use crate::error::Result;
use crate::tables::plural;

/// How one run of a study ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All steps done.
    Complete,
    /// The loss or a gradient was no longer a number.
    Diverged,
    /// Still being trained, or killed, or stopped on request.
    Unfinished,
    /// It ended with an error, or what it left cannot be read.
    Failed,
    /// Nothing there.
    Missing,
}

/// One run of a study.
#[derive(Debug, Clone, Serialize)]
pub struct RunResult {
    /// The arm.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub ended: Ended,
    /// The error of a failed run, empty otherwise.
    pub why: String,
    /// What it came to, as far as it came; none for a run without rows.
    pub summary: Option<RunSummary>,
}

/// One arm of a study.
#[derive(Debug, Clone, Serialize)]
pub struct ArmResult {
    /// Its name.
    pub arm: String,
    /// Its complete runs together.
    pub summary: ArmSummary,
}

/// Two arms of a study: `arm` against `reference`, seed by seed.
#[derive(Debug, Clone, Serialize)]
pub struct PairResult {
    /// The arm that differences are measured from.
    pub reference: String,
    /// The arm that they lead to.
    pub arm: String,
    /// Seeds in which both arms finished.
    pub seeds: Vec<u64>,
    /// The other seeds, with the reason.
    pub left_out: Vec<String>,
    /// Difference of the final validation loss, nat/token.
    pub loss: SeedMetric,
    /// p of its t test after Holm's adjustment over all pairs of the study.
    pub loss_p_holm: f64,
    /// The upper half's growth compared; none where no seed could be.
    pub upper: Option<SeedSummary>,
    /// The lower half's.
    pub lower: Option<SeedSummary>,
    /// Why growth was not compared, for seeds or halves where it was not.
    pub refused: Vec<String>,
    /// Early warnings, where runs of the arm diverged and those of the reference did not.
    pub warnings: Vec<Warning>,
}

/// When a signal of a run that diverged left that of the reference's run of the same seed.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Warning {
    /// The seed.
    pub seed: u64,
    /// The signal.
    pub signal: &'static str,
    /// From which step on; none if it never did.
    pub step: Option<u32>,
    /// Steps that the run did.
    pub diverged: u32,
}

/// Everything that a study's tables show.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// What the study is about, from its plan.
    pub about: String,
    /// Seeds of the plan.
    pub seeds: Vec<u64>,
    /// Confidence level of all intervals.
    pub level: f64,
    /// Every run of the plan, arm by arm.
    pub runs: Vec<RunResult>,
    /// Every arm.
    pub arms: Vec<ArmResult>,
    /// Every pair to compare.
    pub pairs: Vec<PairResult>,
}

impl Ended {
    /// In a word, for tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Diverged => "diverged",
            Self::Unfinished => "unfinished",
            Self::Failed => "failed",
            Self::Missing => "missing",
        }
    }
}

impl RunResult {
    /// Reads one run of a study.
    pub fn read(out: &Path, arm: &Arm, seed: u64) -> Self {
        let folder = Plan::folder(out, arm, seed);
        let with = |ended, why: String, summary| Self { arm: arm.name.clone(), seed, ended, why, summary };
        let error = std::fs::read_to_string(failure_file(out, arm, seed)).ok();
        if !folder.join("run.json").exists() {
            return match error {
                Some(why) => with(Ended::Failed, why.trim().to_owned(), None),
                None => with(Ended::Missing, String::new(), None),
            };
        }
        let run = match Run::open(&folder) {
            Ok(run) => run,
            Err(e) => return with(Ended::Failed, e.to_string(), None),
        };
        let summary = RunSummary::read(&run);
        match (run.info().status, error, summary) {
            (Status::Complete, _, Ok(s)) => with(Ended::Complete, String::new(), Some(s)),
            (Status::Diverged, _, s) => with(Ended::Diverged, String::new(), s.ok()),
            (Status::Complete, _, Err(e)) => with(Ended::Failed, e.to_string(), None),
            (_, Some(why), s) => with(Ended::Failed, why.trim().to_owned(), s.ok()),
            (_, None, s) => with(Ended::Unfinished, String::new(), s.ok()),
        }
    }

    /// How it ended, with the step where that says something, and why: `diverged after 17 steps`.
    pub fn state(&self) -> String {
        let word = match (self.ended, &self.summary) {
            (Ended::Diverged, Some(s)) => format!("diverged after {}", plural(s.steps, "step")),
            (Ended::Unfinished | Ended::Failed, Some(s)) => {
                format!("{} at step {} of {}", self.ended.word(), s.steps, s.planned)
            }
            (ended, _) => ended.word().to_owned(),
        };
        match self.why.lines().next() {
            Some(why) if !why.is_empty() => format!("{word}: {why}"),
            _ => word,
        }
    }

    /// The summary of a run that finished.
    pub fn complete(&self) -> Option<&RunSummary> {
        self.summary.as_ref().filter(|_| self.ended == Ended::Complete)
    }
}

/// Where the error of a run that failed is kept.
pub fn failure_file(out: &Path, arm: &Arm, seed: u64) -> PathBuf {
    out.join("failed").join(format!("{}-seed{seed}.txt", arm.name))
}

impl Results {
    /// Reads every run of a plan from `out`. A run that is missing, diverged or damaged is a row of the tables, no error.
    ///
    /// # Errors
    /// When a statistic cannot be formed.
    pub fn read(plan: &Plan, out: &Path) -> Result<Self> {
        let mut runs = Vec::new();
        let mut arms = Vec::new();
        for arm in &plan.arms {
            let of: Vec<RunResult> = plan.seeds.par_iter().map(|s| RunResult::read(out, arm, *s)).collect();
            let complete: Vec<&RunSummary> = of.iter().filter_map(RunResult::complete).collect();
            arms.push(ArmResult { arm: arm.name.clone(), summary: ArmSummary::over(&complete, CONFIDENCE)? });
            runs.extend(of);
        }
        let pairs = plan.compare.iter().map(|[a, b]| pair(plan, out, &runs, a, b));
        let mut pairs: Vec<PairResult> = pairs.collect::<Result<_>>()?;
        let p: Vec<f64> = pairs.iter().map(|p| p.loss.t_test.unwrap_or(f64::NAN)).collect();
        for (pair, adjusted) in pairs.iter_mut().zip(holm(&p)) {
            pair.loss_p_holm = adjusted;
        }
        let (about, seeds) = (plan.about.clone(), plan.seeds.clone());
        Ok(Self { about, seeds, level: CONFIDENCE, runs, arms, pairs })
    }

    /// The runs of one arm, in the order of the seeds.
    pub fn of(&self, arm: &str) -> impl Iterator<Item = &RunResult> {
        self.runs.iter().filter(move |r| r.arm == arm)
    }
}

fn pair(plan: &Plan, out: &Path, runs: &[RunResult], a: &str, b: &str) -> Result<PairResult> {
    let find = |arm: &str, seed: u64| runs.iter().find(|r| r.arm == arm && r.seed == seed);
    let (mut both, mut left_out, mut differences, mut refused) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut compared: [Vec<Comparison>; 2] = Default::default();
    for &seed in &plan.seeds {
        let ends = [find(a, seed), find(b, seed)];
        if let Some(run) = ends.iter().flatten().find(|r| r.complete().is_none()) {
            left_out.push(format!("seed {seed} ({} {})", run.arm, run.state()));
            continue;
        }
        let [Some(x), Some(y)] = ends.map(|r| r.and_then(RunResult::complete)) else { continue };
        both.push(seed);
        differences.push(y.get("val_loss") - x.get("val_loss"));
        let open = |arm: &str| Run::open(out.join(format!("{arm}-seed{seed}")));
        let (run_a, run_b) = (open(a)?, open(b)?);
        for (half, list) in [Layers::Upper, Layers::Lower].into_iter().zip(&mut compared) {
            match compare(&run_a, &run_b, half, ..) {
                Ok(c) => list.push(c),
                Err(e) => refused.push(format!("seed {seed}, {} half: {e}", half.name())),
            }
        }
    }
    let [upper, lower] = compared.map(|list| match list.is_empty() {
        true => None,
        false => seeds(&list, CONFIDENCE).map_err(|e| refused.push(e.to_string())).ok(),
    });
    Ok(PairResult {
        reference: a.to_owned(),
        arm: b.to_owned(),
        seeds: both,
        left_out,
        loss: SeedMetric::difference("val_loss_difference", differences, CONFIDENCE)?,
        loss_p_holm: f64::NAN,
        upper,
        lower,
        refused,
        warnings: warnings(plan, out, runs, a, b)?,
    })
}

fn warnings(plan: &Plan, out: &Path, runs: &[RunResult], a: &str, b: &str) -> Result<Vec<Warning>> {
    let find = |arm: &str, seed: u64| runs.iter().find(|r| r.arm == arm && r.seed == seed);
    let mut found = Vec::new();
    for &seed in &plan.seeds {
        let diverged = find(b, seed).filter(|r| r.ended == Ended::Diverged).and_then(|r| r.summary.as_ref());
        let (Some(diverged), Some(_)) = (diverged, find(a, seed).and_then(RunResult::complete)) else {
            continue;
        };
        let open = |arm: &str| Run::open(out.join(format!("{arm}-seed{seed}")));
        let warning =
            |d: Departure| Warning { seed, signal: d.signal, step: d.step, diverged: diverged.steps };
        found.extend(departures(&open(a)?, &open(b)?)?.into_iter().map(warning));
    }
    Ok(found)
}
