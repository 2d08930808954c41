//! `growthpath export`: a table of a run as CSV or JSON lines, streamed; runs as one partitioned Parquet dataset; or a
//! run's curves, while it grows.

use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use growthpath_trace::{CellType, Partition, Row, Run, Table, TableVisitor, add_to_dataset};

use super::curves::{self, CurveTarget};
use super::values::{choice, place, window};
use crate::destination::outside_tables;
use crate::error::{Error, Result};
use crate::live::with_rows;
use crate::tables::plural;

/// Tables by name.
const TABLES: [(&str, &str, Table); Table::ALL.len()] = [
    ("steps", "One row a step", Table::Steps),
    ("heads", "One row a (step, layer, head)", Table::Heads),
    ("writes", "One row a (step, layer, site)", Table::Writes),
    ("evals", "Validations", Table::Evals),
    ("eval-losses", "One row a (validation, sequence)", Table::EvalLosses),
    ("probe", "One row a (probe, layer, head)", Table::Probe),
    ("probe-layers", "One row a (probe, layer)", Table::ProbeLayers),
    ("shares", "One row a (probe, layer, write)", Table::Shares),
    ("maturity", "One row a (step, layer, lag)", Table::Maturity),
    ("settling", "One row a (step, layer): cosine to the final key moment", Table::Settling),
    ("reliance", "Ablations", Table::Reliance),
];

/// Formats by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated, one header line.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// Arguments of `growthpath export`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run directory; several with --to parquet-dataset
    #[arg(value_name = "RUN", required_unless_present = "to")]
    runs: Vec<PathBuf>,
    /// Table
    #[arg(long, value_parser = choice(TABLES), required_unless_present = "to")]
    table: Option<Table>,
    /// Write whole runs or curves: `--to parquet-dataset DIR` adds runs to one dataset, TABLE/arm=ARM/seed=SEED/*.parquet,
    /// which DuckDB, Spark and DataFusion query as it lies; `--to tensorboard` and `--to jsonl` write a run's curves
    #[arg(long, num_args = 1..=2, value_names = ["KIND", "DIR"], conflicts_with_all = ["table", "format", "window"])]
    to: Option<Vec<String>>,
    /// With --to tensorboard: folder of the event file [default: RUN/tensorboard]; with --to jsonl: the file
    /// [default: standard output]; with --to parquet-dataset: its folder
    #[arg(long, value_parser = place(), value_name = "PATH", requires = "to")]
    out: Option<PathBuf>,
    /// With --to tensorboard or jsonl: go on until the run ends
    #[arg(long, requires = "to")]
    follow: bool,
    /// With --follow: look for new rows every so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, requires = "follow")]
    every: f64,
    /// Format
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Only steps A..B
    #[arg(long, value_parser = window, value_name = "A..B")]
    window: Option<Range<u32>>,
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    if let Some(to) = &args.to {
        return export_to(args, to);
    }
    // clap drops what an option requires where something else excludes it.
    if args.follow || args.out.is_some() {
        return Err(Error::usage(
            "--out goes with --to, --follow with --to tensorboard or jsonl; a table is printed: `export RUN --table NAME > FILE`",
        ));
    }
    let ([run], Some(table)) = (args.runs.as_slice(), args.table) else {
        return Err(Error::usage(
            "a table is written of one run at a time: `export RUN --table NAME`; several runs go into one dataset with --to",
        ));
    };
    let run = Run::open(run)?;
    table.visit(&mut Rows { run: &run, args })
}

/// Whole runs or curves, `to` being the kind and, if given there, the place.
fn export_to(args: &Args, to: &[String]) -> Result<()> {
    let (kind, place) = (to[0].as_str(), to.get(1).map(PathBuf::from));
    // `--to jsonl RUN`: the one place that is given is the run.
    let (runs, place) = match (args.runs.is_empty(), place) {
        (true, Some(run)) => (vec![run], None),
        (_, place) => (args.runs.clone(), place),
    };
    let place = match (place, &args.out) {
        (Some(_), Some(_)) => return Err(Error::usage("a place is given twice: with --to and with --out")),
        (place, out) => place.or_else(|| out.clone()),
    };
    if let Some(place) = &place {
        if kind == "jsonl" && place.is_dir() {
            return Err(Error::format(place, "is a folder; name the file in it"));
        }
        if kind != "jsonl" && place.is_file() {
            return Err(Error::format(place, "is a file; a folder is meant"));
        }
    }
    let curves = CurveTarget::from_str(kind, true).ok();
    match (curves, runs.as_slice(), place) {
        (Some(target), [run], place) => {
            curves::run(run, target, place.as_deref(), args.follow.then_some(args.every))
        }
        (Some(_), _, _) => Err(Error::usage(format!("--to {kind}: curves are written of one run at a time"))),
        (None, ..) if kind != "parquet-dataset" => Err(Error::usage(format!(
            "--to {kind}: one of parquet-dataset, tensorboard, jsonl is meant; for CSV, `export RUN --table NAME > FILE`"
        ))),
        (None, ..) if args.follow => Err(Error::usage("--follow goes with --to tensorboard or jsonl")),
        (None, [], _) => Err(Error::usage("--to parquet-dataset DIR: name the runs before it")),
        (None, runs, Some(dir)) => dataset(runs, &dir),
        (None, _, None) => Err(Error::usage("--to parquet-dataset DIR: its folder is missing")),
    }
}

/// Add runs to a dataset; `runs.jsonl` beside its tables says what each is.
fn dataset(runs: &[PathBuf], dir: &Path) -> Result<()> {
    let mut opened = Vec::new();
    for path in runs {
        let run = with_rows(Run::open(path)?)?;
        let partition = Partition::of(&run);
        if let Some((other, ..)) = opened.iter().find(|(_, _, p)| *p == partition) {
            let other: &PathBuf = other;
            return Err(Error::usage(format!(
                "{} and {} are both arm `{}`, seed {}: a dataset keeps runs apart by these; give one another --label when it is trained",
                other.display(),
                path.display(),
                partition.arm,
                partition.seed
            )));
        }
        opened.push((path.clone(), run, partition));
    }
    outside_tables(dir)?;
    let mut files = 0;
    for (path, run, partition) in &opened {
        files += add_to_dataset(run, partition, dir)?;
        let info = run.info();
        let line = serde_json::json!({
            "arm": partition.arm, "seed": partition.seed, "run": path.display().to_string(), "status": info.status,
            "layers": info.layers, "heads": info.heads, "steps_planned": info.steps_planned, "config": info.config,
        });
        let list = dir.join("runs.jsonl");
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(&list).map_err(Error::io(&list))?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(Error::io(&list))?;
    }
    let dir = dir.display();
    super::output::print(&format!(
        "{}, {} in {dir}\nnext: duckdb -c \"SELECT arm, seed, max(loss) FROM read_parquet('{dir}/steps/**/*.parquet', \
         hive_partitioning = true) GROUP BY ALL\"\n",
        plural(opened.len() as u64, "run"),
        plural(files as u64, "file")
    ))
}

/// A cell's text from its bits: the shortest that reads back to the same number, nothing for an undefined one.
fn cell(kind: CellType, bits: u64) -> String {
    let float = |v: f64, text: String| if v.is_nan() { String::new() } else { text };
    match kind {
        CellType::F32 => float(f32::from_bits(bits as u32).into(), f32::from_bits(bits as u32).to_string()),
        CellType::F64 => float(f64::from_bits(bits), f64::from_bits(bits).to_string()),
        CellType::U8 | CellType::U16 | CellType::U32 | CellType::U64 => bits.to_string(),
    }
}

/// The rows of one table, on standard output.
struct Rows<'a> {
    run: &'a Run,
    args: &'a Args,
}

impl TableVisitor for Rows<'_> {
    type Output = Result<()>;

    fn visit<R: Row + serde::Serialize>(&mut self) -> Result<()> {
        let Self { run, args } = *self;
        let mut out = BufWriter::new(std::io::stdout().lock());
        let io = |r: std::io::Result<()>| r.map_err(Error::io("standard output"));
        let json = args.format == Format::Jsonl;
        if !json {
            let names: Vec<&str> = R::COLUMNS.iter().map(|c| c.name).collect();
            io(writeln!(out, "{}", names.join(",")))?;
        }
        let range = args.window.clone().unwrap_or(0..u32::MAX);
        for batch in run.stream::<R>(range) {
            for row in batch? {
                let line = if json {
                    // NaN, which JSON lacks, becomes null.
                    serde_json::to_string(&row)
                        .map_err(|e| Error::format("standard output", e.to_string()))?
                } else {
                    let cells = R::COLUMNS.iter().zip(row.bits()).map(|(c, bits)| cell(c.cell, bits));
                    cells.collect::<Vec<_>>().join(",")
                };
                io(writeln!(out, "{line}"))?;
            }
        }
        io(out.flush())
    }
}
