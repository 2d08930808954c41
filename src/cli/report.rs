//! `growthpath report`.

use std::path::PathBuf;

use super::output;
use super::plot::open;
use crate::data::corpus::entropy_rate;
use crate::error::Result;
use crate::report;

/// Arguments of `growthpath report`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run directories; the first is the reference of comparisons
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The HTML file
    #[arg(long, default_value = "report.html")]
    out: PathBuf,
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    let (runs, pairs) = open(&args.runs)?;
    let built_in = runs.iter().all(|r| {
        r.info().config.pointer("/data/source").and_then(|s| s.as_str()) == Some("built-in")
            && r.info().config.get("tokenizer").and_then(|t| t.as_str()) == Some("bytes")
    });
    let rate = built_in.then(entropy_rate);
    report::write(&runs, &pairs, rate.as_ref(), &args.out)?;
    output::print(&format!("{}\n", args.out.display()))
}
