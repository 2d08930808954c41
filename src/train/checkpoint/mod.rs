//! Checkpoint folders: a Hugging Face model beside all that resuming to the same bits needs.

mod choose;
mod seal;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use growthpath_trace::disk;
use serde::{Deserialize, Serialize};

pub use choose::{Choice, Found, KEPT, Skipped, newest, problems, prune};
use seal::Seal;

use super::cadence::CadenceState;
use super::config::TrainConfig;
use super::intervention::HoldState;
use super::moments::{Keeper, KeeperState, KeyMoments};
use super::optimizer::Optimizer;
use crate::data::Tokenizer;
use crate::error::{Error, Result};
use crate::input;
use crate::model::hf::{Named, config_json, from_hf, to_hf, tokenizer_config_json};
use crate::model::params::Params;
use crate::model::{Decoder, ModelConfig};

/// Compare the weights of a folder that this program sealed with their hash; folders of others have no seal.
///
/// # Errors
/// [`Error::Format`] naming the file that is missing or was changed.
pub fn unchanged_weights(dir: &Path) -> Result<()> {
    if !dir.join(seal::FILE).exists() {
        return Ok(());
    }
    Seal::read(dir)?.check_file(dir, "model.safetensors")
}

/// `state.json`: the small things.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: u32,
    /// Where the intervention stands.
    pub hold: HoldState,
    /// Which key moments are kept, and for what.
    pub moments: KeeperState,
    /// Where the choice of probe times stands.
    pub cadence: CadenceState,
    /// Steps done at the last probe.
    pub last_probe: Option<u32>,
    /// Learning rate times multiplier of each layer's W_Q and W_K, summed since the last probe.
    pub eta: Vec<f64>,
}

/// What a checkpoint holds beside model and optimizer.
pub struct Beside<'a> {
    /// `id` of the run.
    pub run: &'a str,
    /// Whether nobody asked for it.
    pub automatic: bool,
    /// When to measure.
    pub cadence: &'a CadenceState,
    /// Key moments.
    pub keeper: &'a Keeper,
    /// Steps done at the last probe.
    pub last_probe: Option<u32>,
    /// Parameters at the last probe; empty at a probe.
    pub probed: &'a [Tensor],
    /// [`State::eta`].
    pub eta: &'a [f64],
}

/// Write arrays to a safetensors file: whole, or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn save_arrays(path: &Path, arrays: &HashMap<String, Tensor>) -> Result<()> {
    disk::write_whole_with(path, |part| {
        candle_core::safetensors::save(arrays, part).map_err(|e| {
            Error::format(path, format!("cannot be written: {e}; is the disk full or the folder gone?"))
        })
    })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::format(path, e.to_string()))?;
    Ok(disk::write_whole(path, (text + "\n").as_bytes())?)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = input::read_text(path, input::SMALL_FILE)?;
    serde_json::from_str(&text).map_err(|e| Error::format(path, format!("not what a checkpoint holds: {e}")))
}

/// Folder of the checkpoint after `step` steps.
pub fn folder(run: &Path, step: u32) -> PathBuf {
    run.join("checkpoints").join(format!("step-{step}"))
}

/// Write a checkpoint; it appears under its name only when it is whole.
///
/// # Errors
/// When the folder cannot be written.
pub fn save(
    run: &Path,
    step: u32,
    model: &Decoder,
    optimizer: &Optimizer,
    tokenizer: &Tokenizer,
    beside: &Beside<'_>,
) -> Result<PathBuf> {
    let target = folder(run, step);
    disk::write_folder(&target, |part| {
        write_model(part, model, tokenizer)?;
        write_state(part, step, optimizer, beside)?;
        Seal::of(part, beside.run, step, beside.automatic)?.write(part)
    })?;
    Ok(target)
}

/// Hugging Face's part.
fn write_model(part: &Path, model: &Decoder, tokenizer: &Tokenizer) -> Result<()> {
    let values: Vec<&Tensor> = model.params.vars.iter().map(|v| v.as_tensor()).collect();
    let mut arrays = HashMap::new();
    for n in to_hf(&model.config, &values)? {
        arrays.insert(n.name, Tensor::from_vec(n.data, n.shape, &Device::Cpu)?);
    }
    save_arrays(&part.join("model.safetensors"), &arrays)?;
    write_json(&part.join("config.json"), &config_json(&model.config))?;
    write_json(&part.join("tokenizer_config.json"), &tokenizer_config_json(&model.config))?;
    Ok(disk::write_whole(&part.join("tokenizer.json"), tokenizer.json()?.as_bytes())?)
}

/// What resuming needs beside it.
fn write_state(part: &Path, step: u32, optimizer: &Optimizer, beside: &Beside<'_>) -> Result<()> {
    let mut arrays = HashMap::new();
    for (i, m) in optimizer.moments.iter().enumerate() {
        for (name, v) in [("m", &m.m), ("v", &m.v)] {
            if !v.is_empty() {
                arrays.insert(format!("{name}.{i}"), Tensor::from_slice(v, v.len(), &Device::Cpu)?);
            }
        }
    }
    for (i, p) in beside.probed.iter().enumerate() {
        arrays.insert(format!("probed.{i}"), p.flatten_all()?);
    }
    for m in beside.keeper.moments() {
        for (l, triangle) in m.layers.iter().enumerate() {
            let t = Tensor::from_slice(triangle, triangle.len(), &Device::Cpu)?;
            arrays.insert(format!("key_moment.{}.{l}", m.step), t);
        }
    }
    save_arrays(&part.join("optimizer.safetensors"), &arrays)?;
    let state = State {
        step,
        hold: optimizer.hold,
        moments: beside.keeper.state(),
        cadence: beside.cadence.clone(),
        last_probe: beside.last_probe,
        eta: beside.eta.to_vec(),
    };
    write_json(&part.join("state.json"), &state)
}

/// Arrays of a safetensors file as float32.
///
/// # Errors
/// When the file cannot be read or is not safetensors.
pub fn load_arrays(path: &Path) -> Result<HashMap<String, Named>> {
    if !path.is_file() {
        return Err(Error::format(path, "no such file; a checkpoint folder holds model.safetensors"));
    }
    let tensors = candle_core::safetensors::load(path, &Device::Cpu)
        .map_err(|e| Error::format(path, format!("not a readable safetensors file: {e}")))?;
    let mut out = HashMap::new();
    for (name, t) in tensors {
        let data = t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        out.insert(name.clone(), Named { name, shape: t.dims().to_vec(), data });
    }
    Ok(out)
}

/// The model of a checkpoint that growthpath wrote.
///
/// # Errors
/// When the folder lacks a file, holds another program's model, or its files are not those that were sealed.
pub fn load_model(dir: &Path) -> Result<Decoder> {
    if dir.join(seal::FILE).exists() {
        let seal = Seal::read(dir)?;
        ["config.json", "model.safetensors"].iter().try_for_each(|f| seal.check_file(dir, f))?;
    }
    let path = dir.join("config.json");
    let json: serde_json::Value = read_json(&path)?;
    let ours = json.get("growthpath").cloned().unwrap_or_default();
    let config: ModelConfig = serde_json::from_value(ours)
        .map_err(|_| Error::format(&path, "was not written by growthpath (no `growthpath` section)"))?;
    let arrays = load_arrays(&dir.join("model.safetensors"))?;
    let params = from_hf(&config, &arrays, &Device::Cpu).map_err(|e| match e {
        // What a file lacks is no fault of the command line.
        Error::Usage(m) => Error::format(dir.join("model.safetensors"), m),
        e => e,
    })?;
    Decoder::from_params(config, params)
}

/// A run's state at a checkpoint.
pub struct Restored {
    /// The model.
    pub model: Decoder,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The small things.
    pub state: State,
    /// The model at the last probe, where that lies further back.
    pub probed: Option<Decoder>,
    /// `optimizer.safetensors`, for [`moment`].
    pub moments: HashMap<String, Tensor>,
}

/// The key moments of `step` among a checkpoint's arrays.
///
/// # Errors
/// When they are not there.
pub fn moment(arrays: &HashMap<String, Tensor>, dir: &Path, step: u32) -> Result<KeyMoments> {
    let mut layers = Vec::new();
    while let Some(t) = arrays.get(&format!("key_moment.{step}.{}", layers.len())) {
        layers.push(t.to_vec1::<f32>()?);
    }
    if layers.is_empty() {
        let path = dir.join("optimizer.safetensors");
        return Err(Error::format(path, format!("lacks `key_moment.{step}.0`: take an older checkpoint")));
    }
    Ok(KeyMoments { step, layers })
}

/// Read back a checkpoint that [`newest`] has found.
///
/// # Errors
/// A missing or damaged file, or one that does not belong to `config`.
pub fn load(dir: &Path, config: &TrainConfig) -> Result<Restored> {
    let model = load_model(dir)?;
    if model.config != config.model {
        return Err(Error::format(dir.join("config.json"), "is not the model of this run's run.json"));
    }
    let state: State = read_json(&dir.join("state.json"))?;
    let mut optimizer = Optimizer::new(config, &model.params);
    optimizer.hold = state.hold;
    let path = dir.join("optimizer.safetensors");
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu)
        .map_err(|e| Error::format(&path, format!("not a readable safetensors file: {e}")))?;
    let need = |name: &str| {
        tensors
            .get(name)
            .ok_or_else(|| Error::format(&path, format!("lacks `{name}`: take an older checkpoint")))
    };
    for (i, m) in optimizer.moments.iter_mut().enumerate() {
        for (name, v) in [("m", &mut m.m), ("v", &mut m.v)] {
            if !v.is_empty() {
                let got = need(&format!("{name}.{i}"))?.to_vec1::<f32>()?;
                if got.len() != v.len() {
                    return Err(Error::format(
                        &path,
                        format!("`{name}.{i}` has {} values, not {}", got.len(), v.len()),
                    ));
                }
                *v = got;
            }
        }
    }
    let probed = match state.last_probe {
        Some(at) if at != state.step => {
            let specs = crate::model::params::specs(&config.model);
            let var = |(i, s): (usize, &crate::model::params::Spec)| -> Result<Var> {
                Ok(Var::from_tensor(&need(&format!("probed.{i}"))?.reshape(s.shape.as_slice())?)?)
            };
            let vars = specs.iter().enumerate().map(var).collect::<Result<_>>()?;
            Some(Decoder::from_params(config.model.clone(), Params { specs, vars })?)
        }
        _ => None,
    };
    Ok(Restored { model, optimizer, state, probed, moments: tensors })
}
