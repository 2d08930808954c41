//! From a table to its row type.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use serde::Serialize;

use super::Row;
use super::probe::*;
use super::train::*;
use crate::column::{CellType, Column, Role};
use crate::table::{Table, with_tables};

/// Something done to a table whose row type is known only at run time; see [`Table::visit`].
pub trait TableVisitor {
    /// What it gives back.
    type Output;

    /// Called with the table's row type.
    fn visit<R: Row + Serialize>(&mut self) -> Self::Output;
}

macro_rules! define_dispatch {
    ($($field:ident: $variant:ident($row:ident) $folder:literal $keep:ident,)+) => {
        /// Runs `$body` with `$R` standing for the row type of `$table`.
        macro_rules! dispatch {
            ($table:expr, $R:ident => $body:expr) => {
                match $table {
                    $($crate::table::Table::$variant => { type $R = $crate::rows::$row; $body })+
                }
            };
        }

        impl Table {
            /// Its columns in file order, key columns among the first.
            pub const fn columns(self) -> &'static [Column] {
                match self { $(Self::$variant => $row::COLUMNS),+ }
            }
        }
    };
}
with_tables!(define_dispatch);
pub(crate) use dispatch;

impl Table {
    /// The arrow schema: columns that may be undefined are nullable, and each field carries `unit`, `description` and,
    /// where it may be undefined, `undefined` as metadata.
    pub fn schema(self) -> SchemaRef {
        let field = |c: &Column| {
            let mut about =
                HashMap::from([("unit".into(), c.unit.into()), ("description".into(), c.doc.into())]);
            if c.role == Role::Optional {
                about.insert("undefined".to_owned(), "null".to_owned());
            }
            Field::new(c.name, c.cell.arrow(), c.role == Role::Optional).with_metadata(about)
        };
        Arc::new(Schema::new(self.columns().iter().map(field).collect::<Vec<_>>()))
    }

    /// Calls `visitor` with the table's row type. What is done for every table of [`Table::ALL`] so cannot forget one.
    pub fn visit<V: TableVisitor>(self, visitor: &mut V) -> V::Output {
        dispatch!(self, R => visitor.visit::<R>())
    }

    /// Position of a column.
    pub fn column_index(self, name: &str) -> Option<usize> {
        self.columns().iter().position(|c| c.name == name)
    }

    /// Bytes of one row, uncompressed.
    pub const fn row_bytes(self) -> usize {
        let columns = self.columns();
        let (mut bytes, mut i) = (0, 0);
        while i < columns.len() {
            bytes += match columns[i].cell {
                CellType::U8 => 1,
                CellType::U16 => 2,
                CellType::U32 | CellType::F32 => 4,
                CellType::U64 | CellType::F64 => 8,
            };
            i += 1;
        }
        bytes
    }
}
