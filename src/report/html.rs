//! The report page: one file, everything inside, nothing fetched.

use askama::Template;
use growthpath_analysis::diagnosis::{Bracket, Interval};
use growthpath_figures::{FIGURES, Material, RunMaterial};

use super::answer::{self, half, signed};
use super::embed::shown;
use super::picture::pictures;
use super::setup::{self, Made};
use super::words::WORDS;
use crate::error::{Error, Result};
use crate::tables::{number, plural, table, wrap};

const CSS: &str = include_str!("../../templates/report.css");
const JS: &str = include_str!("../../templates/report.js");

struct Row {
    run: usize,
    cells: Vec<String>,
}

struct Section {
    index: usize,
    name: String,
    head: Vec<&'static str>,
    rows: Vec<Row>,
}

/// An arm's button.
struct Arm {
    index: usize,
    name: String,
    colour: String,
    /// Colour of its unsmoothed lines.
    faint: String,
    dash: String,
    css: &'static str,
}

struct Answer {
    index: usize,
    name: String,
    colour: String,
    verdict: String,
    lines: Vec<String>,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    css: &'static str,
    js: &'static str,
    title: String,
    version: &'static str,
    date: String,
    steps: String,
    command: String,
    arms: Vec<Arm>,
    answers: Vec<Answer>,
    gaps: Vec<String>,
    looking: Vec<String>,
    head: Vec<&'static str>,
    runs: Vec<Row>,
    comparison_head: Vec<&'static str>,
    comparisons: Vec<Row>,
    refused: Vec<String>,
    sections: Vec<Section>,
    spread: Vec<String>,
    why: Vec<String>,
    changes: Vec<String>,
    gap_figures: Vec<String>,
    more: Vec<String>,
    setup_head: Vec<String>,
    differing: Vec<Row>,
    common: Vec<Row>,
    made: Vec<Made>,
    words: &'static [(&'static str, &'static str)],
}

const RUN_HEAD: [&str; 10] = [
    "run",
    "validation loss (nat/token)",
    "perplexity",
    "verdict",
    "upper half commits",
    "lower half settles",
    "prematurity",
    "measured growth, upper half (ln)",
    "measured growth, lower half (ln)",
    "correlation of predicted with measured growth",
];

const LAYER_HEAD: [&str; 11] = [
    "layer",
    "growth factor",
    "measured growth (ln)",
    "of it query weights",
    "key weights",
    "features",
    "turning",
    "spread at the end",
    "entropy at the end",
    "ffn write / stream",
    "maturity",
];

const COMPARISON_HEAD: [&str; 12] = [
    "comparison",
    "layers",
    "measured gap (ln)",
    "predicted gap (ln)",
    "of the predicted: start",
    "step size",
    "geometry",
    "residual energy",
    "coherence",
    "features",
    "ratio of step-size terms",
    "ratio of energies",
];

fn run_row(r: &RunMaterial) -> Vec<String> {
    let step = |b: Option<Bracket>| b.map_or("not seen".to_string(), |b| b.to_string());
    let percent = |p: Interval| match (number(100.0 * p.low), number(100.0 * p.high)) {
        (low, _) if !p.high.is_finite() => format!("{low} % or more"),
        (_, high) if !p.low.is_finite() => format!("{high} % or less"),
        (low, high) if low == high => format!("{low} %"),
        (low, high) => format!("{low} to {high} %"),
    };
    let d = r.diagnosis.as_ref();
    let loss = match (r.diverged, r.analysis.val_loss) {
        (Some(_), _) => "diverged".into(),
        (None, loss) if loss.is_finite() => format!("{loss:.4}"),
        _ => "-".into(),
    };
    vec![
        r.diverged
            .map_or(r.name.clone(), |step| format!("{} (diverged after {})", r.name, plural(step, "step"))),
        loss,
        if r.diverged.is_some() { "diverged".into() } else { number(r.analysis.val_perplexity) },
        answer::verdict(r),
        d.map_or("-".into(), |d| step(d.commitment)),
        d.map_or("-".into(), |d| step(d.maturity)),
        d.and_then(|d| d.prematurity).map_or("-".into(), percent),
        number(half(r, true, |l| l.growth)),
        number(half(r, false, |l| l.growth)),
        number(r.analysis.prediction.total.correlation),
    ]
}

/// A short table of runs and the answers, for the terminal.
pub fn summary(m: &Material) -> String {
    let rows: Vec<Vec<String>> = (m.runs.iter())
        .map(|r| {
            let all = run_row(r);
            // Eighty columns: steps go without saying, and a verdict without its reason.
            let short = |text: &str| {
                let text = text.split(" (").next().unwrap_or(text);
                text.trim_start_matches("steps ").trim_start_matches("step ").to_owned()
            };
            std::iter::once(r.name.clone()).chain([1, 3, 4, 5, 7].map(|i| short(&all[i]))).collect()
        })
        .collect();
    let head = ["run", "valid. loss", "verdict", "commits at", "settles at", "ln growth"];
    let mut out = table(&head, &rows) + "\n";
    if m.runs.iter().any(|r| r.diagnosis.as_ref().is_some_and(|d| d.short)) {
        out += &wrap("", "So few steps are too few for a verdict to say much: train longer.", 2);
    }
    for line in gaps(m).into_iter().chain(answer::looking_back(m)) {
        out += &wrap("", &line, 2);
    }
    out
}

fn gaps(m: &Material) -> Vec<String> {
    (m.comparisons.iter())
        .filter_map(|p| {
            let c = p.comparison.as_ref().ok()?;
            Some(answer::gap(&m.runs[p.from].name, &m.runs[p.to].name, c))
        })
        .collect()
}

fn section(index: usize, r: &RunMaterial) -> Section {
    let layers = r.analysis.layers.iter().zip(&r.analysis.accounting.layers).rev();
    let rows = layers
        .map(|(l, split)| {
            let mut cells = vec![l.layer.to_string(), number(l.growth_factor)];
            cells.extend([l.growth, split.query, split.key, split.features].map(|v| match v.is_finite() {
                true => signed(v),
                false => "-".into(),
            }));
            let rest = [split.turning, l.spread_last, l.entropy_last, l.ffn_ratio, l.maturity];
            cells.extend(rest.map(number));
            Row { run: index, cells }
        })
        .collect();
    Section { index, name: r.name.clone(), head: LAYER_HEAD.to_vec(), rows }
}

fn comparisons(m: &Material) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    for pair in &m.comparisons {
        let name = format!("{} against {}", m.runs[pair.to].name, m.runs[pair.from].name);
        let c = match &pair.comparison {
            Ok(c) => c,
            Err(why) => {
                refused.push(format!("{name}: {why}"));
                continue;
            }
        };
        let groups =
            [Some(("upper half", &c.groups.upper)), c.groups.lower.as_ref().map(|g| ("lower half", g))];
        for (layers, g) in groups.into_iter().flatten() {
            let s = &g.shapley;
            let trusted = |text: String| if c.split_is_trusted { text } else { "-".to_owned() };
            let mut cells =
                vec![name.clone(), layers.to_string(), signed(g.measured_gap), signed(g.predicted_gap)];
            let levers =
                [s.start, s.step_size, s.update_geometry, s.residual_energy, s.coherence, s.features];
            cells.extend(levers.map(|v| trusted(signed(v))));
            cells.extend([g.step_size_ratio, g.residual_energy_ratio].map(|v| trusted(number(v))));
            rows.push(Row { run: pair.to, cells });
        }
    }
    (rows, refused)
}

fn arms(m: &Material) -> Vec<Arm> {
    let styles = m.styles();
    (m.runs.iter().zip(&styles).enumerate())
        .map(|(index, (r, s))| {
            let hex = |c: growthpath_figures::colour::Colour| format!("#{:02X}{:02X}{:02X}", c.r, c.g, c.b);
            let dash = format!("{:?}", s.dash);
            let css = match dash.as_str() {
                "Solid" => "solid",
                "Dotted" => "dotted",
                _ => "dashed",
            };
            let faint = hex(s.colour.lighten(0.6));
            Arm { index, name: r.name.clone(), colour: hex(s.colour), faint, dash, css }
        })
        .collect()
}

/// Figures of these names, drawn.
fn draw(m: &Material, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    pictures(m, FIGURES.iter().filter(|f| wanted(f.name))).iter().map(shown).collect()
}

const SPREAD: &str = "spread-heatmap";
const WHY: [&str; 5] = ["growth-shares", "growth-depth", "diagnosis", "ablation", "loss"];
const GAP: &str = "shapley";

/// The whole page.
///
/// # Errors
/// When a figure cannot be drawn.
pub fn page(m: &Material, made_at: u64) -> Result<String> {
    let (comparisons, refused) = comparisons(m);
    let arms = arms(m);
    let answers = (m.runs.iter().enumerate())
        .map(|(index, r)| Answer {
            index,
            name: r.name.clone(),
            colour: arms[index].colour.clone(),
            verdict: answer::verdict(r),
            lines: answer::lines(r),
        })
        .collect();
    let (differing, common) = setup::configuration(m);
    let rows =
        |all: Vec<Vec<String>>| -> Vec<Row> { all.into_iter().map(|cells| Row { run: 0, cells }).collect() };
    let names = m.runs.iter().map(|r| r.name.clone());
    let page = Page {
        css: CSS,
        js: JS,
        title: answer::title(m),
        version: env!("CARGO_PKG_VERSION"),
        date: setup::date(made_at),
        steps: m.steps_shown(),
        command: crate::train::run_info::command_line(),
        arms,
        answers,
        gaps: gaps(m),
        looking: answer::looking_back(m),
        head: RUN_HEAD.to_vec(),
        runs: m.runs.iter().enumerate().map(|(run, r)| Row { run, cells: run_row(r) }).collect(),
        comparison_head: COMPARISON_HEAD.to_vec(),
        comparisons,
        refused,
        sections: m.runs.iter().enumerate().map(|(i, r)| section(i, r)).collect(),
        spread: draw(m, |n| n == SPREAD)?,
        why: draw(m, |n| WHY.contains(&n))?,
        changes: answer::changes(m),
        gap_figures: draw(m, |n| n == GAP)?,
        more: draw(m, |n| n != SPREAD && n != GAP && !WHY.contains(&n))?,
        setup_head: std::iter::once("setting".to_owned()).chain(names).collect(),
        differing: rows(differing),
        common: rows(common),
        made: setup::made(m),
        words: WORDS,
    };
    page.render().map_err(|e| Error::format("report", e.to_string()))
}
