//! `tokens.safetensors`: the token ids that probes, reliance and evaluations are measured on.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use growthpath_trace::input;

use super::checkpoint::save_arrays;
use crate::data::Batch;
use crate::error::{Error, Result};

/// Name of the file in a run directory.
pub const FILE: &str = "tokens.safetensors";

/// Write the batches, `NAME.inputs` and `NAME.targets` each `[sequences, tokens]` of u32; whole or not at all.
///
/// Returns the file's blake3 in hex.
///
/// # Errors
/// When the file cannot be written or read back.
pub fn save(run: &Path, batches: &[(&str, Option<&Batch>)]) -> Result<String> {
    let mut arrays = HashMap::new();
    for (name, batch) in batches {
        let Some(b) = batch else { continue };
        for (side, ids) in [("inputs", &b.inputs), ("targets", &b.targets)] {
            let t = Tensor::from_slice(ids, (b.rows, b.context), &Device::Cpu)?;
            arrays.insert(format!("{name}.{side}"), t);
        }
    }
    let path = run.join(FILE);
    save_arrays(&path, &arrays)?;
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

/// Ids of the measured sequences take megabytes.
const LARGEST: u64 = 1 << 30;

/// What is wrong with a run's file; nothing where the run has none.
pub fn problem(run: &growthpath_trace::Run) -> Option<String> {
    let wanted = run.info().extra.get("tokens_blake3")?.as_str()?;
    let path = run.dir().join(FILE);
    let open = input::open(&path, LARGEST).map(|(file, _)| file);
    let hash = open.and_then(|f| Ok(blake3::Hasher::new().update_reader(f)?.finalize()));
    match hash {
        Ok(hash) if hash.to_hex().as_str() == wanted => None,
        Ok(_) => Some("was changed after it was written: its hash is another one".into()),
        Err(e) => Some(format!("cannot be read: {e}")),
    }
}
