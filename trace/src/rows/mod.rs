//! The rows of every table. A column is written once, here: the row struct, the arrow schema, the units and
//! descriptions in the files, the encoder and the decoder all come from its line.
//!
//! Each line reads `role name: type [unit] "description";` with role `key` (part of the sort key), `num` (always
//! defined) or `opt` (NaN where undefined), see [`crate::Role`].

mod probe;
mod tables;
mod train;

use arrow_array::RecordBatch;

pub use probe::{
    MaturityRow, ProbeLayerRow, ProbeRow, RelianceRow, SettlingRow, ShareRow, WHOLE_LAYER, WRITE_CONSTANT,
};
pub use tables::TableVisitor;
pub(crate) use tables::dispatch;
pub use train::{EvalLossRow, EvalRow, HeadRow, StepRow, WriteRow};

use crate::column::{Column, Role};
use crate::table::Table;

/// Sort key of a row: its key columns in order, then zeros.
pub type Key = [u64; 4];

/// A row of one of the tables.
pub trait Row: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// The table it belongs to.
    const TABLE: Table;
    /// Its columns in file order.
    const COLUMNS: &'static [Column];

    /// The training step it belongs to.
    fn step(&self) -> u32;

    /// Its sort key.
    fn key(&self) -> Key;

    /// The bits of every cell in column order, zero-extended.
    fn bits(&self) -> Vec<u64>;

    /// The row with these bits; `None` unless there is one entry a column.
    fn from_bits(bits: &[u64]) -> Option<Self>;

    /// A cell by column name, as float64 (integers above 2^53 are rounded); `None` if there is no such column.
    fn value(&self, column: &str) -> Option<f64>;

    /// Whether two rows are equal bit for bit, NaN included.
    fn same_bits(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }

    /// Columns of these rows.
    #[doc(hidden)]
    fn to_batch(rows: &[Self]) -> Result<RecordBatch, String>;

    /// Rows of these columns.
    #[doc(hidden)]
    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, String>;
}

/// A key as `step=3 layer=0 head=1`.
pub(crate) fn show_key<R: Row>(key: &Key) -> String {
    let names = R::COLUMNS.iter().filter(|c| c.role == Role::Key).map(|c| c.name);
    names.zip(key).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// The role that a word of the declaration stands for.
macro_rules! role {
    (key) => {
        $crate::column::Role::Key
    };
    (num) => {
        $crate::column::Role::Number
    };
    (opt) => {
        $crate::column::Role::Optional
    };
}
pub(crate) use role;

/// Declares one table; see the module's documentation for the line format.
macro_rules! table {
    ($(#[$about:meta])* $name:ident = $table:ident {
        $($role:ident $field:ident: $ty:ty [$unit:literal] $doc:literal;)+
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
        pub struct $name {
            $(#[doc = concat!($doc, " Unit: ", $unit, ".")] pub $field: $ty,)+
        }

        impl $name {
            /// A row of zeros in which every column that may be undefined is.
            pub fn undefined() -> Self {
                let cell = |role: $crate::column::Role, undefined: u64| {
                    if matches!(role, $crate::column::Role::Optional) { undefined } else { 0 }
                };
                Self { $($field: $crate::column::Cell::from_bits(cell(
                    $crate::rows::role!($role),
                    <$ty as $crate::column::Cell>::UNDEFINED,
                ))),+ }
            }
        }

        impl $crate::rows::Row for $name {
            const TABLE: $crate::table::Table = $crate::table::Table::$table;
            const COLUMNS: &'static [$crate::column::Column] = &[$($crate::column::Column {
                name: stringify!($field),
                cell: <$ty as $crate::column::Cell>::TYPE,
                unit: $unit,
                role: $crate::rows::role!($role),
                doc: $doc,
            }),+];

            fn step(&self) -> u32 {
                self.step
            }

            fn key(&self) -> $crate::rows::Key {
                let mut cells = [$(
                    matches!($crate::rows::role!($role), $crate::column::Role::Key)
                        .then(|| $crate::column::Cell::bits(self.$field)),
                )+].into_iter().flatten();
                std::array::from_fn(|_| cells.next().unwrap_or(0))
            }

            fn bits(&self) -> Vec<u64> {
                vec![$($crate::column::Cell::bits(self.$field)),+]
            }

            fn from_bits(bits: &[u64]) -> Option<Self> {
                let mut cells = bits.iter();
                let row = Self { $($field: $crate::column::Cell::from_bits(*cells.next()?)),+ };
                cells.next().is_none().then_some(row)
            }

            fn value(&self, column: &str) -> Option<f64> {
                $(if column == stringify!($field) {
                    return Some($crate::column::Cell::as_f64(self.$field));
                })+
                None
            }

            fn to_batch(rows: &[Self]) -> Result<arrow_array::RecordBatch, String> {
                let columns: Vec<arrow_array::ArrayRef> = vec![$(std::sync::Arc::new(
                    arrow_array::PrimitiveArray::<<$ty as $crate::column::ArrowCell>::Arrow>::from_iter_values(
                        rows.iter().map(|row| row.$field),
                    ),
                )),+];
                arrow_array::RecordBatch::try_new(Self::TABLE.schema(), columns).map_err(|e| e.to_string())
            }

            fn from_batch(batch: &arrow_array::RecordBatch) -> Result<Vec<Self>, String> {
                let mut columns = batch.columns().iter();
                $(let $field = $crate::column::values::<$ty>(
                    columns.next().ok_or(concat!("column ", stringify!($field), " is missing"))?,
                )?;)+
                // All columns of a record batch have its number of rows.
                Ok((0..batch.num_rows()).map(|i| Self { $($field: $field[i]),+ }).collect())
            }
        }
    };
}
pub(crate) use table;
