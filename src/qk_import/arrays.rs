//! Whole arrays of a checkpoint folder as float32, one at a time.

use std::path::Path;

use serde_json::Value;

use super::store::Store;
use super::{config, what};
use crate::error::{Error, Result};
use crate::input;
use crate::model::hf::Named;

/// `config.json` of a checkpoint folder.
///
/// # Errors
/// What the path is instead of a checkpoint folder, or a file that is not JSON.
pub fn read_config(dir: &Path) -> Result<Value> {
    what::check(dir)?;
    let path = dir.join("config.json");
    let text = input::read_text(&path, input::SMALL_FILE)?;
    config::parse(&text).map_err(|e| Error::format(&path, format!("not JSON: {e}")))
}

/// The arrays of a checkpoint folder; opening reads headers alone.
#[derive(Debug)]
pub struct Arrays(Store);

impl Arrays {
    /// Open a folder with one safetensors file or shards and their index.
    ///
    /// # Errors
    /// No weights, a missing shard, a damaged or foreign file.
    pub fn open(dir: &Path) -> Result<Self> {
        let store = Store::open(dir)?;
        match store.missing_shards().first() {
            Some(shard) => Err(Error::format(dir, format!("the shard `{shard}` is missing: download it"))),
            None => Ok(Self(store)),
        }
    }

    /// Names of all arrays.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names()
    }

    /// Whether there is an array of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    /// An array as float32: exact from 16 and 32 bits, rounded from float64.
    ///
    /// # Errors
    /// A name that is not there, a number type that holds no plain weights, a value that is not finite.
    pub fn read(&self, name: &str) -> Result<Named> {
        let stored =
            self.0.get(name).ok_or_else(|| Error::usage(format!("the checkpoint lacks `{name}`")))?;
        let wrong = |m: String| Error::format(self.0.path(stored), m);
        if self.0.dtype(name, stored)?.needs_scale() {
            return Err(wrong(format!(
                "`{name}` is stored as {}: dequantize the checkpoint first",
                stored.dtype
            )));
        }
        let count = stored.shape.iter().product();
        let mut data = Vec::with_capacity(count);
        self.0.visit(name, 0, count, |i, v| {
            // Rounded here on purpose: training is in float32.
            let v = v as f32;
            if !v.is_finite() {
                return Err(wrong(format!("`{name}` holds {v} at position {i}; did training diverge?")));
            }
            data.push(v);
            Ok(())
        })?;
        Ok(Named { name: name.to_string(), shape: stored.shape.clone(), data })
    }
}
