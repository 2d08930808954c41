//! Checks the statistics over seeds on simulated studies of two arms that differ by chance only:
//! `cargo run --release -p growthpath-analysis --example simulated_studies [STUDIES [BATCHES [FIRST]]]`.
//!
//! Every run is written to disk, compared and summarised as `growthpath study` does. Default: 5 batches of 200
//! studies, 5 seeds each. FIRST is the number of the first study: others are other draws.

use std::error::Error;

use growthpath_analysis::compare::{Comparison, Layers, SeedSummary, compare, seeds};
use growthpath_analysis::statistics::{CONFIDENCE, estimate, mean_interval, median};
use growthpath_trace::EvalRow;
use rayon::prelude::*;

#[path = "../src/compare/tests/simulation.rs"]
mod simulation;

use simulation::{SimulatedRun, pair};

const SEEDS: u64 = 5;

type Failure = Box<dyn Error + Send + Sync>;

/// One study, from files.
struct Study {
    summary: SeedSummary,
    /// Old `fraction_saved` of the seeds in which B reaches A's final loss.
    old: Vec<f64>,
    /// Of each pair: whether the interval over sequences holds the true difference in loss, and how many times
    /// wider it would be taken as independent.
    loss: Vec<(bool, f64)>,
    /// Of each pair: whether the interval over sequences holds the true log token ratio.
    tokens: Vec<bool>,
}

fn study(number: u64) -> Result<Study, Failure> {
    let dir = tempfile::tempdir()?;
    let (mut all, mut old, mut loss, mut tokens) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for seed in 0..SEEDS {
        let runs = pair(number, seed);
        let [a, b] =
            runs.each_ref().map(|r| r.write(&dir.path().join(format!("{}-seed{seed}", r.info.label))));
        let c: Comparison = compare(&a?, &b?, Layers::Upper, ..)?;
        old.extend(old_fraction_saved(&runs));
        if let (Some(l), Some(t)) = (c.final_loss, c.token_efficiency) {
            let [a, b] = runs.each_ref().map(|r| &r.truth);
            let last = a.len() - 1;
            let apart = l.val_stderr_a.hypot(l.val_stderr_b) / l.difference_stderr;
            loss.push((l.difference_interval.covers(b[last].loss - a[last].loss), apart));
            let worse = a[last].loss.max(b[last].loss);
            let truth = reach(b, worse).zip(reach(a, worse)).map(|(b, a)| (b / a).ln());
            tokens.push(truth.is_some_and(|t_true| t.log_token_ratio_interval.covers(t_true)));
        }
        all.push(c);
    }
    Ok(Study { summary: seeds(&all, CONFIDENCE)?, old, loss, tokens })
}

/// First tokens at which a curve is at or below a loss, linear between evaluations: by its definition, apart from
/// the library's own.
fn reach(curve: &[EvalRow], loss: f64) -> Option<f64> {
    if curve.first().is_some_and(|first| first.loss <= loss) {
        return curve.first().map(|first| first.tokens as f64);
    }
    curve.windows(2).find(|w| w[1].loss <= loss).map(|w| {
        let share = (w[0].loss - loss) / (w[0].loss - w[1].loss);
        w[0].tokens as f64 + share * (w[1].tokens - w[0].tokens) as f64
    })
}

/// What the first version reported: the fraction of A's tokens that B saves on the way to *A's* final loss, defined
/// only where B reaches it.
fn old_fraction_saved(runs: &[SimulatedRun; 2]) -> Option<f64> {
    let [a, b] = runs.each_ref().map(|r| &r.evals);
    let target = a.last()?.loss;
    Some(1.0 - reach(b, target)? / reach(a, target)?)
}

/// `95.2 +- 0.7 %`: a share with its binomial standard error.
fn share(hits: usize, of: usize) -> String {
    let p = hits as f64 / of as f64;
    format!("{:5.1} +- {:.1} %", 100.0 * p, 100.0 * (p * (1.0 - p) / of as f64).sqrt())
}

/// Smallest and largest share over batches.
fn range(hits: &[bool], batch: usize) -> String {
    let of = |c: &[bool]| 100.0 * c.iter().filter(|h| **h).count() as f64 / c.len() as f64;
    let all: Vec<f64> = hits.chunks(batch).map(of).collect();
    let (low, high) = all.iter().fold((100.0f64, 0.0f64), |(l, h), v| (l.min(*v), h.max(*v)));
    format!("{low:.1} .. {high:.1}")
}

fn count(hits: &[bool]) -> usize {
    hits.iter().filter(|h| **h).count()
}

fn main() -> Result<(), Failure> {
    let given: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let batch = given.first().copied().unwrap_or(200).max(1);
    let batches = given.get(1).copied().unwrap_or(5).max(1);
    let first = given.get(2).copied().unwrap_or(0) as u64;
    let total = batch * batches;
    // Writing waits for the disk, not for a core.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build()?;
    let all: Vec<Study> =
        pool.install(|| (first..first + total as u64).into_par_iter().map(study).collect::<Result<_, _>>())?;
    println!(
        "{total} studies ({batches} batches of {batch}) of two identical arms, {SEEDS} seeds each, {} runs on disk",
        2 * total * SEEDS as usize
    );
    let error = |n: usize| 100.0 * (CONFIDENCE * (1.0 - CONFIDENCE) / n as f64).sqrt();
    println!(
        "binomial standard error of a coverage of 95 %: {:.1} % for {batch} studies, {:.1} % for {total}\n",
        error(batch),
        error(total)
    );
    println!(
        "{:<26} {:>16} {:>14} {:>20} {:>13}",
        "95 % interval covers 0", "all studies", "by batch, %", "sign-flip p = least", "mean / error"
    );
    for (i, metric) in all[0].summary.metrics.iter().enumerate() {
        let of: Vec<_> = all.iter().map(|s| &s.summary.metrics[i]).collect();
        if metric.sign.is_none() {
            continue;
        }
        if of.iter().all(|m| m.values.iter().all(|v| *v == 0.0)) {
            println!("{:<26} zero in every study", metric.name);
            continue;
        }
        let covers: Vec<bool> = of.iter().map(|m| m.interval.covers(0.0)).collect();
        let rejects = of.iter().filter(|m| m.sign_flip.is_some_and(|t| t.p <= t.smallest)).count();
        let e = estimate(&of.iter().map(|m| m.estimate.mean).collect::<Vec<_>>());
        println!(
            "{:<26} {:>16} {:>14} {:>20} {:>13.2}",
            metric.name,
            share(count(&covers), total),
            range(&covers, batch),
            share(rejects, total),
            e.mean / e.error
        );
    }
    println!(
        "level of the sign-flip test at its least p, 2/2^{SEEDS}: {:.2} %\n",
        200.0 / 2f64.powi(SEEDS as i32)
    );
    old(&all, batch)?;
    sequences(&all);
    Ok(())
}

/// The withdrawn statistic on the same studies.
fn old(all: &[Study], batch: usize) -> Result<(), Failure> {
    let values: Vec<f64> = all.iter().flat_map(|s| s.old.iter().copied()).collect();
    let e = estimate(&values);
    println!(
        "withdrawn fraction_saved: mean {:+.4} +- {:.4} over the {} of {} pairs in which it exists; its truth is 0",
        e.mean,
        e.error,
        e.count,
        all.len() * SEEDS as usize
    );
    let mut covers = Vec::new();
    for s in all.iter().filter(|s| s.old.len() >= 2) {
        covers.push(mean_interval(&s.old, CONFIDENCE)?.covers(0.0));
    }
    println!(
        "  its 95 % interval covers 0 in {} ({} by batch) of the {} studies with two values\n",
        share(count(&covers), covers.len()),
        range(&covers, batch),
        covers.len()
    );
    Ok(())
}

/// Intervals over sequences against what the two runs truly differ by.
fn sequences(all: &[Study]) {
    let loss: Vec<bool> = all.iter().flat_map(|s| s.loss.iter().map(|l| l.0)).collect();
    let apart: Vec<f64> = all.iter().flat_map(|s| s.loss.iter().map(|l| l.1)).collect();
    let tokens: Vec<bool> = all.iter().flat_map(|s| s.tokens.iter().copied()).collect();
    println!(
        "interval over {} sequences holds the true difference of the two runs, {} pairs:",
        simulation::SEQUENCES,
        loss.len()
    );
    println!(
        "  loss, paired               {} ({:.1} times as narrow as taken as independent)",
        share(count(&loss), loss.len()),
        median(&apart)
    );
    println!("  log token ratio, halves     {}", share(count(&tokens), tokens.len()));
}
