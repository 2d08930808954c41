//! `growthpath analyze`.

use std::ops::Range;
use std::path::PathBuf;

use growthpath_analysis::diagnosis::{Diagnosis, Thresholds, diagnosis};
use growthpath_analysis::read::{Analysis, LONG_INTERVAL, Lead, analyze, leads};
use growthpath_analysis::undamaged;
use serde::Serialize;

use super::output::{self, number, table};
use super::plot::whole_run;
use super::{signals, window};
use crate::error::Result;

/// Arguments of `growthpath analyze`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run directory
    run: PathBuf,
    /// Only steps A..B
    #[arg(long, value_parser = window, value_name = "A..B")]
    window: Option<Range<u32>>,
    /// Mean sharpness of the upper half that counts as sharp
    #[arg(long, default_value_t = Thresholds::default().sharpness)]
    sharpness_threshold: f64,
    /// Mean maturity of the lower half that counts as settled
    #[arg(long, default_value_t = Thresholds::default().maturity)]
    maturity_threshold: f64,
    /// One-sided confidence at which the upper half's reliance must exceed zero (Student's t)
    #[arg(long, default_value_t = Thresholds::default().confidence)]
    reliance_confidence: f64,
    /// Hold early signals (pressure, spectra of the update, ...) against the growth that follows them
    #[arg(long)]
    signals: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    analysis: &'a Analysis,
    diagnosis: Option<&'a Diagnosis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signals: Option<&'a [Lead]>,
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    let thresholds = Thresholds {
        sharpness: args.sharpness_threshold,
        maturity: args.maturity_threshold,
        confidence: args.reliance_confidence,
    };
    thresholds.validate()?;
    let run = whole_run(&args.run)?;
    let analysis = analyze(&run, args.window.clone())?;
    // A run without probes (QK-norm, --probe-every 0) has nothing to diagnose, and says so in words.
    let diagnosis = undamaged(diagnosis(&run, &thresholds))?;
    let leads = if args.signals { Some(leads(&run, args.window.clone())?) } else { None };
    if args.json {
        output::json(&Whole { analysis: &analysis, diagnosis: diagnosis.as_ref(), signals: leads.as_deref() })
    } else {
        let signals = leads.as_deref().map_or(String::new(), signals::text);
        output::print(&(text(&analysis, diagnosis.as_ref()) + &signals))
    }
}

fn growth_table(a: &Analysis) -> String {
    let rows: Vec<Vec<String>> = a
        .layers
        .iter()
        .zip(&a.accounting.layers)
        .rev()
        .map(|(l, split)| {
            let mut r = vec![format!("{}{}", l.layer, if split.long > 0 { " *" } else { "" })];
            r.extend(
                [
                    l.growth_factor,
                    split.growth,
                    split.query,
                    split.key,
                    split.features,
                    split.turning,
                    l.spread_last,
                    l.entropy_last,
                    l.sharpening_pressure,
                ]
                .map(number),
            );
            r
        })
        .collect();
    table(
        &[
            "layer",
            "growth x",
            "ln growth",
            "= queries",
            "+ keys",
            "+ features",
            "turning",
            "spread",
            "entropy",
            "pressure",
        ],
        &rows,
    )
}

fn stream_table(a: &Analysis) -> String {
    let rows: Vec<Vec<String>> = a
        .layers
        .iter()
        .rev()
        .map(|l| {
            let mut r = vec![l.layer.to_string()];
            let share = a.energy_shares.iter().find(|s| s.layer == l.layer);
            let top = share.and_then(|s| {
                s.shares.0.iter().filter(|v| v.1.is_finite()).max_by(|x, y| x.1.total_cmp(&y.1)).cloned()
            });
            r.extend(
                [
                    l.attn_energy,
                    l.ffn_energy,
                    l.attn_ratio,
                    l.ffn_ratio,
                    l.attn_common,
                    l.ffn_common,
                    l.maturity,
                    l.distinct,
                ]
                .map(number),
            );
            r.push(top.map_or("-".into(), |(name, v)| format!("{name} {:.0} %", 100.0 * v)));
            r
        })
        .collect();
    table(
        &[
            "layer",
            "|w|^2 attn",
            "|w|^2 ffn",
            "/|h|^2 attn",
            "/|h|^2 ffn",
            "common attn",
            "common ffn",
            "maturity",
            "distinct",
            "energy mostly from",
        ],
        &rows,
    )
}

fn prediction_table(a: &Analysis) -> String {
    let p = &a.prediction;
    let parts = [("queries", p.query), ("keys", p.key), ("features", p.features), ("total", p.total)];
    let rows: Vec<Vec<String>> = parts
        .iter()
        .map(|(name, part)| {
            vec![
                (*name).to_owned(),
                if part.correlation.is_finite() {
                    format!("{:.5}", part.correlation)
                } else {
                    "-".to_owned()
                },
                number(part.worst_cumulative),
                part.worst_layer.map_or("-".into(), |l| l.to_string()),
            ]
        })
        .collect();
    table(&["part", "correlation", "cumulative error", "in layer"], &rows)
}

fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.0} %", 100.0 * share) } else { "-".to_owned() }
}

/// Both times as brackets, and what hindsight says.
fn times(d: &Diagnosis) -> String {
    let named = [("t_c", d.commitment), ("t_m", d.maturity)];
    let known: Vec<String> = named
        .iter()
        .filter_map(|(name, b)| Some(format!("{name} in {}..{}", (*b)?.low, (*b)?.high)))
        .collect();
    let mut out = String::new();
    if !known.is_empty() {
        out += &format!("{} (later than the first step, no later than the second)\n", known.join(", "));
    }
    if let Some(s) = &d.settling {
        out += &format!("{}\n", s.sentence);
    }
    out
}

fn text(a: &Analysis, d: Option<&Diagnosis>) -> String {
    let w = a.window;
    let mut out = format!("{}: steps {}..{}\n", a.label, w.start, w.end);
    out += &format!(
        "validation loss {} nats/token (perplexity {}), training loss {}\n\n",
        number(a.val_loss),
        number(a.val_perplexity),
        number(a.train_loss_last)
    );
    out += "Growth of attention: ln of the spread's ratio, mean over heads, and what the query weights, the key\n\
            weights and the features made of it; the three add up (3.1). Turning: 1 - cos, mean over intervals.\n";
    out += &growth_table(a);
    if a.accounting.long > 0 {
        out += &format!(
            "* {} of {} intervals (a head each) grew by more than {} in ln: too long for their split to be trusted;\n  \
             probe more often there (--probe-every, or a larger --probe-budget)\n",
            a.accounting.long, a.accounting.intervals, LONG_INTERVAL
        );
    }
    out += "\nWhat the layers write (at the end of the window) and what attention grows on\n";
    out += &stream_table(a);
    out += "\nTheory against measurement (4.2), over intervals and heads; cumulative error: worst layer, in ln\n";
    out += &prediction_table(a);
    let b = &a.bound;
    out += &format!(
        "Bounds (section 6): {} violations; tightness median {} (tight), {} (cheap); the weights made {} of the growth that\n\
         their steps allowed (share of coherent growth)\n",
        b.violations,
        number(b.tight.median),
        number(b.cheap.median),
        percent(b.coherent_share),
    );
    out += &format!(
        "Self-checks: accounting residual {} ln, Euler residual {} (relative)\n",
        number(a.accounting.max_residual),
        number(a.euler.max_rel_residual)
    );
    if a.accounting.intervals == 0 {
        out += "note: no probe intervals in the window: growth, prediction and bound are undefined (--probe-every)\n";
    }
    if let Some(d) = d {
        out += &format!("\nDiagnosis: {}\n", d.sentence);
        out += &times(d);
        if let Some(r) = &d.recommendation {
            out += &format!("Recommendation: {}\n", r.sentence);
        }
        for n in &d.notes {
            out += &format!("note: {n}\n");
        }
    }
    out
}
