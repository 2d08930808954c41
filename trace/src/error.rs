//! The one error type of this crate.

use std::path::{Path, PathBuf};

use crate::names::RUN_FILE;
use crate::shown::shown_path;
use crate::table::Table;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The run around a path that is none, or one within it: what was meant, as a rule.
fn run_nearby(path: &Path) -> String {
    let is_run = |p: &Path| p.join(RUN_FILE).is_file();
    // From within, a relative path has no way up.
    let whole = std::path::absolute(path).unwrap_or_default();
    if let Some(around) = path.ancestors().skip(1).chain(whole.ancestors().skip(1)).find(|a| is_run(a)) {
        let around = if around.as_os_str().is_empty() { Path::new(".") } else { around };
        return format!("; it belongs to the run {}: give that", shown_path(around));
    }
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
    let first = inside.filter(|p| is_run(p)).min();
    first.map_or_else(String::new, |p| format!("; it holds runs: give them, such as {}", shown_path(&p)))
}

/// What can go wrong while a run directory is written or read. Messages name the file and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", shown_path(path))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The directory to read is not there.
    #[error("{} does not exist: give the directory that a training run wrote", shown_path(path))]
    Missing {
        /// The path given.
        path: PathBuf,
    },
    /// The directory exists but holds no `run.json`.
    #[error("{} is not a run directory: it has no run.json{}", shown_path(path), run_nearby(path))]
    NotARun {
        /// The path given.
        path: PathBuf,
    },
    /// The run was recorded under a schema that this program does not read.
    #[error(
        "{} has schema version {found}, this program reads version {supported}: record the run again, or use the release that wrote it",
        shown_path(path)
    )]
    SchemaVersion {
        /// The file that says so.
        path: PathBuf,
        /// Its version.
        found: String,
        /// [`crate::SCHEMA_VERSION`].
        supported: u32,
    },
    /// `run.json` or `manifest.json` is not the JSON expected.
    #[error("{} cannot be understood: {source}", shown_path(path))]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// The directory to create already holds a run.
    #[error("{} already holds a run: resume it, or choose another directory", shown_path(path))]
    AlreadyARun {
        /// The directory.
        path: PathBuf,
    },
    /// The directory to create holds something else.
    #[error("{} is not empty: choose a new or empty directory for the run", shown_path(path))]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Another process writes this run.
    #[error("{} is being written by another process: wait for it or stop it first", shown_path(path))]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory that was being written has gone, and another one has its name.
    #[error(
        "{} was replaced by another directory while it was being written: this process records no more",
        shown_path(path)
    )]
    Replaced {
        /// The directory.
        path: PathBuf,
    },
    /// A file of the run is damaged, or is not what the manifest says.
    #[error("{} is damaged: {what}", shown_path(path))]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A Parquet file that another program wrote does not hold a table's columns.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
    },
    /// A directory to import has no table.
    #[error("{} holds no table: put the Parquet files of each into a folder of its name (steps, heads, ...), or into TABLE.parquet", path.display())]
    NoTables {
        /// The directory.
        path: PathBuf,
    },
    /// A dataset has a run of this arm and seed already.
    #[error("{} exists: the dataset has a run of this arm and seed; give the run a label of its own, or write a new dataset", path.display())]
    PartitionExists {
        /// The partition's folder.
        path: PathBuf,
    },
    /// Rows could not be encoded as Parquet.
    #[error("cannot encode rows of table {table}: {what}")]
    Encode {
        /// The table.
        table: Table,
        /// The encoder's reason.
        what: String,
    },
    /// Columns handed over are not those of the table.
    #[error("table {table}: {what}")]
    Columns {
        /// The table.
        table: Table,
        /// What is wrong with them.
        what: String,
    },
    /// A row came whose key is not above that of the row before it.
    #[error(
        "table {table}: the row with key {key} does not come after the row with key {last}; rows must be pushed once, in key order"
    )]
    OutOfOrder {
        /// The table.
        table: Table,
        /// Key of the refused row, as `step=3 layer=0`.
        key: String,
        /// Key of the last row accepted.
        last: String,
    },
    /// The record ends before the step to resume at.
    #[error(
        "{} cannot be resumed at step {step}: its record ends {}; use an earlier checkpoint",
        shown_path(path),
        ends(last)
    )]
    ResumeGap {
        /// The run directory.
        path: PathBuf,
        /// The step asked for.
        step: u32,
        /// The last recorded step, if any.
        last: Option<u32>,
    },
    /// A column was asked for that the table does not have.
    #[error("table {table} has no column {column}; it has {}", names(table))]
    UnknownColumn {
        /// The table.
        table: Table,
        /// The name asked for.
        column: String,
    },
    /// The writer met an error earlier (reported then) and takes no more rows.
    #[error("the run is no longer recorded, because: {reason}; what was flushed before is intact")]
    WriterStopped {
        /// The first error's message.
        reason: String,
    },
}

impl Error {
    /// Names the file and the action of a system error.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// A damaged file.
    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), what: what.into() }
    }
}

fn ends(last: &Option<u32>) -> String {
    last.map_or("before the first step".to_owned(), |s| format!("with step {s}"))
}

fn names(table: &Table) -> String {
    table.columns().iter().map(|c| c.name).collect::<Vec<_>>().join(", ")
}
