//! `growthpath export`: a table of a run as CSV or JSON lines, streamed; or its curves, while it grows.

use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::PathBuf;

use growthpath_trace::{
    CellType, EvalLossRow, EvalRow, HeadRow, MaturityRow, ProbeLayerRow, ProbeRow, RelianceRow, Row, Run,
    SettlingRow, ShareRow, StepRow, WriteRow,
};

use super::curves::{self, CurveTarget};
use super::window;
use crate::error::{Error, Result};

/// Tables by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TableName {
    /// One row a step.
    Steps,
    /// One row a (step, layer, head).
    Heads,
    /// One row a (step, layer, site).
    Writes,
    /// Validations.
    Evals,
    /// One row a (validation, sequence).
    EvalLosses,
    /// One row a (probe, layer, head).
    Probe,
    /// One row a (probe, layer).
    ProbeLayers,
    /// One row a (probe, layer, write).
    Shares,
    /// One row a (step, layer, lag).
    Maturity,
    /// One row a (step, layer): cosine to the final key moment.
    Settling,
    /// Ablations.
    Reliance,
}

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
    /// Run directory
    run: PathBuf,
    /// Table
    #[arg(long, value_enum, required_unless_present = "to")]
    table: Option<TableName>,
    /// Curves for another program's display instead of a table
    #[arg(long, value_enum, conflicts_with_all = ["table", "window", "format"])]
    to: Option<CurveTarget>,
    /// With --to tensorboard: folder of the event file [default: RUN/tensorboard]; with --to jsonl: the file
    /// [default: standard output]
    #[arg(long, value_name = "PATH", requires = "to")]
    out: Option<PathBuf>,
    /// With --to: go on until the run ends
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
    if let Some(to) = args.to {
        return curves::run(&args.run, to, args.out.as_deref(), args.follow.then_some(args.every));
    }
    let run = Run::open(&args.run)?;
    let Some(table) = args.table else {
        return Err(Error::usage("export wants --table or --to"));
    };
    match table {
        TableName::Steps => rows::<StepRow>(&run, args),
        TableName::Heads => rows::<HeadRow>(&run, args),
        TableName::Writes => rows::<WriteRow>(&run, args),
        TableName::Evals => rows::<EvalRow>(&run, args),
        TableName::EvalLosses => rows::<EvalLossRow>(&run, args),
        TableName::Maturity => rows::<MaturityRow>(&run, args),
        TableName::Settling => rows::<SettlingRow>(&run, args),
        TableName::Probe => rows::<ProbeRow>(&run, args),
        TableName::ProbeLayers => rows::<ProbeLayerRow>(&run, args),
        TableName::Shares => rows::<ShareRow>(&run, args),
        TableName::Reliance => rows::<RelianceRow>(&run, args),
    }
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

fn rows<R: Row + serde::Serialize>(run: &Run, args: &Args) -> Result<()> {
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
                serde_json::to_string(&row).map_err(|e| Error::format("standard output", e.to_string()))?
            } else {
                let cells = R::COLUMNS.iter().zip(row.bits()).map(|(c, bits)| cell(c.cell, bits));
                cells.collect::<Vec<_>>().join(",")
            };
            io(writeln!(out, "{line}"))?;
        }
    }
    io(out.flush())
}
