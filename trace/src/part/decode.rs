//! Parquet bytes to rows, trusting nothing that the file says about itself.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::nulls::null_to_nan;
use super::{MAX_ROWS, TABLE_KEY, VERSION_KEY, pages};
use crate::arrange::arrange;
use crate::column::{Role, values};
use crate::disk;
use crate::error::{Error, Result};
use crate::guard;
use crate::info::SCHEMA_VERSION;
use crate::manifest::PartEntry;
use crate::shown::shown_label;
use crate::table::Table;

/// Rows of a batch at most.
const BATCH_ROWS: usize = 8192;

/// A part larger than this is refused; parts are flushed long before.
const MAX_BYTES: u64 = 1 << 30;

/// Said with a part whose bytes changed: it need not be damage.
const REWRITTEN: &str =
    " (if another program rewrote it on purpose: `growthpath import RUN --out NEW` takes its rows)";

/// A part being read: its bytes are the ones that the manifest lists, and its rows come in batches.
pub struct Part {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    table: Table,
    /// Places in the table of the columns to be decoded.
    columns: Vec<usize>,
    rows_left: u64,
    /// Step that the next row must at least have; `None` before the first row.
    step: Option<u32>,
    first_step: u32,
    last_step: u32,
}

impl Part {
    /// Opens a part: size and hash against the manifest, then footer and page headers. `columns` restricts what
    /// is decoded, in table order; `None` for all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, [`Error::Corrupt`] if it is not what the manifest lists.
    pub fn open(dir: &Path, entry: &PartEntry, columns: Option<&[usize]>) -> Result<Self> {
        let path = entry.path(dir);
        let bytes = listed_bytes(&path, entry)?;
        let table = entry.table;
        let columns = columns.map_or_else(|| (0..table.columns().len()).collect(), <[usize]>::to_vec);
        let reader =
            guarded(|| reader(bytes.into(), entry, &columns)).map_err(|what| Error::corrupt(&path, what))?;
        let (first_step, last_step) = (entry.first_step, entry.last_step);
        Ok(Self { path, reader, table, columns, rows_left: entry.rows, step: None, first_step, last_step })
    }

    /// Columns of the table that the part was recorded without.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn missing_columns(dir: &Path, entry: &PartEntry) -> Result<Vec<&'static str>> {
        let path = entry.path(dir);
        let bytes = listed_bytes(&path, entry)?;
        let found = guarded(|| Ok(builder(bytes.into(), entry)?.schema().clone()))
            .map_err(|what| Error::corrupt(&path, what))?;
        let names = entry.table.columns().iter().map(|c| c.name);
        Ok(names.filter(|name| found.index_of(name).is_err()).collect())
    }

    /// The bytes of a part, of the size and hash that the manifest lists.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, [`Error::Corrupt`] if it is not what the manifest lists.
    pub fn checked_bytes(dir: &Path, entry: &PartEntry) -> Result<Vec<u8>> {
        listed_bytes(&entry.path(dir), entry)
    }

    /// Whether a part's file is there with the size and the hash that the manifest lists; nothing is decoded.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, [`Error::Corrupt`] if it is not what the manifest lists.
    pub fn check_file(dir: &Path, entry: &PartEntry) -> Result<()> {
        listed_bytes(&entry.path(dir), entry).map(drop)
    }

    /// Where the part lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next batch; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the pages cannot be decoded or do not hold the rows that the manifest lists.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let batch = guarded(|| self.reader.next().transpose().map_err(|e| e.to_string()))
            .map_err(|what| Error::corrupt(&self.path, what))?;
        let rows = batch.as_ref().map_or(0, |b| b.num_rows() as u64);
        if rows > self.rows_left || (batch.is_none() && self.rows_left > 0) {
            return Err(Error::corrupt(&self.path, "its pages do not hold the rows that the manifest lists"));
        }
        self.rows_left -= rows;
        let Some(batch) = batch else { return Ok(None) };
        let batch = null_to_nan(&batch)
            .map_err(|e| e.to_string())
            .and_then(|batch| arrange(self.table, &self.columns, &batch))
            .map_err(|what| Error::corrupt(&self.path, what))?;
        self.check_steps(&batch).map_err(|what| Error::corrupt(&self.path, what))?;
        Ok(Some(batch))
    }

    /// Steps do not decrease, and begin and end where the manifest says: readers find windows by both.
    fn check_steps(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let steps = values::<u32>(batch.column(0))?;
        let (Some(&first), Some(&last)) = (steps.first(), steps.last()) else { return Ok(()) };
        let follows = self.step.map_or(first == self.first_step, |step| step <= first);
        let ends = self.rows_left > 0 || last == self.last_step;
        if !follows || !ends || !steps.is_sorted() {
            let (a, b) = (self.first_step, self.last_step);
            return Err(format!("its rows do not go from step {a} to step {b} as the manifest lists"));
        }
        self.step = Some(last);
        Ok(())
    }
}

/// The bytes of a part, which are the ones that the manifest lists.
fn listed_bytes(path: &Path, entry: &PartEntry) -> Result<Vec<u8>> {
    let bytes = disk::read_whole(path, MAX_BYTES)?;
    if bytes.len() as u64 != entry.bytes {
        let (have, want) = (bytes.len(), entry.bytes);
        return Err(Error::corrupt(
            path,
            format!("it has {have} bytes, the manifest lists {want}{REWRITTEN}"),
        ));
    }
    if blake3::hash(&bytes).to_hex().as_str() != entry.blake3 {
        let what = format!("its contents do not have the hash that the manifest lists{REWRITTEN}");
        return Err(Error::corrupt(path, what));
    }
    Ok(bytes)
}

/// Runs the decoder; a panic in it, which only a file made to deceive could cause, becomes an error.
fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    guard::guarded(decode, || "its pages confuse the decoder".to_owned())
}

fn reader(
    bytes: bytes::Bytes,
    entry: &PartEntry,
    columns: &[usize],
) -> Result<ParquetRecordBatchReader, String> {
    let builder = builder(bytes.clone(), entry)?;
    check_footer(builder.metadata(), entry)?;
    check_pages(builder.metadata(), &bytes)?;
    let found = columns.iter().filter_map(|i| builder.schema().index_of(entry.table.columns()[*i].name).ok());
    let mask = ProjectionMask::leaves(builder.parquet_schema(), found);
    builder.with_batch_size(BATCH_ROWS).with_projection(mask).build().map_err(|e| e.to_string())
}

/// A reader to be, of a file whose columns are the table's.
fn builder(
    bytes: bytes::Bytes,
    entry: &PartEntry,
) -> Result<ParquetRecordBatchReaderBuilder<bytes::Bytes>, String> {
    // The embedded arrow schema and the page indexes repeat what the footer says: fewer claims to check.
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_page_index_policy(PageIndexPolicy::Skip);
    let builder =
        ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).map_err(|e| e.to_string())?;
    check_columns(entry.table, builder.schema().fields())?;
    Ok(builder)
}

/// Every column is one of the table, once, of its type; what is always defined is there.
fn check_columns(table: Table, found: &arrow_schema::Fields) -> Result<(), String> {
    let mut seen = vec![false; table.columns().len()];
    for f in found {
        let name = shown_label(f.name());
        let at = table.column_index(f.name()).ok_or_else(|| {
            format!("its columns are not those of table {table}: {name} is unknown (a newer growthpath may have recorded it)")
        })?;
        let c = &table.columns()[at];
        // Runs of earlier versions wrote NaN for what is undefined, into columns without nulls.
        let nulls = !f.is_nullable() || c.role == Role::Optional;
        if *f.data_type() != c.cell.arrow() || !nulls || std::mem::replace(&mut seen[at], true) {
            return Err(format!(
                "its columns are not those of table {table}: {name} is of another type, or there twice"
            ));
        }
    }
    match table.columns().iter().zip(seen).find(|(c, seen)| !seen && !c.may_be_missing()) {
        Some((c, _)) => Err(format!("its columns are not those of table {table}: {} is missing", c.name)),
        None => Ok(()),
    }
}

/// Schema version, table and number of rows in the footer against the manifest.
fn check_footer(metadata: &ParquetMetaData, entry: &PartEntry) -> Result<(), String> {
    let file = metadata.file_metadata();
    let value = |key: &str| {
        file.key_value_metadata()?.iter().find(|kv| kv.key == key).and_then(|kv| kv.value.as_deref())
    };
    let version = value(VERSION_KEY).unwrap_or("none");
    if version != SCHEMA_VERSION.to_string() {
        return Err(format!("its footer says schema version {version}, the run has {SCHEMA_VERSION}"));
    }
    let table = value(TABLE_KEY).unwrap_or("none");
    if table != entry.table.name() {
        return Err(format!("its footer says table {table}, it lies in {}", entry.table));
    }
    let total = |n: u64, group: &parquet::file::metadata::RowGroupMetaData| {
        n.checked_add(u64::try_from(group.num_rows()).ok()?)
    };
    let groups = metadata.row_groups().iter().try_fold(0, total);
    let claimed = u64::try_from(file.num_rows()).ok();
    if entry.rows > MAX_ROWS || groups != Some(entry.rows) || claimed != Some(entry.rows) {
        let rows = file.num_rows();
        return Err(format!("its footer says {rows} rows, the manifest lists {}", entry.rows));
    }
    Ok(())
}

/// Every page header of every column chunk.
fn check_pages(metadata: &ParquetMetaData, bytes: &[u8]) -> Result<(), String> {
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        for column in group.columns() {
            if column.dictionary_page_offset().is_some() || column.num_values() != group.num_rows() {
                return Err("its footer describes a column that is never written so".to_owned());
            }
            let start = usize::try_from(column.data_page_offset()).ok();
            let size = usize::try_from(column.compressed_size()).ok();
            let range = start.zip(size).and_then(|(start, size)| Some(start..start.checked_add(size)?));
            let chunk = range.and_then(|r| bytes.get(r)).ok_or("its footer points outside the file")?;
            pages::check(chunk, rows)?;
        }
    }
    Ok(())
}
