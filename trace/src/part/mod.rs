//! One part: rows to Parquet bytes and back.

mod decode;
mod encode;
mod nulls;
mod pages;

pub use decode::Part;
pub use encode::encode;
pub use pages::check_foreign as check_chunk;

/// Footer key of the schema version.
const VERSION_KEY: &str = "growthpath.schema_version";
/// Footer key of the table's name.
const TABLE_KEY: &str = "growthpath.table";
/// Footer key of the columns' units and descriptions, as JSON.
const COLUMNS_KEY: &str = "growthpath.columns";
/// Rows of a row group at most.
const GROUP_ROWS: usize = 1 << 17;
/// Rows of a page at most.
const PAGE_ROWS: usize = 1 << 16;
/// Rows that one part may have; the writer flushes long before.
const MAX_ROWS: u64 = 1 << 26;
