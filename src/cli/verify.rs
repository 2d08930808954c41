//! `growthpath verify`.

use std::path::{Path, PathBuf};

use growthpath_analysis::read::{Agreement, Place, Verification, agreement, verify};
use growthpath_trace::{Problem, ProblemKind, Run, Table, shown_path};
use serde::Serialize;

use super::output::{self, table};
use crate::error::{Error, Result};
use crate::live::with_rows;
use crate::tables::plural;
use crate::train::damage;
use crate::verify::{Completeness, completeness};

/// Arguments of `growthpath verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run directory
    run: PathBuf,
    /// Compare with this run instead, column by column: the same seed on another device, or another build
    #[arg(long, value_name = "RUN")]
    against: Option<PathBuf>,
    /// Largest difference that passes with --against, relative to the column's RMS within a step (inner products: to
    /// the largest that they can be)
    #[arg(long, default_value_t = 1e-3, requires = "against")]
    tolerance: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    verification: &'a Verification,
    completeness: &'a Completeness,
}

/// Run the verb: exit code 1 when anything is wrong.
pub fn run(args: &Args) -> Result<()> {
    if args.tolerance.is_nan() || args.tolerance < 0.0 {
        return Err(Error::usage(format!("--tolerance must be 0 or more, got {}", args.tolerance)));
    }
    if let Some(other) = &args.against {
        return compare(args, other);
    }
    let run = Run::open(&args.run)?;
    let mut v = verify(&run)?;
    let (mut complete, problems) = completeness(&run)?;
    complete.notes.extend(missing(&run)?);
    v.integrity.problems.extend(problems);
    let damage = damage(&run).into_iter();
    v.integrity.problems.extend(damage.map(|(file, message)| Problem {
        file,
        kind: ProblemKind::Damaged,
        message,
    }));
    if args.json {
        output::json(&Whole { verification: &v, completeness: &complete })?;
    } else {
        output::print(&text(&v, &complete))?;
    }
    if v.ok() {
        return Ok(());
    }
    let problems = v.integrity.problems.len() + v.unread.len();
    Err(Error::format(
        &args.run,
        format!(
            "{} and {}; see the list above",
            plural(v.violations() as u64, "violation"),
            plural(problems as u64, "integrity problem")
        ),
    ))
}

/// Column by column: exit code 1 when a difference exceeds the tolerance.
fn compare(args: &Args, other: &Path) -> Result<()> {
    let runs = [with_rows(Run::open(&args.run)?)?, with_rows(Run::open(other)?)?];
    let all = agreement(&runs[0], &runs[1])?;
    let above = all.iter().filter(|a| a.worst.is_nan() || a.worst > args.tolerance).count();
    if args.json {
        output::json(&all)?;
    } else {
        let rows: Vec<Vec<String>> = all
            .iter()
            .filter(|a| a.rows > 0)
            .map(|a| {
                let worst = format!("{:.2e}", a.worst);
                vec![a.table.into(), a.column.into(), a.rows.to_string(), worst, place(a.at)]
            })
            .collect();
        let mut text = table(&["table", "column", "rows", "largest difference", "at"], &rows);
        text += &format!("\ncompared: {}\n", compared(&all));
        for run in &runs {
            text +=
                &missing(run)?.map_or(String::new(), |m| format!("note: {}: {m}\n", shown_path(run.dir())));
        }
        text += &match above {
            0 => format!("every column agrees within {:.0e}\n", args.tolerance),
            n => format!("{n} columns differ by more than {:.0e}\n", args.tolerance),
        };
        output::print(&text)?;
    }
    match above {
        0 => Ok(()),
        n => Err(Error::format(other, format!("{n} columns differ by more than {:.0e}", args.tolerance))),
    }
}

/// A word on the columns that the run was recorded without.
fn missing(run: &Run) -> Result<Option<String>> {
    let mut names = Vec::new();
    for t in Table::ALL {
        names.extend(run.missing_columns(*t)?.into_iter().map(|c| format!("{t}.{c}")));
    }
    let names = (!names.is_empty()).then(|| names.join(", "));
    Ok(names.map(|n| {
        format!("recorded before there were the columns {n}: they are undefined and were not compared")
    }))
}

/// Every table that there is, with the rows compared.
fn compared(all: &[Agreement]) -> String {
    let rows = |t: &Table| all.iter().filter(|a| a.table == t.name()).map(|a| a.rows).max().unwrap_or(0);
    Table::ALL.iter().map(|t| format!("{t} {}", rows(t))).collect::<Vec<_>>().join(", ")
}

fn place(at: Option<Place>) -> String {
    let Some(p) = at else { return "-".into() };
    let part = |name: &str, v: Option<u16>| v.map_or(String::new(), |v| format!(" {name} {v}"));
    format!("step {}{}{}", p.step, part("layer", p.layer), part("head", p.head))
}

fn text(v: &Verification, complete: &Completeness) -> String {
    let mut out = String::new();
    let parts: Vec<String> = v.integrity.rows.iter().map(|(t, n)| format!("{t} {n}")).collect();
    let count = plural(v.integrity.parts as u64, "part");
    out += &format!("integrity: {count}; rows: {}\n", parts.join(", "));
    let asked: Vec<String> = complete.measurements.iter().map(|(t, n)| format!("{t} {n}")).collect();
    if !asked.is_empty() {
        out += &format!("asked for by the configuration: {}\n", asked.join(", "));
    }
    out += "\n";
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
                place(c.at),
            ]
        })
        .collect();
    out += &table(&["check", "eq.", "rows", "worst residual", "tolerance", "violations", "worst at"], &rows);
    for p in &v.integrity.problems {
        out += &format!("problem: {}: {}\n", p.file, p.message);
    }
    for s in &v.integrity.strays {
        out += &format!(
            "leftover: {s}: of a write that was cut short; readers ignore it, resuming removes it\n"
        );
    }
    for u in &v.unread {
        out += &format!("unread: {u}\n");
    }
    for n in &complete.notes {
        out += &format!("note: {n}\n");
    }
    let empty = v.integrity.rows.values().all(|n| *n == 0);
    out += match v.ok() {
        true if empty => "\nno rows yet: nothing but the files was checked, and they hold\n",
        true => "\nall checks hold\n",
        false => "\nFAILED\n",
    };
    out
}
