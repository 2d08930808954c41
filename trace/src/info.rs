//! `run.json`: what a run is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::disk;
use crate::error::{Error, Result};
use crate::names::RUN_FILE;
use crate::seal;
use crate::shown::shown_label;
use crate::version::Versioned;

/// Version of the tables and of the JSON files; a reader takes this one only. It is raised when something recorded comes to
/// mean something else. A column that may be undefined is added without: where a file lacks it, it is undefined.
pub const SCHEMA_VERSION: u32 = 2;

/// Larger descriptions are refused unread: a million probe times take 7 MB, and JSON swells in memory.
const RUN_LIMIT: u64 = 16 << 20;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Being trained, or its process died without saying so.
    Running,
    /// All planned steps are done.
    Complete,
    /// Stopped because the loss or a gradient ceased to be finite.
    Diverged,
    /// Stopped on request before the end.
    Interrupted,
}

/// What a run is: written when it starts, completed when it ends. Fields unknown to this version are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Names this run among all: its checkpoints carry it. Empty in runs of older programs.
    #[serde(default)]
    pub id: String,
    /// How the run stands.
    pub status: Status,
    /// Name of the arm or of the run, for figures and tables; may be empty.
    #[serde(default)]
    pub label: String,
    /// The whole configuration of the training program.
    pub config: serde_json::Value,
    /// Seeds by purpose, for instance `model` and `data`.
    #[serde(default)]
    pub seeds: BTreeMap<String, u64>,
    /// blake3 of each data file by role, in hex, for instance `train` and `valid`.
    #[serde(default)]
    pub data_blake3: BTreeMap<String, String>,
    /// blake3 of the tokenizer, in hex.
    #[serde(default)]
    pub tokenizer_blake3: Option<String>,
    /// The device trained on, in words.
    #[serde(default)]
    pub device: String,
    /// Versions of the program and of what it rests on, by name.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// When the run was created, seconds since 1970 UTC.
    pub created_unix: u64,
    /// When the run was finished, seconds since 1970 UTC.
    #[serde(default)]
    pub finished_unix: Option<u64>,
    /// Steps that the run is to take.
    pub steps_planned: u32,
    /// Layers of the model.
    pub layers: u16,
    /// Heads of each layer.
    pub heads: u16,
    /// Names of the layers from the bottom; empty for plain numbers.
    #[serde(default)]
    pub layer_names: Vec<String>,
    /// Names of the heads of a layer; empty for plain numbers.
    #[serde(default)]
    pub head_names: Vec<String>,
    /// Every how many steps `heads` and `writes` are recorded (steps divisible by it); 0 for never, `None` if the
    /// run does not say.
    #[serde(default)]
    pub telemetry_every: Option<u32>,
    /// Steps at which the run was resumed, in the order of events.
    #[serde(default)]
    pub resumed: Vec<u32>,
    /// Anything else worth keeping, by name.
    #[serde(default)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

impl RunInfo {
    /// A run about to start now; the remaining fields are empty, to be filled in.
    pub fn new(config: serde_json::Value, steps_planned: u32, layers: u16, heads: u16) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            id: String::new(),
            status: Status::Running,
            label: String::new(),
            config,
            seeds: BTreeMap::new(),
            data_blake3: BTreeMap::new(),
            tokenizer_blake3: None,
            device: String::new(),
            versions: BTreeMap::new(),
            created_unix: unix_now(),
            finished_unix: None,
            steps_planned,
            layers,
            heads,
            layer_names: Vec::new(),
            head_names: Vec::new(),
            telemetry_every: None,
            resumed: Vec::new(),
            extra: BTreeMap::new(),
        }
    }

    /// Whether the run is a series of checkpoints (`extra.series` lists them): probed one after the other, no training seen,
    /// so no rows of `steps`, `heads` and `writes`.
    pub fn is_series(&self) -> bool {
        self.extra.contains_key("series")
    }

    /// Reads `run.json` of a run directory, checking that the directory is a run of this schema version.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        if !dir.exists() {
            return Err(Error::Missing { path: dir.to_owned() });
        }
        let path = dir.join(RUN_FILE);
        if !path.is_file() {
            return Err(Error::NotARun { path: dir.to_owned() });
        }
        let bytes = disk::read_whole(&path, RUN_LIMIT)?;
        let info: Self = parse_json(&path, &bytes)?;
        // Runs without an id were written before hashes were.
        let hash = if info.id.is_empty() { seal::Hash::Optional } else { seal::Hash::Required };
        seal::check(&path, &bytes, hash)?;
        Ok(info.shown())
    }

    /// Names as they may be shown: one line, bounded, without control characters, whoever wrote the file.
    fn shown(mut self) -> Self {
        self.label = shown_label(&self.label);
        self.device = shown_label(&self.device);
        self.tokenizer_blake3 = self.tokenizer_blake3.as_deref().map(shown_label);
        let hashes = std::mem::take(&mut self.data_blake3);
        self.data_blake3 = hashes.into_iter().map(|(k, v)| (shown_label(&k), shown_label(&v))).collect();
        for name in self.layer_names.iter_mut().chain(&mut self.head_names) {
            *name = shown_label(name);
        }
        self
    }

    /// Writes `run.json`, atomically and with its hash.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(RUN_FILE);
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|source| Error::Json { path: path.clone(), source })?;
        disk::write_whole(&path, seal::seal(&text).as_bytes())
    }

    /// Changes the JSON of a run's `run.json`, atomically, and hashes it anew: for tools that mend a run by hand.
    ///
    /// # Errors
    ///
    /// As [`crate::Run::open`] for the file as it stands, except for its hash; [`Error::Io`].
    pub fn rewrite(dir: &Path, change: impl FnOnce(&mut serde_json::Value)) -> Result<()> {
        let path = dir.join(RUN_FILE);
        let mut value: serde_json::Value = read_json(&path, RUN_LIMIT)?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove(seal::FIELD);
        }
        change(&mut value);
        let text = serde_json::to_string_pretty(&value);
        let text = text.map_err(|source| Error::Json { path: path.clone(), source })?;
        disk::write_whole(&path, seal::seal(&text).as_bytes())
    }
}

/// A name that no other run has: made of the time, the process and the place.
pub(crate) fn fresh_id(dir: &Path) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let text = format!("{now} {} {}", std::process::id(), dir.display());
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

/// Seconds since 1970 UTC; 0 on a machine whose clock stands before that.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Reads a JSON file of at most `limit` bytes that carries `schema_version`, refusing other versions before anything
/// else.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path, limit: u64) -> Result<T> {
    parse_json(path, &disk::read_whole(path, limit)?)
}

/// [`read_json`] of a file's bytes.
fn parse_json<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    let json = |source| Error::Json { path: path.to_owned(), source };
    let found: Versioned = serde_json::from_slice(bytes).map_err(json)?;
    if found.schema_version.0 != SCHEMA_VERSION.to_string() {
        let (path, found) = (path.to_owned(), found.schema_version.0);
        return Err(Error::SchemaVersion { path, found, supported: SCHEMA_VERSION });
    }
    serde_json::from_slice(bytes).map_err(json)
}
