//! `growthpath analyze`: arguments and JSON; the text is in `analyze_text`.

use std::ops::Range;
use std::path::PathBuf;

use growthpath_analysis::diagnosis::{Diagnosis, Thresholds, diagnosis};
use growthpath_analysis::read::{Analysis, Lead, analyze, leads};
use growthpath_analysis::undamaged;
use growthpath_trace::Status;
use serde::Serialize;

use super::plot::whole_run;
use super::values::window;
use super::{analyze_text, output, signals};
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
    /// Also print what checks the measurement itself: prediction, bounds, identities, writes by layer
    #[arg(long, short)]
    verbose: bool,
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
        let qk_norm = run.info().config.pointer("/model/qk_norm").and_then(|v| v.as_bool()) == Some(true);
        let shown =
            analyze_text::Shown { a: &analysis, d: diagnosis.as_ref(), qk_norm, verbose: args.verbose };
        // A record that ends in numbers that mean nothing says so before anything else.
        let ended = match run.info().status {
            Status::Diverged => {
                "DIVERGED: the run ended in losses or parameters that are not finite; its last numbers are no results.\n\n"
            }
            _ => "",
        };
        output::print(&(ended.to_owned() + &shown.text() + &signals))
    }
}
