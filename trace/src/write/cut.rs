//! Cutting a record at a step, so that training can go on from a checkpoint.

use std::fs;
use std::path::Path;

use super::worker::{next_number, write_part};
use crate::disk::remove;
use crate::error::{Error, Result};
use crate::manifest::{Manifest, PartEntry, part_number, strays};
use crate::part::Part;
use crate::rows::{Key, Row, StepRow, dispatch};
use crate::table::Table;

/// Key of the last row of each table, by `Table as usize`.
pub(super) type LastKeys = [Option<Key>; Table::ALL.len()];

/// What stays of one table.
struct Kept<R> {
    /// Parts that stay as they are.
    parts: Vec<PartEntry>,
    /// Rows to keep of the part in which the cut lies.
    rows: Vec<R>,
    /// Key of the last row that stays.
    last: Option<Key>,
}

/// Drops the rows that a resume at `step` does not keep and returns the manifest now on disk, with the last key of
/// each table. New parts come first, then the manifest, then removals: at any moment the manifest on disk lists
/// parts that are in place.
pub(super) fn cut(dir: &Path, step: u32, zstd_level: i32) -> Result<(Manifest, LastKeys)> {
    let old = Manifest::read(dir)?;
    let reached = kept::<StepRow>(dir, &old, step)?.last.map(|key| key[0]);
    if step > 0 && reached != Some(u64::from(step) - 1) {
        // Rows below `step` only are kept, so what was reached fits.
        return Err(Error::ResumeGap { path: dir.to_owned(), step, last: reached.map(|s| s as u32) });
    }
    let leftovers = strays(dir, &old)?;
    let mut new = Manifest::empty();
    let mut last = LastKeys::default();
    for &table in Table::ALL {
        dispatch!(table, R => {
            let mut kept = kept::<R>(dir, &old, step)?;
            if !kept.rows.is_empty() {
                // Past every number in use, listed or left over: nothing is overwritten.
                let used = leftovers.iter().filter(|p| p.parent() == Some(&dir.join(table.name())));
                let used = used.filter_map(|p| part_number(p.file_name()?.to_str()?)).max();
                let number = next_number(&old, table).max(used.map_or(0, |n| n.saturating_add(1)));
                kept.parts.push(write_part(dir, &kept.rows, number, zstd_level)?);
            }
            new.parts.append(&mut kept.parts);
            last[table as usize] = kept.last;
        });
    }
    new.write(dir)?;
    for stray in strays(dir, &new)? {
        remove(&stray)?;
    }
    Ok((new, last))
}

/// What stays of a table; reads the part in which the cut lies and the last part that stays whole.
fn kept<R: Row>(dir: &Path, manifest: &Manifest, step: u32) -> Result<Kept<R>> {
    let keeps = |row_step| R::TABLE.keep().keeps(row_step, step);
    let mut kept = Kept { parts: Vec::new(), rows: Vec::new(), last: None };
    for entry in manifest.of(R::TABLE).take_while(|e| keeps(e.first_step)) {
        if keeps(entry.last_step) {
            present(dir, entry)?;
            kept.parts.push(entry.clone());
        } else {
            kept.rows = rows::<R>(dir, entry)?;
            kept.rows.retain(|row| keeps(row.step()));
            break;
        }
    }
    kept.last = match (kept.rows.last(), kept.parts.last()) {
        (Some(row), _) => Some(row.key()),
        (None, Some(entry)) => rows::<R>(dir, entry)?.last().map(Row::key),
        (None, None) => None,
    };
    Ok(kept)
}

/// Whether a part that stays is there; its contents are checked when it is read.
fn present(dir: &Path, entry: &PartEntry) -> Result<()> {
    let path = entry.path(dir);
    let size = fs::metadata(&path).map_err(Error::io("examine", &path))?.len();
    if size == entry.bytes {
        Ok(())
    } else {
        Err(Error::corrupt(&path, format!("it has {size} bytes, the manifest lists {}", entry.bytes)))
    }
}

fn rows<R: Row>(dir: &Path, entry: &PartEntry) -> Result<Vec<R>> {
    let mut part = Part::open(dir, entry, None)?;
    let mut rows = Vec::new();
    while let Some(batch) = part.next_batch()? {
        rows.extend(R::from_batch(&batch).map_err(|what| Error::corrupt(part.path(), what))?);
    }
    Ok(rows)
}
