//! `growthpath compare`.

use std::ops::Range;
use std::path::PathBuf;

use growthpath_analysis::compare::{Comparison, GroupComparison, Layers, compare};
use growthpath_trace::fixed;

use super::losses;
use super::output::{self, number, table};
use super::plot::whole_run;
use super::values::window;
use super::words::{WIDTH, glossary, same_run, told_apart, wrap};
use crate::error::Result;
use crate::report::than;
use crate::tables::plural;

/// Arguments of `growthpath compare`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The first run: the reference
    run_a: PathBuf,
    /// The second run: what is explained against it
    run_b: PathBuf,
    /// Layers to compare: upper (layer >= L/2), lower (layer < L/2) or all
    #[arg(long, default_value = "all")]
    layers: Layers,
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
    let mut c = compare(&a, &b, args.layers, window)?;
    let names = told_apart(&a, &b);
    (c.labels.a, c.labels.b) = names.clone();
    let same = same_run(&a, &b).then_some("A and B are the same run: every gap is zero");
    if args.json {
        c.notes.extend(same.map(str::to_owned));
        return output::json(&c);
    }
    let same = same.map_or_else(String::new, |s| wrap("note: ", s, 6));
    output::print(&(same + &text(&c, &names)))
}

/// What is printed of a group of layers.
type Cells = fn(&GroupComparison, bool) -> Vec<String>;

/// Two decimals and a sign, for columns that are added; what is below rounding is nothing.
fn signed(v: f64) -> String {
    if v.is_finite() { growthpath_trace::signed(v, 2) } else { "-".to_owned() }
}

fn measured(g: &GroupComparison, _: bool) -> Vec<String> {
    let p = &g.measured_gap_parts;
    let ends = [g.measured_a.growth, g.measured_b.growth].map(number);
    ends.into_iter().chain([g.measured_gap, p.query, p.key, p.features].map(signed)).collect()
}

fn predicted(g: &GroupComparison, split: bool) -> Vec<String> {
    let s = &g.shapley;
    let levers = [s.start, s.step_size, s.update_geometry, s.residual_energy, s.coherence, s.features];
    // What is interpolated too much is not shown.
    let levers = levers.map(|v| if split { signed(v) } else { "-".to_owned() });
    std::iter::once(signed(g.predicted_gap)).chain(levers).collect()
}

fn ratios(g: &GroupComparison, split: bool) -> Vec<String> {
    let shown = |v: f64| if split { number(v) } else { "-".to_owned() };
    [g.step_size_ratio, g.residual_energy_ratio, g.coherence_difference].map(shown).to_vec()
}

/// Rows of the chosen layers: their halves, then layer by layer from the top.
fn rows(c: &Comparison, of: Cells) -> Vec<Vec<String>> {
    let row = |name: String, g: &GroupComparison| {
        std::iter::once(name).chain(of(g, c.split_is_trusted)).collect::<Vec<_>>()
    };
    let half = c.layers.len() / 2;
    let (upper, lower) = (c.group != Layers::Lower, c.group != Layers::Upper);
    let mut rows = Vec::new();
    if upper {
        rows.push(row("upper".into(), &c.groups.upper));
    }
    if lower {
        rows.extend(c.groups.lower.as_ref().map(|g| row("lower".into(), g)));
    }
    let chosen = c.layers.iter().rev().filter(|l| if l.layer >= half { upper } else { lower });
    rows.extend(chosen.map(|l| row(format!("  {}", l.layer), &l.comparison)));
    rows
}

/// The gap of the chosen layers and what made it.
fn answer(c: &Comparison, (a, b): (&str, &str)) -> String {
    let (g, layers) = match c.group {
        Layers::Upper => (&c.comparison, "upper half"),
        Layers::Lower => (&c.comparison, "lower half"),
        Layers::All => (&c.groups.upper, "upper half"),
    };
    let gap = g.measured_gap;
    if !gap.is_finite() {
        return wrap("", &format!("The growth of the {layers} is undefined in one of the runs."), 0);
    }
    let size = than(gap);
    let levers = g.shapley.levers();
    let why = match levers
        .iter()
        .filter(|l| l.1.is_finite() && l.1.abs() >= 0.005)
        .take(2)
        .collect::<Vec<_>>()[..]
    {
        _ if !c.split_is_trusted => {
            "; which lever made the gap is not known: probe the second run with --probe-like".to_owned()
        }
        [] => String::new(),
        ref largest => {
            let named: Vec<String> = largest.iter().map(|l| format!("{} {}", l.0, signed(l.1))).collect();
            format!("; of the predicted gap ({}), most by {}", signed(g.predicted_gap), named.join(" and "))
        }
    };
    let text = format!(
        "{b}'s {layers} grew {size} {a}'s: ln {} against {}, measured gap {}{why}.",
        fixed(g.measured_b.growth, 2),
        fixed(g.measured_a.growth, 2),
        signed(gap)
    );
    wrap("", &text, 2)
}

const TERMS: [(&str, &str); 6] = [
    ("A, B", "log growth of the spread over the compared steps, measured, mean over heads"),
    ("queries, keys, features", "the measured gap by what changed (3.1); they add up to it"),
    (
        "predicted gap",
        "the same gap from weights and second moments alone (4.2); its six parts are Shapley values (5.4) and add up \
         to it, not to the measured one",
    ),
    (
        "start, step size, geometry, energy, coherence",
        "what the arms differed in: the spread at the first step, eta, u, e and c0 of (5.1)",
    ),
    (
        "eta u B/A, e B/A",
        "ratios of the step-size term and of the residual energy; c0 B - A: difference of coherence",
    ),
    ("-", "undefined, or interpolated too much to be shown"),
];

/// The comparison: the answer, the losses, then the tables with their words.
pub fn text(c: &Comparison, (a, b): &(String, String)) -> String {
    let mut out = wrap("", &format!("A = {a}"), 4) + &wrap("", &format!("B = {b}"), 4);
    let w = &c.window;
    let intervals = plural(w.intervals as u64, "probe interval");
    out += &format!("steps {}..{}, {intervals}\n\n", w.first, w.last);
    out += &answer(c, (a, b));
    for line in losses::text(c).lines() {
        out += &wrap("", line, 2);
    }
    out += "\nMeasured growth and gap\n";
    let head = ["layers", "A", "B", "gap B - A", "= queries", "+ keys", "+ features"];
    out += &table(&head, &rows(c, measured));
    out += "\nPredicted gap by lever\n";
    let head = ["layers", "gap", "= start", "+ step", "+ geometry", "+ energy", "+ coherence", "+ features"];
    out += &table(&head, &rows(c, predicted));
    out += "\nLevers\n";
    out += &table(&["layers", "eta u B/A", "e B/A", "c0 B - A"], &rows(c, ratios));
    if !c.differences.is_empty() {
        let short = |v: &serde_json::Value| {
            let text = match v {
                serde_json::Value::Null => "-".to_owned(),
                serde_json::Value::String(s) => s.escape_debug().to_string(),
                v => v.to_string(),
            };
            let room = (WIDTH - 32) / 2;
            match text.chars().count() > room {
                true => text.chars().take(room - 1).chain(['…']).collect(),
                false => text,
            }
        };
        let rows: Vec<Vec<String>> =
            c.differences.iter().map(|d| vec![d.key.clone(), short(&d.a), short(&d.b)]).collect();
        out += "\nWhat differs between the runs\n";
        out += &table(&["key", "A", "B"], &rows);
    }
    for n in &c.notes {
        out += &wrap("note: ", n, 6);
    }
    out + &glossary(&TERMS)
}
