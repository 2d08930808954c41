//! `growthpath report`.

use std::path::PathBuf;

use super::output;
use super::plot::{open, say_pairs, say_twice};
use super::values::{pair, place};
use crate::error::Result;
use crate::report;

/// Arguments of `growthpath report`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run directories; the first is the reference of comparisons
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Compare run B with run A, numbered as given from 1; may be given again [default: every run with the first]
    #[arg(long, value_name = "A:B", value_parser = pair)]
    pair: Vec<(usize, usize)>,
    /// The HTML file
    #[arg(long, value_parser = place(), default_value = "report.html")]
    out: PathBuf,
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    let (runs, pairs) = open(&args.runs, &args.pair)?;
    say_twice(&runs);
    say_pairs(&args.runs, &args.pair);
    report::write(&report::read(&runs, &pairs, None)?, &args.out)?;
    output::print(&format!("{}\n", growthpath_trace::shown_path(&args.out)))
}
