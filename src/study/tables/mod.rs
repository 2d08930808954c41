//! A study's results as tables: for people (text, Markdown, LaTeX) and for programs (CSV).

mod arms;
mod cells;
mod data;
mod formats;
mod pairs;
mod reading;
mod runs;
mod table;
mod warnings;

use std::path::{Path, PathBuf};

use super::results::Results;
use crate::error::{Error, Result};

pub use reading::sentences;
pub use table::Table;

/// Every table of a study, the most asked for first; tables without rows are left out.
pub fn all(results: &Results) -> Vec<Table> {
    let tables = [
        arms::losses(results),
        pairs::differences(results),
        arms::growth(results),
        pairs::gaps(results),
        arms::factors(results),
        arms::writes(results),
        warnings::warnings(results),
        pairs::details(results),
        runs::runs(results),
    ];
    tables.into_iter().filter(|t| !t.rows.is_empty()).map(explained).collect()
}

/// A table with a word on cells that are not resolved.
fn explained(mut t: Table) -> Table {
    if t.rows.iter().flatten().any(|c| c.contains("not resolved")) {
        t.notes.push(format!(
            "Not resolved: the interval spans more than a factor of {}, so that these seeds do not tell the size.",
            cells::RESOLVED
        ));
    }
    t
}

/// The tables that answer first, for a terminal.
pub fn first(results: &Results) -> Vec<Table> {
    [arms::short(results), pairs::short(results)].into_iter().filter(|t| !t.rows.is_empty()).collect()
}

/// The whole study as one Markdown page.
pub fn page(results: &Results) -> String {
    let mut text = String::from("# Results\n\n");
    if !results.about.is_empty() {
        text += &format!("{}\n\n", results.about);
    }
    for sentence in sentences(results) {
        text += &format!("- {}\n", formats::escape_markdown(&sentence));
    }
    for table in all(results) {
        text += &format!("\n## {}\n\n{}", formats::escape_markdown(&table.title), formats::markdown(&table));
    }
    text
}

/// Removes tables of an earlier look that this one does not have.
fn forget(folder: &Path, files: &[(PathBuf, String)]) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let table = path.extension().is_some_and(|e| ["md", "tex", "csv"].iter().any(|known| e == *known));
        if table && files.iter().all(|(f, _)| *f != path) {
            std::fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

/// Writes `study.json`, `results.md` and `tables/`: each table as Markdown, LaTeX (booktabs) and CSV as it is read, and the
/// numbers behind them, one value a row, as `data-*.csv`.
///
/// # Errors
/// A folder that cannot be written.
pub fn write(results: &Results, out: &Path) -> Result<Vec<PathBuf>> {
    let folder = out.join("tables");
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let json = serde_json::to_string_pretty(results).map_err(|e| Error::format(out, e.to_string()))?;
    let mut files = vec![(out.join("study.json"), json + "\n"), (out.join("results.md"), page(results))];
    for t in all(results) {
        files.push((folder.join(format!("{}.md", t.name)), formats::markdown(&t)));
        files.push((folder.join(format!("{}.tex", t.name)), formats::latex(&t)));
        files.push((folder.join(format!("{}.csv", t.name)), formats::csv(&t.head, &t.rows)));
    }
    for (name, (head, rows)) in data::all(results) {
        files.push((folder.join(format!("data-{name}.csv")), formats::csv(&head, &rows)));
    }
    forget(&folder, &files)?;
    for (path, text) in &files {
        // Whole or not at all: a reader of a study that is being written again never sees half a table.
        let temporary = path.with_extension("partial");
        std::fs::write(&temporary, text).map_err(Error::io(&temporary))?;
        std::fs::rename(&temporary, path).map_err(Error::io(path))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}
