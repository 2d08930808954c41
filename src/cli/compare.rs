//! `growthpath compare`.

use std::ops::Range;
use std::path::PathBuf;

use growthpath_analysis::compare::{Comparison, GroupComparison, Layers, compare};
use growthpath_trace::Run;

use super::output::{self, number, table};
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
    let (a, b) = (Run::open(&args.run_a)?, Run::open(&args.run_b)?);
    let window = args.window.clone().unwrap_or(0..u32::MAX);
    let c = compare(&a, &b, args.layers.into(), window)?;
    if args.json { output::json(&c) } else { output::print(&text(&c)) }
}

fn columns(name: &str, g: &GroupComparison) -> Vec<String> {
    let s = &g.shapley;
    [
        g.growth_a,
        g.growth_b,
        g.gap,
        s.step_size,
        s.update_geometry,
        s.residual_energy,
        s.coherence,
        s.scale,
        g.step_size_ratio,
        g.residual_energy_ratio,
    ]
    .iter()
    .fold(vec![name.to_string()], |mut v, x| {
        v.push(number(*x));
        v
    })
}

/// The comparison as a table with its reading.
pub fn text(c: &Comparison) -> String {
    let (a, b) = (&c.labels.a, &c.labels.b);
    let mut out = format!(
        "{b} against {a}, steps {}..{} ({} probe intervals)\n\n",
        c.window.first, c.window.last, c.window.intervals
    );
    let head = [
        "layers",
        "growth A",
        "growth B",
        "gap",
        "= step size",
        "+ geometry",
        "+ energy",
        "+ coherence",
        "+ scale",
        "eta u B/A",
        "e B/A",
    ];
    let mut rows = vec![columns("upper half", &c.groups.upper)];
    rows.extend(c.groups.lower.as_ref().map(|g| columns("lower half", g)));
    rows.extend(c.layers.iter().rev().map(|l| columns(&format!("  {}", l.layer), &l.comparison)));
    out += &table(&head, &rows);
    out += "\ngrowth: predicted path growth, ln; the five parts are Shapley values and add up to the gap.\n";
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
