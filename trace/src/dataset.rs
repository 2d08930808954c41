//! Runs as one dataset with Hive partitions: `TABLE/arm=ARM/seed=SEED/*.parquet`, as DuckDB, Spark and DataFusion read it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::{Error, Result};
use crate::part::Part;
use crate::read::Run;
use crate::table::Table;

/// A run's place in a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The arm: the run's label.
    pub arm: String,
    /// Its seed.
    pub seed: u64,
}

impl Partition {
    /// The partition of a run: its label, and its model's seed (0 where it has none).
    pub fn of(run: &Run) -> Self {
        let seeds = &run.info().seeds;
        let seed = seeds.get("model").or_else(|| seeds.values().next()).copied().unwrap_or(0);
        let label = run.info().label.trim();
        Self { arm: if label.is_empty() { "run".into() } else { label.into() }, seed }
    }

    /// Its folder below a table's.
    fn folder(&self) -> PathBuf {
        PathBuf::from(format!("arm={}", escaped(&self.arm))).join(format!("seed={}", self.seed))
    }
}

/// A value of a Hive partition: what would end it or lead out of it is percent-encoded, as Hive does it.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for c in value.chars() {
        if c.is_control() || "\"#%'*/:=?\\{}[]^".contains(c) {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|b| out.push_str(&format!("%{b:02X}")));
        } else {
            out.push(c);
        }
    }
    // A dot at the start hides a folder from some readers.
    if out.starts_with(['.', '_']) { format!("%{:02X}{}", out.as_bytes()[0], &out[1..]) } else { out }
}

/// Adds a run's parts to the dataset in `out`, checked against the run's manifest on the way; returns the number of files.
///
/// # Errors
///
/// A partition that exists already (nothing is written then), a part that is damaged, a disk that is full.
pub fn add_to_dataset(run: &Run, partition: &Partition, out: &Path) -> Result<usize> {
    let folder = partition.folder();
    let taken = Table::ALL.iter().map(|t| out.join(t.name()).join(&folder)).find(|f| f.exists());
    if let Some(path) = taken {
        return Err(Error::PartitionExists { path });
    }
    let mut files = 0;
    for entry in run.parts() {
        let bytes = Part::checked_bytes(run.dir(), entry)?;
        let place = out.join(entry.table.name()).join(&folder);
        fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
        disk::write_whole(&place.join(&entry.file), &bytes)?;
        files += 1;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_one_folder() {
        assert_eq!(escaped("gpt+slow-qk"), "gpt+slow-qk");
        assert_eq!(escaped("../a=b/c"), "%2E.%2Fa%3Db%2Fc");
        assert_eq!(escaped("100%"), "100%25");
        assert_eq!(escaped("_x"), "%5Fx");
    }
}
