//! Rows to Parquet bytes.

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::nulls::nan_to_null;
use super::{COLUMNS_KEY, GROUP_ROWS, PAGE_ROWS, TABLE_KEY, VERSION_KEY};
use crate::column::Role;
use crate::error::{Error, Result};
use crate::info::SCHEMA_VERSION;
use crate::table::Table;

/// Encodes the rows of one part: floats split into byte streams, integers as differences, all under zstd; what is
/// undefined is null.
pub fn encode(table: Table, rows: &RecordBatch, zstd_level: i32) -> Result<Vec<u8>> {
    let failed = |e: parquet::errors::ParquetError| Error::Encode { table, what: e.to_string() };
    let properties = properties(table, zstd_level).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, table.schema(), Some(properties)).map_err(failed)?;
    let rows = nan_to_null(table, rows).map_err(|e| Error::Encode { table, what: e.to_string() })?;
    writer.write(&rows).map_err(failed)?;
    writer.close().map_err(failed)?;
    Ok(bytes)
}

fn properties(table: Table, zstd_level: i32) -> Result<WriterProperties, parquet::errors::ParquetError> {
    let columns: serde_json::Map<_, _> = table
        .columns()
        .iter()
        .map(|c| (c.name.to_owned(), serde_json::json!({"unit": c.unit, "description": c.doc})))
        .collect();
    let about = vec![
        KeyValue::new(VERSION_KEY.to_owned(), SCHEMA_VERSION.to_string()),
        KeyValue::new(TABLE_KEY.to_owned(), table.name().to_owned()),
        KeyValue::new(COLUMNS_KEY.to_owned(), serde_json::Value::Object(columns).to_string()),
    ];
    let sorted = table.columns().iter().enumerate().filter(|(_, c)| c.role == Role::Key);
    let sorted = sorted
        .map(|(i, _)| SortingColumn { column_idx: i as i32, descending: false, nulls_first: false })
        .collect();
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("growthpath-trace ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        // Neighbouring rows differ little in their integers, and floats hardly ever repeat.
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_sorting_columns(Some(sorted))
        .set_key_value_metadata(Some(about));
    for column in table.columns() {
        let encoding =
            if column.cell.is_float() { Encoding::BYTE_STREAM_SPLIT } else { Encoding::DELTA_BINARY_PACKED };
        builder = builder.set_column_encoding(ColumnPath::from(column.name), encoding);
    }
    Ok(builder.build())
}
