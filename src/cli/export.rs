//! `growthpath export`: a table of a run as CSV or JSON lines, streamed; or runs as one partitioned Parquet dataset.

use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use growthpath_trace::{
    CellType, EvalLossRow, EvalRow, HeadRow, MaturityRow, Partition, ProbeLayerRow, ProbeRow, RelianceRow,
    Row, Run, SettlingRow, ShareRow, StepRow, WriteRow, add_to_dataset,
};

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
    /// Run directory; several with --to
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Table
    #[arg(long, value_enum, required_unless_present = "to")]
    table: Option<TableName>,
    /// Write whole runs: `--to parquet-dataset DIR` adds them to one dataset, TABLE/arm=ARM/seed=SEED/*.parquet, which
    /// DuckDB, Spark and DataFusion query as it lies
    #[arg(long, num_args = 2, value_names = ["KIND", "DIR"], conflicts_with_all = ["table", "format", "window"])]
    to: Option<Vec<String>>,
    /// Format
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Only steps A..B
    #[arg(long, value_parser = window, value_name = "A..B")]
    window: Option<Range<u32>>,
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    if let Some([kind, dir]) = args.to.as_deref() {
        if kind != "parquet-dataset" {
            return Err(Error::usage(format!("--to {kind}: the kind known is parquet-dataset")));
        }
        return dataset(&args.runs, Path::new(dir));
    }
    let ([run], Some(table)) = (args.runs.as_slice(), args.table) else {
        return Err(Error::usage(
            "a table is written of one run at a time; several runs go into one dataset with --to",
        ));
    };
    let run = Run::open(run)?;
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

/// Add runs to a dataset; `runs.jsonl` beside its tables says what each is.
fn dataset(runs: &[PathBuf], dir: &Path) -> Result<()> {
    let mut opened = Vec::new();
    for path in runs {
        let run = Run::open(path)?;
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
        "{} runs, {files} files in {dir}\nnext: duckdb -c \"SELECT arm, seed, max(loss) FROM read_parquet('{dir}/steps/**/*.parquet', \
         hive_partitioning = true) GROUP BY ALL\"\n",
        opened.len()
    ))
}

/// A cell's text from its bits: the shortest that reads back to the same number.
fn cell(kind: CellType, bits: u64) -> String {
    match kind {
        CellType::F32 => f32::from_bits(bits as u32).to_string(),
        CellType::F64 => f64::from_bits(bits).to_string(),
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
