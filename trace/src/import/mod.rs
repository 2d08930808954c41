//! Runs whose rows another program wrote: DuckDB, polars, pandas or pyarrow with their defaults.
//!
//! A run's own parts are checked against the hashes of its manifest, so a part that somebody rewrote is refused there, never
//! read without a word. [`import`] is the way in: it takes the rows of every table by the names of their columns, converts
//! what converts without loss, refuses by name what does not, and records a run of its own whose `run.json` says where the
//! rows came from.

mod cast;
mod file;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::info::{RunInfo, Status};
use crate::read::{IntegrityReport, Problem, ProblemKind, Run};
use crate::rows::{Row, dispatch};
use crate::table::Table;
use crate::write::RunWriter;
use file::OddColumns;

/// Key of `run.json`'s `extra` that marks an imported run.
pub const IMPORTED: &str = "imported";

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Rows of each table that has any.
    pub rows: Vec<(Table, u64)>,
    /// Parquet files read.
    pub files: usize,
    /// Columns that no table has, as `table.column`: left out.
    pub left_out: Vec<String>,
    /// Columns that some file lacks and that may be undefined, as `table.column`: they are, in its rows.
    pub undefined: Vec<String>,
    /// Files of the source that are not those that its manifest lists. A rewrite and damage look alike: nothing vouches
    /// for the rows in them.
    pub unvouched: Vec<String>,
    /// What is wrong with the run that was written, should anything be.
    pub integrity: IntegrityReport,
}

/// Records the tables of `source`, whoever wrote their files, as a new run in `out`.
///
/// `source` holds the `run.json` of the run, and for each table a folder with Parquet files of any names, or one file
/// `TABLE.parquet`. Rows may come in any order; files of one table are put together and sorted by key in memory. Checkpoints
/// are not copied.
///
/// # Errors
///
/// A column that is always defined and missing, one that has another type, or holds a value that its type cannot: named with the file and what was
/// expected. A key that comes twice. The errors of [`RunWriter::create`].
pub fn import(source: &Path, out: &Path) -> Result<Imported> {
    let info = RunInfo::read(source)?;
    let mut files: Vec<(Table, Vec<PathBuf>)> = Vec::new();
    for &table in Table::ALL {
        files.push((table, files_of(source, table)?));
    }
    let count = files.iter().map(|(_, f)| f.len()).sum();
    if count == 0 {
        return Err(Error::NoTables { path: source.to_owned() });
    }
    let status = info.status;
    let mut writer = RunWriter::create(out, &marked(&info, source, count))?;
    let outcome = fill(&mut writer, &files);
    let (rows, columns) = match outcome {
        Ok(done) => done,
        Err(e) => {
            drop(writer);
            // What was begun is ours alone: `create` refuses a directory that held anything.
            let _ = fs::remove_dir_all(out);
            return Err(e);
        }
    };
    copy_tokens(source, out)?;
    // A process that died says nothing of how its run ended.
    let status = if status == Status::Running { Status::Interrupted } else { status };
    writer.finish(status)?;
    let integrity = Run::open(out)?.check_integrity();
    let OddColumns { left_out, undefined } = columns;
    Ok(Imported { rows, files: count, left_out, undefined, unvouched: unvouched(source), integrity })
}

/// Files whose contents the source's own manifest does not list.
fn unvouched(source: &Path) -> Vec<String> {
    let Ok(run) = Run::open(source) else { return Vec::new() };
    let damaged = |p: &Problem| p.kind == ProblemKind::Damaged;
    let mut files: Vec<String> =
        run.check_integrity().problems.into_iter().filter(damaged).map(|p| p.file).collect();
    files.dedup();
    files
}

fn marked(info: &RunInfo, source: &Path, files: usize) -> RunInfo {
    let mut info = info.clone();
    let about = serde_json::json!({"from": source.display().to_string(), "files": files});
    info.extra.insert(IMPORTED.to_owned(), about);
    info
}

type Done = (Vec<(Table, u64)>, OddColumns);

fn fill(writer: &mut RunWriter, files: &[(Table, Vec<PathBuf>)]) -> Result<Done> {
    let (mut rows, mut columns) = (Vec::new(), OddColumns::default());
    for (table, files) in files.iter().filter(|(_, f)| !f.is_empty()) {
        let n = dispatch!(*table, R => one_table::<R>(writer, files, &mut columns))?;
        rows.push((*table, n));
    }
    for names in [&mut columns.left_out, &mut columns.undefined] {
        names.sort();
        names.dedup();
    }
    Ok((rows, columns))
}

fn one_table<R: Row>(writer: &mut RunWriter, files: &[PathBuf], columns: &mut OddColumns) -> Result<u64> {
    let mut rows: Vec<R> = Vec::new();
    for path in files {
        file::read(path, &mut rows, columns)?;
    }
    // Stable, so that rows of one key stay side by side for the error that names them.
    rows.sort_by_key(Row::key);
    // In the pieces that a training run would push.
    for piece in rows.chunks(1 << 16) {
        writer.push(piece)?;
    }
    Ok(rows.len() as u64)
}

/// Parquet files of a table: in its folder, or one beside `run.json`.
fn files_of(source: &Path, table: Table) -> Result<Vec<PathBuf>> {
    let one = source.join(format!("{table}.parquet"));
    let folder = source.join(table.name());
    if one.is_file() {
        if folder.is_dir() {
            return Err(Error::corrupt(
                &one,
                format!("the folder {table} stands beside it: keep one of them"),
            ));
        }
        return Ok(vec![one]);
    }
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
        let path = entry.map_err(Error::io("list", &folder))?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(['.', '_']));
        if !hidden && path.extension().is_some_and(|e| e == "parquet") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The token ids that were measured on, where the source has them: their hash is in `run.json`.
fn copy_tokens(source: &Path, out: &Path) -> Result<()> {
    let from = source.join("tokens.safetensors");
    if !from.is_file() {
        return Ok(());
    }
    let to = out.join("tokens.safetensors");
    fs::copy(&from, &to).map_err(Error::io("copy", &from)).map(drop)
}
