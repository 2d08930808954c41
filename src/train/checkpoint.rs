//! Checkpoint folders: a Hugging Face model beside all that resuming to the same bits needs.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::cadence::CadenceState;
use super::config::TrainConfig;
use super::intervention::HoldState;
use super::moments::{Keeper, KeeperState, KeyMoments};
use super::optimizer::Optimizer;
use crate::data::Tokenizer;
use crate::error::{Error, Result};
use crate::model::hf::{Named, config_json, from_hf, to_hf, tokenizer_config_json};
use crate::model::params::Params;
use crate::model::{Decoder, ModelConfig};

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
    let part = path.with_extension("safetensors.part");
    let outcome = candle_core::safetensors::save(arrays, &part).map_err(|e| {
        Error::format(&part, format!("cannot be written: {e}; is the disk full or the folder gone?"))
    });
    let outcome = outcome.and_then(|()| {
        let file = fs::File::open(&part).map_err(Error::io(&part))?;
        file.sync_all().map_err(Error::io(&part))?;
        fs::rename(&part, path).map_err(Error::io(path))
    });
    if outcome.is_err() {
        let _ = fs::remove_file(&part);
    }
    outcome
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::format(path, e.to_string()))?;
    fs::write(path, text + "\n").map_err(Error::io(path))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|e| Error::format(path, format!("not what a checkpoint holds: {e}")))
}

/// Folder of the checkpoint after `step` steps.
pub fn folder(run: &Path, step: u32) -> PathBuf {
    run.join("checkpoints").join(format!("step-{step}"))
}

/// The newest complete checkpoint of a run.
pub fn latest(run: &Path) -> Option<(u32, PathBuf)> {
    let entries = fs::read_dir(run.join("checkpoints")).ok()?;
    entries
        .flatten()
        .filter_map(|e| {
            let step = e.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?;
            e.path().join("state.json").is_file().then(|| (step, e.path()))
        })
        .max()
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
    let part = target.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part).map_err(Error::io(&part))?;
    let values: Vec<&Tensor> = model.params.vars.iter().map(|v| v.as_tensor()).collect();
    let mut arrays = HashMap::new();
    for n in to_hf(&model.config, &values)? {
        arrays.insert(n.name, Tensor::from_vec(n.data, n.shape, &Device::Cpu)?);
    }
    save_arrays(&part.join("model.safetensors"), &arrays)?;
    write_json(&part.join("config.json"), &config_json(&model.config))?;
    tokenizer.write_tokenizer_json(&part.join("tokenizer.json"))?;
    write_json(&part.join("tokenizer_config.json"), &tokenizer_config_json(&model.config))?;
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
    write_json(&part.join("state.json"), &state)?;
    let _ = fs::remove_dir_all(&target);
    fs::rename(&part, &target).map_err(Error::io(&target))?;
    Ok(target)
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
/// When the folder lacks a file or holds another program's model.
pub fn load_model(dir: &Path) -> Result<Decoder> {
    let path = dir.join("config.json");
    let json: serde_json::Value = read_json(&path)?;
    let ours = json.get("growthpath").cloned().unwrap_or_default();
    let config: ModelConfig = serde_json::from_value(ours)
        .map_err(|_| Error::format(&path, "was not written by growthpath (no `growthpath` section)"))?;
    let arrays = load_arrays(&dir.join("model.safetensors"))?;
    let params = from_hf(&config, &arrays, &Device::Cpu)?;
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

/// Read a checkpoint back.
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
