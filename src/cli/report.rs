//! `growthpath report`.

use std::path::PathBuf;

use super::output;
use super::plot::open;
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
    report::write(&report::read(&runs, &pairs, None)?, &args.out)?;
    output::print(&format!("{}\n", growthpath_trace::shown_path(&args.out)))
}
