//! `growthpath columns`: what every column of a run's tables is, from the declarations that write them.

use growthpath_trace::{CellType, Role, Table};
use serde::Serialize;

use super::output;
use crate::error::{Error, Result};
use crate::tables::wrap;

/// Arguments of `growthpath columns`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// One table's columns only
    #[arg(value_name = "TABLE")]
    table: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A column as it is printed as JSON.
#[derive(Serialize)]
struct Entry {
    table: &'static str,
    column: &'static str,
    number: &'static str,
    unit: &'static str,
    /// Part of the key: rows are sorted by it.
    key: bool,
    /// Null in files and NaN in rows where it is not defined.
    may_be_undefined: bool,
    description: &'static str,
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    let tables = match &args.table {
        None => Table::ALL.to_vec(),
        Some(name) => vec![known(name)?],
    };
    if args.json {
        return output::json(&tables.iter().flat_map(|t| entries(*t)).collect::<Vec<_>>());
    }
    let mut text = String::new();
    for table in tables {
        text += &format!("{}{table}\n", if text.is_empty() { "" } else { "\n" });
        for e in entries(table) {
            let key = if e.key { "key, " } else { "" };
            let head = format!("  {:<14} ", e.column);
            text += &wrap(&head, &format!("[{key}{}] {}", e.unit, e.description), head.len());
        }
    }
    output::print(&text)
}

fn known(name: &str) -> Result<Table> {
    Table::ALL.iter().copied().find(|t| t.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Table::ALL.iter().map(|t| t.name()).collect();
        Error::usage(format!("there is no table `{name}`; tables: {}", names.join(", ")))
    })
}

fn entries(table: Table) -> impl Iterator<Item = Entry> {
    table.columns().iter().map(move |c| Entry {
        table: table.name(),
        column: c.name,
        number: match c.cell {
            CellType::U8 => "uint8",
            CellType::U16 => "uint16",
            CellType::U32 => "uint32",
            CellType::U64 => "uint64",
            CellType::F32 => "float32",
            CellType::F64 => "float64",
        },
        unit: c.unit,
        key: c.role == Role::Key,
        may_be_undefined: c.role == Role::Optional,
        description: c.doc,
    })
}
