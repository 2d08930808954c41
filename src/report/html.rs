//! The report page: one file, everything inside.

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use growthpath_analysis::diagnosis::{Bracket, Interval};
use growthpath_figures::{FIGURES, Material, RunMaterial, Width};

use super::pictures;
use crate::data::corpus::entropy_rate;
use crate::error::{Error, Result};
use crate::tables::{number, table};

struct Row {
    cells: Vec<String>,
}

struct Section {
    name: String,
    sentence: String,
    recommendation: String,
    head: Vec<&'static str>,
    rows: Vec<Row>,
}

struct Shown {
    description: &'static str,
    data: String,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    version: &'static str,
    floor: String,
    head: Vec<&'static str>,
    runs: Vec<Row>,
    comparison_head: Vec<&'static str>,
    comparisons: Vec<Row>,
    refused: Vec<String>,
    sections: Vec<Section>,
    figures: Vec<Shown>,
}

const RUN_HEAD: [&str; 9] = [
    "run",
    "validation loss (nats/token)",
    "perplexity",
    "upper half commits",
    "lower half settles",
    "prematurity",
    "growth, upper half (ln)",
    "growth, lower half (ln)",
    "prediction's correlation",
];

const LAYER_HEAD: [&str; 12] = [
    "layer",
    "growth factor",
    "ln growth",
    "query weights",
    "key weights",
    "features",
    "turning",
    "spread",
    "entropy",
    "ffn write / stream",
    "maturity",
    "distinct",
];

const COMPARISON_HEAD: [&str; 12] = [
    "comparison",
    "layers",
    "measured gap (ln)",
    "predicted gap",
    "start",
    "step size",
    "geometry",
    "residual energy",
    "coherence",
    "features",
    "step-size ratio",
    "energy ratio",
];

fn mean_growth(a: &RunMaterial, upper: bool) -> f64 {
    let layers = &a.analysis.layers;
    let half = layers.len() / 2;
    let chosen: Vec<f64> =
        layers.iter().filter(|l| (usize::from(l.layer) >= half) == upper).map(|l| l.growth).collect();
    chosen.iter().sum::<f64>() / chosen.len() as f64
}

fn run_row(a: &RunMaterial) -> Vec<String> {
    let step = |b: Option<Bracket>| b.map_or("not seen".to_string(), |b| b.to_string());
    let percent = |p: Interval| match (number(100.0 * p.low), number(100.0 * p.high)) {
        (low, high) if low == high => format!("{low} %"),
        (low, high) => format!("{low} to {high} %"),
    };
    let d = a.diagnosis.as_ref();
    vec![
        a.diverged.map_or(a.name.clone(), |step| format!("{} (diverged after {step} steps)", a.name)),
        a.diverged.map_or(format!("{:.4}", a.analysis.val_loss), |_| "diverged".into()),
        a.diverged.map_or(format!("{:.3}", a.analysis.val_perplexity), |_| "diverged".into()),
        d.map_or("-".into(), |d| step(d.commitment)),
        d.map_or("-".into(), |d| step(d.maturity)),
        d.and_then(|d| d.prematurity).map_or("-".into(), percent),
        number(mean_growth(a, true)),
        number(mean_growth(a, false)),
        number(a.analysis.prediction.total.correlation),
    ]
}

/// A short table of runs for the terminal.
pub fn summary(m: &Material) -> String {
    let rows: Vec<Vec<String>> = m.runs.iter().map(run_row).collect();
    let head = [
        "run",
        "valid loss",
        "perplexity",
        "commits at",
        "settles at",
        "prematurity",
        "ln growth upper",
        "lower",
        "r(theory)",
    ];
    let mut out = table(&head, &rows);
    if let Some(floor) = m.floor {
        out += &format!("floor (entropy rate): {floor:.4} nats/byte\n");
    }
    for a in &m.runs {
        if let Some(d) = &a.diagnosis {
            out += &format!("{}: {}\n", a.name, d.sentence);
        }
    }
    out
}

fn section(a: &RunMaterial) -> Section {
    let d = a.diagnosis.as_ref();
    let rows = a
        .analysis
        .layers
        .iter()
        .zip(&a.analysis.accounting.layers)
        .rev()
        .map(|(l, split)| {
            let mut cells = vec![l.layer.to_string()];
            cells.extend(
                [
                    l.growth_factor,
                    l.growth,
                    split.query,
                    split.key,
                    split.features,
                    split.turning,
                    l.spread_last,
                    l.entropy_last,
                    l.ffn_ratio,
                    l.maturity,
                    l.distinct,
                ]
                .map(number),
            );
            Row { cells }
        })
        .collect();
    Section {
        name: a.name.clone(),
        sentence: d.map_or(String::new(), |d| d.sentence.clone()),
        recommendation: d
            .and_then(|d| d.recommendation.as_ref())
            .map_or(String::new(), |r| r.sentence.clone()),
        head: LAYER_HEAD.to_vec(),
        rows,
    }
}

/// The whole page.
///
/// # Errors
/// When a figure cannot be drawn.
pub fn page(m: &Material) -> Result<String> {
    let mut figures = Vec::new();
    for p in pictures(m, FIGURES) {
        let data = STANDARD.encode(p.drawing.to_svg(Width::Page)?);
        figures.push(Shown { description: p.about, data });
    }
    let (mut comparisons, mut refused) = (Vec::new(), Vec::new());
    for pair in &m.comparisons {
        let name = format!("{} against {}", m.runs[pair.to].name, m.runs[pair.from].name);
        match &pair.comparison {
            Ok(c) => {
                let groups =
                    [Some(("upper", &c.groups.upper)), c.groups.lower.as_ref().map(|g| ("lower", g))];
                for (layers, g) in groups.into_iter().flatten() {
                    let s = &g.shapley;
                    let lever = |v: f64| if c.split_is_trusted { v } else { f64::NAN };
                    let mut cells = vec![name.clone(), layers.to_string()];
                    cells.extend(
                        [
                            g.measured_gap,
                            g.predicted_gap,
                            lever(s.start),
                            lever(s.step_size),
                            lever(s.update_geometry),
                            lever(s.residual_energy),
                            lever(s.coherence),
                            lever(s.features),
                            g.step_size_ratio,
                            g.residual_energy_ratio,
                        ]
                        .map(number),
                    );
                    comparisons.push(Row { cells });
                }
            }
            Err(why) => refused.push(format!("{name}: {why}")),
        }
    }
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        floor: m.floor.map_or(String::new(), |_| {
            let r = entropy_rate();
            format!(
                "{:.4} nats/byte; {:.4} for a reader who knows the rules but never looks back",
                r.nats_per_byte, r.without_recall
            )
        }),
        head: RUN_HEAD.to_vec(),
        runs: m.runs.iter().map(|a| Row { cells: run_row(a) }).collect(),
        comparison_head: COMPARISON_HEAD.to_vec(),
        comparisons,
        refused,
        sections: m.runs.iter().map(section).collect(),
        figures,
    };
    page.render().map_err(|e| Error::format("report", e.to_string()))
}
