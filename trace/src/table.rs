//! The tables of a run, and the list from which everything that runs over all of them is generated.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::column::{Column, Role};
use crate::rows::*;

/// Calls `$callback!` with `field: Variant(RowType) "folder" Keep, ...`, one entry a table.
macro_rules! with_tables {
    ($callback:ident) => {
        $callback! {
            steps: Steps(StepRow) "steps" Before,
            heads: Heads(HeadRow) "heads" Before,
            writes: Writes(WriteRow) "writes" Before,
            evals: Evals(EvalRow) "evals" Through,
            eval_losses: EvalLosses(EvalLossRow) "eval_losses" Through,
            probe: Probe(ProbeRow) "probe" Through,
            probe_layers: ProbeLayers(ProbeLayerRow) "probe_layers" Through,
            shares: Shares(ShareRow) "shares" Through,
            maturity: Maturity(MaturityRow) "maturity" Through,
            settling: Settling(SettlingRow) "settling" Nothing,
            reliance: Reliance(RelianceRow) "reliance" Through,
        }
    };
}
pub(crate) use with_tables;

/// Something done to a table whose row type is known only at run time; see [`Table::visit`].
pub trait TableVisitor {
    /// What it gives back.
    type Output;

    /// Called with the table's row type.
    fn visit<R: Row + Serialize>(&mut self) -> Self::Output;
}

/// Which rows a resume at step `s` keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Rows with `step < s`: what is recorded while a step is done.
    Before,
    /// Rows with `step <= s`: what is measured between steps, on the weights that the checkpoint holds.
    Through,
    /// None: what is written when the run ends.
    Nothing,
}

impl Keep {
    /// Whether a row of `row_step` stays when the run is resumed at `step`.
    pub const fn keeps(self, row_step: u32, step: u32) -> bool {
        match self {
            Self::Before => row_step < step,
            Self::Through => row_step <= step,
            Self::Nothing => false,
        }
    }
}

macro_rules! define_tables {
    ($($field:ident: $variant:ident($row:ident) $folder:literal $keep:ident,)+) => {
        /// A table of a run; each has a folder of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Table {
            $(#[doc = concat!("Rows of [`", stringify!($row), "`], in folder `", $folder, "`.")] $variant,)+
        }

        impl Table {
            /// Every table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Name of the table and of its folder.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $folder),+ }
            }

            /// Its columns in file order, key columns among the first.
            pub const fn columns(self) -> &'static [Column] {
                match self { $(Self::$variant => $row::COLUMNS),+ }
            }

            /// Which rows a resume keeps.
            pub const fn keep(self) -> Keep {
                match self { $(Self::$variant => Keep::$keep),+ }
            }
        }

        /// Runs `$body` with `$R` standing for the row type of `$table`.
        macro_rules! dispatch {
            ($table:expr, $R:ident => $body:expr) => {
                match $table {
                    $($crate::table::Table::$variant => { type $R = $crate::rows::$row; $body })+
                }
            };
        }
    };
}
with_tables!(define_tables);
// Not redundant: a macro made by a macro has no path without it.
#[allow(clippy::single_component_path_imports)]
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
                crate::CellType::U8 => 1,
                crate::CellType::U16 => 2,
                crate::CellType::U32 | crate::CellType::F32 => 4,
                crate::CellType::U64 | crate::CellType::F64 => 8,
            };
            i += 1;
        }
        bytes
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
