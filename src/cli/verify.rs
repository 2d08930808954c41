//! `growthpath verify`.

use std::path::PathBuf;

use growthpath_analysis::read::{Check, Verification, verify};
use growthpath_trace::Run;

use super::output::{self, table};
use crate::error::{Error, Result};

/// Arguments of `growthpath verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run directory
    run: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Run the verb: exit code 1 when anything is wrong.
pub fn run(args: &Args) -> Result<()> {
    let v = verify(&Run::open(&args.run)?)?;
    if args.json {
        output::json(&v)?;
    } else {
        output::print(&text(&v))?;
    }
    if v.ok() {
        return Ok(());
    }
    let problems = v.integrity.problems.len() + v.unread.len();
    Err(Error::format(
        &args.run,
        format!("{} violations and {problems} integrity problems; see the list above", v.violations()),
    ))
}

fn place(c: &Check) -> String {
    let Some(p) = c.at else { return "-".into() };
    let part = |name: &str, v: Option<u16>| v.map_or(String::new(), |v| format!(" {name} {v}"));
    format!("step {}{}{}", p.step, part("layer", p.layer), part("head", p.head))
}

fn text(v: &Verification) -> String {
    let mut out = String::new();
    let parts: Vec<String> = v.integrity.rows.iter().map(|(t, n)| format!("{t} {n}")).collect();
    out += &format!("integrity: {} parts; rows: {}\n\n", v.integrity.parts, parts.join(", "));
    let rows: Vec<Vec<String>> = v
        .checks
        .iter()
        .map(|c| {
            vec![
                c.name.to_string(),
                c.equation.to_string(),
                c.rows.to_string(),
                c.worst.map_or("-".into(), |w| format!("{w:.2e}")),
                format!("{:.0e}", c.tolerance),
                c.violations.to_string(),
                place(c),
            ]
        })
        .collect();
    out += &table(&["check", "eq.", "rows", "worst residual", "tolerance", "violations", "worst at"], &rows);
    for p in &v.integrity.problems {
        out += &format!("problem: {}: {}\n", p.file, p.message);
    }
    for u in &v.unread {
        out += &format!("unread: {u}\n");
    }
    out += if v.ok() { "\nall checks hold\n" } else { "\nFAILED\n" };
    out
}
