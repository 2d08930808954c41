//! One foreign Parquet file to rows.

use std::path::Path;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::cast;
use crate::disk;
use crate::error::{Error, Result};
use crate::guard;
use crate::part::check_chunk;
use crate::rows::Row;

/// A file larger than this is refused: write several.
const MAX_BYTES: u64 = 4 << 30;
/// Largest uncompressed page; those of DuckDB and pyarrow stay far below.
const MAX_PAGE_BYTES: i64 = 256 << 20;
/// Columns that pandas adds for its index.
const INDEX: &str = "__index_level_";

/// Columns that files and tables do not have in common, as `table.column`.
#[derive(Default)]
pub(super) struct OddColumns {
    /// In a file, but in no table.
    pub left_out: Vec<String>,
    /// In a table, but not in some file.
    pub undefined: Vec<String>,
}

/// Adds the rows of a file to `rows`, and to `columns` the names of its columns that the table lacks, and of the table's
/// that it lacks.
pub(super) fn read<R: Row>(path: &Path, rows: &mut Vec<R>, columns: &mut OddColumns) -> Result<()> {
    let bytes = disk::read_whole(path, MAX_BYTES)?;
    let read = || decode::<R>(bytes.into(), rows, columns);
    guard::guarded(read, || "its pages confuse the decoder".to_owned())
        .map_err(|what| Error::Foreign { path: path.to_owned(), what })
}

fn decode<R: Row>(bytes: bytes::Bytes, rows: &mut Vec<R>, odd: &mut OddColumns) -> Result<(), String> {
    // Without the embedded arrow schema strings, dictionaries and numbers are what Parquet itself says of them.
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_page_index_policy(PageIndexPolicy::Skip);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options)
        .map_err(|e| format!("it is no Parquet file: {e}"))?;
    check_pages(builder.metadata(), &bytes)?;
    let found: Vec<String> = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
    for column in R::COLUMNS {
        match found.iter().filter(|f| *f == column.name).count() {
            1 => {}
            0 if column.may_be_missing() => odd.undefined.push(format!("{}.{}", R::TABLE, column.name)),
            0 => {
                return Err(format!(
                    "it has no column {}: {} was expected ({}); it has {}",
                    column.name,
                    column.cell.arrow(),
                    column.doc,
                    found.join(", ")
                ));
            }
            _ => return Err(format!("it has column {} twice", column.name)),
        }
    }
    let ours = |name: &String| R::COLUMNS.iter().any(|c| c.name == name);
    let others = found.iter().filter(|f| !ours(f) && !f.starts_with(INDEX));
    odd.left_out.extend(others.map(|f| format!("{}.{f}", R::TABLE)));
    let roots = found.iter().enumerate().filter(|(_, f)| ours(f)).map(|(i, _)| i);
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let reader = builder.with_projection(mask).build().map_err(|e| e.to_string())?;
    for batch in reader {
        let batch = batch.map_err(|e| compression(&e.to_string()))?;
        let mut columns = Vec::with_capacity(R::COLUMNS.len());
        for column in R::COLUMNS {
            columns.push(match batch.column_by_name(column.name) {
                Some(array) => cast::bits(column, array)?,
                None => vec![column.cell.undefined(); batch.num_rows()],
            });
        }
        let mut cells = vec![0; columns.len()];
        for row in 0..batch.num_rows() {
            cells.iter_mut().zip(&columns).for_each(|(cell, column)| *cell = column[row]);
            rows.push(R::from_bits(&cells).ok_or("a row does not have its cells")?);
        }
    }
    Ok(())
}

/// A codec that this build lacks is a matter of how the file was written, not of damage.
fn compression(error: &str) -> String {
    if error.contains("Disabled feature") {
        return format!("its compression is not read here ({error}): write it with zstd, snappy or none");
    }
    error.to_owned()
}

/// Page headers may claim any size: none is believed before it is checked.
fn check_pages(metadata: &ParquetMetaData, bytes: &[u8]) -> Result<(), String> {
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        for column in group.columns() {
            // Lists hold another number of values; they are refused by their type later on.
            let values = u64::try_from(column.num_values()).unwrap_or(0).max(rows);
            let (start, size) = column.byte_range();
            let range = usize::try_from(start).ok().zip(usize::try_from(size).ok());
            let chunk = range.and_then(|(a, n)| bytes.get(a..a.checked_add(n)?));
            check_chunk(chunk.ok_or("its footer points outside the file")?, values, MAX_PAGE_BYTES)?;
        }
    }
    Ok(())
}
