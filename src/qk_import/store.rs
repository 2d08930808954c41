//! The tensors of a checkpoint folder, read piece by piece: one safetensors file, or shards with an index.
//!
//! Opening reads headers alone. Numbers are read when they are asked for, in pieces of about a megabyte, so that a
//! checkpoint of any size costs no more memory than the matrices that were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::dtype::Dtype;
use super::what;
use crate::error::{Error, Result};
use crate::input;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// Largest index that is read; those of the largest models take some megabytes.
const MOST_INDEX: u64 = 256 << 20;

/// A header may not be longer: the format's own limit.
const MOST_HEADER: u64 = 100_000_000;

#[derive(Debug, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// A tensor in a file.
#[derive(Debug)]
pub(super) struct Stored {
    file: usize,
    /// Name of its number type in the header.
    pub(super) dtype: String,
    /// Its shape.
    pub(super) shape: Vec<usize>,
    start: u64,
    bytes: u64,
}

/// All tensors of a folder.
#[derive(Debug)]
pub(super) struct Store {
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, Stored>,
    /// Shards that the index names and that are not there.
    missing: BTreeMap<String, BTreeSet<String>>,
}

impl Store {
    /// Read the headers of a checkpoint folder.
    ///
    /// # Errors
    /// No weights, a damaged header, a file of another kind: each named, with the mend.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let mut store = Self { files: Vec::new(), tensors: BTreeMap::new(), missing: BTreeMap::new() };
        let one = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        if one.exists() {
            store.add(one)?;
            return Ok(store);
        }
        if !index.exists() {
            return Err(what::without_weights(dir));
        }
        let text = input::read_text(&index, MOST_INDEX)?;
        let wrong = |m: &str| Error::format(&index, m);
        let json: Value = serde_json::from_str(&text).map_err(|e| wrong(&format!("not JSON: {e}")))?;
        let map =
            json.get("weight_map").and_then(Value::as_object).ok_or_else(|| wrong("lacks `weight_map`"))?;
        let mut shards: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (tensor, shard) in map {
            // A shard is a file beside its index, nothing further away.
            let shard = shard.as_str().filter(|s| Path::new(s).file_name().is_some_and(|n| n == *s));
            let shard = shard.ok_or_else(|| wrong(&format!("gives `{tensor}` no file beside it")))?;
            shards.entry(shard).or_default().insert(tensor.clone());
        }
        for (shard, names) in shards {
            let path = dir.join(shard);
            if !path.exists() {
                store.missing.insert(shard.to_string(), names);
                continue;
            }
            store.add(path.clone())?;
            if let Some(lost) = names.iter().find(|n| !store.tensors.contains_key(*n)) {
                return Err(Error::format(path, format!("lacks `{lost}`, which the index says it holds")));
            }
        }
        Ok(store)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let (start, length) = what::start(&path)?;
        if let Some(what) = what::not_weights(&start, length) {
            return Err(Error::format(path, what));
        }
        let wrong = |m: String| Error::format(&path, m);
        if length < 8 {
            return Err(wrong(format!("is cut short: {length} bytes are not even a header's length")));
        }
        let mut size = [0u8; 8];
        size.copy_from_slice(&start[..8]);
        let header = u64::from_le_bytes(size);
        if header > MOST_HEADER {
            return Err(wrong("is not a safetensors file: it begins with no header".into()));
        }
        if header > length - 8 {
            return Err(wrong(format!(
                "is cut short: {length} bytes are there, the header alone takes {}",
                header + 8
            )));
        }
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        file.seek(SeekFrom::Start(8)).map_err(Error::io(&path))?;
        let mut text = vec![0u8; usize::try_from(header).unwrap_or(usize::MAX)];
        file.read_exact(&mut text).map_err(Error::io(&path))?;
        let entries: BTreeMap<String, Value> =
            serde_json::from_slice(&text).map_err(|e| wrong(format!("has a damaged header: {e}")))?;
        let data = length - 8 - header;
        let mut end = 0;
        for (name, value) in entries.into_iter().filter(|(n, _)| n != "__metadata__") {
            let entry: Entry = serde_json::from_value(value)
                .map_err(|e| wrong(format!("has a damaged header at `{name}`: {e}")))?;
            let (from, to) = entry.data_offsets;
            if from > to {
                return Err(wrong(format!("has a damaged header: `{name}` ends before it begins")));
            }
            end = end.max(to);
            let file = self.files.len();
            let stored = Stored {
                file,
                dtype: entry.dtype,
                shape: entry.shape,
                start: 8 + header + from,
                bytes: to - from,
            };
            if self.tensors.insert(name.clone(), stored).is_some() {
                return Err(wrong(format!("holds `{name}`, which another shard holds as well")));
            }
        }
        let promised = 8 + header + end;
        if end > data {
            return Err(wrong(format!(
                "is cut short: {length} bytes are there, its header promises {promised}; copy it again"
            )));
        }
        if end < data {
            return Err(wrong(format!(
                "has {} bytes too many: {length} are there, its header promises {promised}",
                data - end
            )));
        }
        self.files.push(path);
        Ok(())
    }

    /// Names of all tensors, those of missing shards among them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let lost = self.missing.values().flatten();
        self.tensors.keys().chain(lost).map(String::as_str)
    }

    /// Shards that are not there.
    pub(super) fn missing_shards(&self) -> Vec<&str> {
        self.missing.keys().map(String::as_str).collect()
    }

    /// A tensor's place.
    pub(super) fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// The shard that would hold a tensor and is not there.
    pub(super) fn lost(&self, name: &str) -> Option<&str> {
        self.missing.iter().find(|(_, names)| names.contains(name)).map(|(shard, _)| shard.as_str())
    }

    /// The file of a tensor.
    pub(super) fn path(&self, t: &Stored) -> &Path {
        &self.files[t.file]
    }

    /// The number type of a tensor.
    ///
    /// # Errors
    /// One that holds no plain weights.
    pub(super) fn dtype(&self, name: &str, t: &Stored) -> Result<Dtype> {
        let kind = Dtype::named(&t.dtype).ok_or_else(|| {
            Error::format(
                self.path(t),
                format!(
                    "`{name}` is stored as {}, which is no plain number type: a quantized checkpoint must be dequantized first",
                    t.dtype
                ),
            )
        })?;
        let count = t.shape.iter().try_fold(1u64, |n, s| n.checked_mul(*s as u64));
        if count.and_then(|n| n.checked_mul(kind.size() as u64)) != Some(t.bytes) {
            return Err(Error::format(
                self.path(t),
                format!(
                    "has a damaged header: `{name}` of shape {:?} does not take {} bytes",
                    t.shape, t.bytes
                ),
            ));
        }
        Ok(kind)
    }

    /// Visit `count` numbers from the `first` on, with their positions.
    ///
    /// # Errors
    /// As [`Store::dtype`], or when the file cannot be read.
    pub(super) fn visit(
        &self,
        name: &str,
        first: usize,
        count: usize,
        mut each: impl FnMut(usize, f64) -> Result<()>,
    ) -> Result<()> {
        let t = self.get(name).ok_or_else(|| Error::usage(format!("`{name}` is not there")))?;
        let kind = self.dtype(name, t)?;
        let size = kind.size();
        let path = self.path(t);
        let mut file = File::open(path).map_err(Error::io(path))?;
        file.seek(SeekFrom::Start(t.start + (first * size) as u64)).map_err(Error::io(path))?;
        let mut buffer = vec![0u8; (count * size).min(PIECE)];
        let mut at = first;
        while at < first + count {
            let take = (first + count - at).min(PIECE / size);
            let bytes = &mut buffer[..take * size];
            file.read_exact(bytes).map_err(Error::io(path))?;
            for (i, b) in bytes.chunks_exact(size).enumerate() {
                each(at + i, kind.read(b))?;
            }
            at += take;
        }
        Ok(())
    }
}
