//! `growthpath import`: a run whose rows another program wrote.

use std::path::PathBuf;

use growthpath_trace::import;

use super::output;
use super::values::place;
use crate::destination::outside_tables;
use crate::error::{Error, Result};
use crate::tables::plural;

/// Arguments of `growthpath import`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run directory whose Parquet files DuckDB, polars, pandas or pyarrow wrote: run.json, and TABLE/*.parquet or
    /// TABLE.parquet
    source: PathBuf,
    /// Directory of the run to write; must be new or empty
    #[arg(long, value_parser = place(), value_name = "RUN")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Run the verb: exit code 1 when what was written has gaps or other problems.
pub fn run(args: &Args) -> Result<()> {
    outside_tables(&args.out)?;
    let done = import(&args.source, &args.out)?;
    if args.json {
        output::json(&done)?;
    } else {
        let rows: Vec<String> = done.rows.iter().map(|(t, n)| format!("{t} {n}")).collect();
        let mut text = format!("{} read; rows: {}\n", plural(done.files as u64, "file"), rows.join(", "));
        if !done.left_out.is_empty() {
            text += &format!("note: left out, for no table has them: {}\n", done.left_out.join(", "));
        }
        if !done.undefined.is_empty() {
            text += &format!("note: undefined, for some file lacks them: {}\n", done.undefined.join(", "));
        }
        if !done.unvouched.is_empty() {
            text += &format!(
                "note: not the bytes that the source's manifest lists: {}\n  a rewrite and damage look alike, and nothing vouches for their rows\n",
                done.unvouched.join(", ")
            );
        }
        for p in &done.integrity.problems {
            text += &format!("problem: {}: {}\n", p.file, p.message);
        }
        text += &format!(
            "run: {out} (marked as imported in its run.json; checkpoints are not copied)\nnext: growthpath verify {out}\n",
            out = args.out.display()
        );
        output::print(&text)?;
    }
    if done.integrity.is_ok() {
        return Ok(());
    }
    let problems = plural(done.integrity.problems.len() as u64, "problem");
    Err(Error::format(&args.source, format!("{problems} in the imported rows; see the list above")))
}
