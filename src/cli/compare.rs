//! `growthpath compare`.

use std::ops::Range;
use std::path::PathBuf;

use growthpath_analysis::compare::{Comparison, GroupComparison, Layers, compare};

use super::output::{self, number, table};
use super::plot::whole_run;
use super::{losses, window};
use crate::error::Result;

/// Groups of layers on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// Layer >= L/2.
    Upper,
    /// Layer < L/2.
    Lower,
    /// Every layer.
    All,
}

impl From<Group> for Layers {
    fn from(g: Group) -> Self {
        match g {
            Group::Upper => Self::Upper,
            Group::Lower => Self::Lower,
            Group::All => Self::All,
        }
    }
}

/// Arguments of `growthpath compare`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The first run: the reference
    run_a: PathBuf,
    /// The second run: what is explained against it
    run_b: PathBuf,
    /// Layers to compare
    #[arg(long, value_enum, default_value = "all")]
    layers: Group,
    /// Only steps A..B
    #[arg(long, value_parser = window, value_name = "A..B")]
    window: Option<Range<u32>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    let (a, b) = (whole_run(&args.run_a)?, whole_run(&args.run_b)?);
    let window = args.window.clone().unwrap_or(0..u32::MAX);
    let c = compare(&a, &b, args.layers.into(), window)?;
    if args.json { output::json(&c) } else { output::print(&text(&c)) }
}

fn columns(name: &str, g: &GroupComparison, split: bool) -> Vec<String> {
    let s = &g.shapley;
    // What is below rounding is nothing; what is interpolated too much is not shown.
    let lever = |v: f64| {
        if !split {
            f64::NAN
        } else if v.abs() < 1e-9 {
            0.0
        } else {
            v
        }
    };
    let numbers = [
        g.measured_a.growth,
        g.measured_b.growth,
        g.measured_gap,
        g.predicted_gap,
        lever(s.start),
        lever(s.step_size),
        lever(s.update_geometry),
        lever(s.residual_energy),
        lever(s.coherence),
        lever(s.features),
    ];
    std::iter::once(name.to_owned()).chain(numbers.map(number)).collect()
}

fn levers(name: &str, g: &GroupComparison, split: bool) -> Vec<String> {
    let p = &g.measured_gap_parts;
    let lever = |v: f64| if split { v } else { f64::NAN };
    let numbers = [
        p.query,
        p.key,
        p.features,
        lever(g.step_size_ratio),
        lever(g.residual_energy_ratio),
        lever(g.coherence_difference),
    ];
    std::iter::once(name.to_owned()).chain(numbers.map(number)).collect()
}

fn rows(c: &Comparison, of: fn(&str, &GroupComparison, bool) -> Vec<String>) -> Vec<Vec<String>> {
    let of = |name: &str, g: &GroupComparison| of(name, g, c.split_is_trusted);
    let mut rows = vec![of("upper half", &c.groups.upper)];
    rows.extend(c.groups.lower.as_ref().map(|g| of("lower half", g)));
    rows.extend(c.layers.iter().rev().map(|l| of(&format!("  {}", l.layer), &l.comparison)));
    rows
}

/// The comparison as a table with its reading.
pub fn text(c: &Comparison) -> String {
    let (a, b) = (&c.labels.a, &c.labels.b);
    let mut out = format!(
        "B = {b} against A = {a}, steps {}..{} ({} probe intervals)\n\n",
        c.window.first, c.window.last, c.window.intervals
    );
    out += "Log growth of the spread, mean over heads, and why B's differs from A's: the six parts are Shapley values\n\
            of the paths (5.4) and add up to the predicted gap, which stands beside the measured one\n";
    let head = [
        "layers",
        "A",
        "B",
        "measured gap",
        "predicted gap",
        "= start",
        "+ step size",
        "+ geometry",
        "+ energy",
        "+ coherence",
        "+ features",
    ];
    out += &table(&head, &rows(c, columns));
    out += "\nThe measured gap by part (3.1), and the levers: ratios B/A of the step-size term eta u and of the\n\
            residual energy e, difference of the coherence c0\n";
    out += &table(
        &["layers", "queries", "keys", "features", "eta u B/A", "e B/A", "c0 B - A"],
        &rows(c, levers),
    );
    out += "\n";
    out += &losses::text(c);
    if !c.differences.is_empty() {
        let rows: Vec<Vec<String>> =
            c.differences.iter().map(|d| vec![d.key.clone(), d.a.to_string(), d.b.to_string()]).collect();
        out += "\nwhat differs between the runs\n";
        out += &table(&["key", "A", "B"], &rows);
    }
    for n in &c.notes {
        out += &format!("note: {n}\n");
    }
    out
}
