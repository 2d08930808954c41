//! What a study leaves: tables, figures, report, and the answer on the screen.

use std::path::Path;

use growthpath_trace::Run;

use super::super::output;
use super::super::progress::note;
use crate::error::{Error, Result};
use crate::report;
use crate::study::results::{Ended, RunResult};
use crate::study::{Plan, Results, tables};

/// Read every run that is there, write what a study leaves, and print the answer.
pub fn run(plan: &Plan, out: &Path, json: bool) -> Result<()> {
    let results = Results::read(plan, out)?;
    tables::write(&results, out)?;
    if let Err(e) = draw(plan, &results, out) {
        note(&format!("no figures and no report: {e}"));
    }
    if json {
        output::json(&results)?;
    } else {
        output::print(&text(&results, out))?;
    }
    failures(&results)
}

fn text(results: &Results, out: &Path) -> String {
    let mut text = String::new();
    for sentence in tables::sentences(results) {
        text += &(crate::tables::wrapped(&sentence, 100).join("\n  ") + "\n");
    }
    for table in tables::first(results) {
        text += &format!("\n{}", table.text());
    }
    let o = out.display();
    text += &format!(
        "\nall tables: {o}/results.md, {o}/tables (Markdown, LaTeX, CSV), {o}/study.json\nfigures: {o}/figures\nreport: {o}/report.html\n"
    );
    text
}

/// Figures and report: the single-run figures of one seed, the curves over seeds of all.
fn draw(plan: &Plan, results: &Results, out: &Path) -> Result<()> {
    let open = |r: &RunResult| Run::open(out.join(format!("{}-seed{}", r.arm, r.seed)));
    let complete = |seed: u64| results.runs.iter().filter(move |r| r.seed == seed && r.complete().is_some());
    // The earliest of the seeds in which most arms finished: the order of the seeds decides, not the results.
    let best = plan.seeds.iter().rev().max_by_key(|s| complete(**s).count());
    let Some(seed) = best.copied().filter(|s| complete(*s).next().is_some()) else {
        return Err(Error::format(out, "no run is complete"));
    };
    // A run that diverged is shown as such: leaving it out would pass over it in silence.
    let told = |r: &&RunResult| r.seed == seed && (r.complete().is_some() || r.ended == Ended::Diverged);
    let shown: Vec<&RunResult> = results.runs.iter().filter(told).collect();
    let first: Vec<Run> = shown.iter().map(|r| Ok(open(r)?)).collect::<Result<_>>()?;
    let place = |name: &String| shown.iter().position(|r| r.arm == *name);
    let pairs: Vec<(usize, usize)> =
        plan.compare.iter().filter_map(|[a, b]| Some((place(a)?, place(b)?))).collect();
    let material = report::read(&first, &pairs, None)?;
    let figures = out.join("figures");
    report::draw_all(&material, &figures)?;
    report::write(&material, &out.join("report.html"))?;
    let all = results.runs.iter().filter(|r| r.complete().is_some() || r.ended == Ended::Diverged);
    let all: Vec<Run> = all.map(|r| Ok(open(r)?)).collect::<Result<_>>()?;
    report::draw_seeds(&all, &figures)
}

/// A study with runs that failed or are missing has not done what was asked.
fn failures(results: &Results) -> Result<()> {
    let open = |r: &&RunResult| !matches!(r.ended, Ended::Complete | Ended::Diverged);
    let open: Vec<String> = results
        .runs
        .iter()
        .filter(open)
        .map(|r| format!("{}-seed{} ({})", r.arm, r.seed, r.state()))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(Error::Incomplete(format!(
        "{} of {} runs did not finish: {}; the tables are about the others. Errors stand in the table of runs; go on with --resume",
        open.len(),
        results.runs.len(),
        open.join(", ")
    )))
}
