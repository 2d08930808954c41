//! The growthpath run directory: what a training run records, and how it is written and read.
//!
//! ```text
//! run.json                     RunInfo: schema version, status, configuration, seeds, hashes
//! manifest.json                one entry a part: table, file, rows, steps covered, blake3
//! steps/part-000000.parquet    one folder a table, parts in step order
//! heads/part-000000.parquet
//! ```
//!
//! - **Write** with [`RunWriter`]: rows go into memory, a background thread encodes them and puts whole parts in
//!   place (temporary name, fsync, rename, then the manifest). A crash loses at most what was not flushed;
//!   [`RunWriter::resume`] cuts the record at a step so that going on leaves no duplicate and no gap.
//! - **Read** with [`Run`]: rows of any table in bounded memory, whatever the length of the trace. Every part is
//!   checked against its hash before it is decoded. [`Run::check_integrity`] examines everything.
//! - Parts are ordinary Parquet (zstd, BYTE_STREAM_SPLIT), so pandas, polars and DuckDB read the folders as they
//!   are; units and descriptions of the columns travel in the footer.
//!
//! The columns are declared once, in [`rows`].
//!
//! ```
//! use growthpath_trace::{Run, RunInfo, RunWriter, Status, StepRow};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let dir = folder.path().join("run");
//! let info = RunInfo::new(serde_json::json!({"preset": "gpt"}), 2, 1, 1);
//! let mut writer = RunWriter::create(&dir, &info)?;
//! for step in 0..2 {
//!     writer.steps(StepRow { step, tokens: 64 * (u64::from(step) + 1), loss: 2.5, ..StepRow::default() })?;
//! }
//! writer.finish(Status::Complete)?;
//!
//! let run = Run::open(&dir)?;
//! assert_eq!(run.steps()?.len(), 2);
//! # Ok(())
//! # }
//! ```

mod arrange;
mod column;
mod dataset;
pub mod disk;
mod error;
#[doc(hidden)]
pub mod guard;
mod import;
mod info;
pub mod input;
mod lock;
mod manifest;
mod names;
mod part;
mod range;
mod read;
pub mod rows;
pub mod seal;
mod shown;
mod table;
mod version;
mod write;

pub use column::{Cell, CellType, Column, Role};
pub use dataset::{Partition, add_to_dataset};
pub use error::{Error, Result};
pub use import::{IMPORTED, Imported, import};
pub use info::{RunInfo, SCHEMA_VERSION, Status};
pub use lock::RunLock;
pub use manifest::PartEntry;
pub use range::StepRange;
pub use read::{ColumnStream, Columns, IntegrityReport, Problem, ProblemKind, RowStream, Run};
pub use rows::{
    EvalLossRow, EvalRow, HeadRow, MaturityRow, ProbeLayerRow, ProbeRow, RelianceRow, Row, SettlingRow,
    ShareRow, StepRow, TableVisitor, WHOLE_LAYER, WRITE_CONSTANT, WriteRow,
};
pub use shown::{LONGEST_LABEL, fixed, shown, shown_label, shown_lines, shown_path, signed};
pub use table::{Keep, Table};
pub use write::{RunWriter, WriterOptions, is_unborn};
