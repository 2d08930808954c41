//! `manifest.json`: which parts belong to the run. A part counts only once it is listed here.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk;
use crate::error::{Error, Result};
use crate::info::{SCHEMA_VERSION, read_json};
use crate::names::MANIFEST_FILE;
use crate::table::Table;

/// Larger manifests are refused unread: some 600,000 parts, months of flushes.
const MANIFEST_LIMIT: u64 = 128 << 20;

/// Folders of a run beside its tables.
const BESIDE: [&str; 2] = ["checkpoints", "dumps"];

/// One part: a Parquet file with some consecutive rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    /// The table.
    pub table: Table,
    /// Its file name in the table's folder.
    pub file: String,
    /// Rows in it, at least 1.
    pub rows: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Step of its first row.
    pub first_step: u32,
    /// Step of its last row.
    pub last_step: u32,
    /// blake3 of the file, in hex.
    pub blake3: String,
}

impl PartEntry {
    /// Where the part lies in a run directory.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.table.name()).join(&self.file)
    }

    /// Where the part lies, relative to the run directory, with `/` on every system.
    pub fn name(&self) -> String {
        format!("{}/{}", self.table, self.file)
    }
}

/// The list of parts, in the order in which they were flushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub schema_version: u32,
    pub parts: Vec<PartEntry>,
}

impl Manifest {
    /// A manifest of no parts.
    pub fn empty() -> Self {
        Self { schema_version: SCHEMA_VERSION, parts: Vec::new() }
    }

    /// Parts of one table, in step order.
    pub fn of(&self, table: Table) -> impl Iterator<Item = &PartEntry> {
        self.parts.iter().filter(move |p| p.table == table)
    }

    /// Reads and checks the manifest of a run directory: file names are ours (they cannot lead out of the run), and
    /// each table's parts follow one another.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST_FILE);
        let manifest: Self = read_json(&path, MANIFEST_LIMIT)?;
        let wrong =
            |part: &PartEntry, what: &str| Err(Error::corrupt(&path, format!("{}: {what}", part.name())));
        for part in &manifest.parts {
            if part_number(&part.file).is_none() {
                return wrong(part, "not the file name of a part");
            }
            if part.rows == 0 || part.first_step > part.last_step {
                return wrong(part, "no rows, or a first step after the last");
            }
        }
        for &table in Table::ALL {
            for (a, b) in manifest.of(table).zip(manifest.of(table).skip(1)) {
                if a.last_step > b.first_step || part_number(&a.file) >= part_number(&b.file) {
                    return wrong(b, "does not come after the part listed before it");
                }
            }
        }
        Ok(manifest)
    }

    /// Writes the manifest, atomically; one line a part, so that it can be read and compared by eye.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(MANIFEST_FILE);
        let mut text = format!("{{\"schema_version\": {}, \"parts\": [", self.schema_version);
        for (i, part) in self.parts.iter().enumerate() {
            text.push_str(if i == 0 { "\n" } else { ",\n" });
            text.push_str(
                &serde_json::to_string(part).map_err(|source| Error::Json { path: path.clone(), source })?,
            );
        }
        text.push_str("\n]}\n");
        disk::write_whole(&path, text.as_bytes())
    }
}

/// Name of the part of a number.
pub(crate) fn part_name(number: u64) -> String {
    format!("part-{number:06}.parquet")
}

/// Number in the name of a part; `None` for other names.
pub(crate) fn part_number(file: &str) -> Option<u64> {
    let number = file.strip_prefix("part-")?.strip_suffix(".parquet")?.parse().ok()?;
    (part_name(number) == file).then_some(number)
}

/// Part files and leftovers of a crash that the manifest does not list: what a reader ignores and the next writer
/// removes. Other files are not ours and never touched.
pub(crate) fn strays(dir: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>> {
    let mut strays = Vec::new();
    let mut look = |folder: &Path, table: Option<Table>| -> Result<()> {
        if !folder.is_dir() {
            return Ok(());
        }
        let listed: HashSet<&str> =
            table.map_or_else(HashSet::new, |t| manifest.of(t).map(|p| p.file.as_str()).collect());
        for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
            let entry = entry.map_err(Error::io("list", folder))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let unlisted = table.is_some() && part_number(name).is_some() && !listed.contains(name);
            if disk::is_temporary(name) || unlisted {
                strays.push(entry.path());
            }
        }
        Ok(())
    };
    look(dir, None)?;
    for folder in BESIDE {
        look(&dir.join(folder), None)?;
    }
    for &table in Table::ALL {
        look(&dir.join(table.name()), Some(table))?;
    }
    strays.sort();
    Ok(strays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_names_are_recognised_exactly() {
        for number in [0, 7, 999_999, 1_000_000, u64::MAX] {
            assert_eq!(part_number(&part_name(number)), Some(number));
        }
        for name in
            ["part-7.parquet", "part-+00007.parquet", "../part-000001.parquet", "part-000001.parquet.tmp", ""]
        {
            assert_eq!(part_number(name), None, "{name}");
        }
    }
}
