//! A run's state on disk: written whole under another name, then renamed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::generator::Generator;
use crate::nn::stream;

const TENSORS: &str = "state.safetensors";
const STATE: &str = "state.json";

#[derive(Debug, Serialize, Deserialize)]
struct State {
    settings: Settings,
    step: u64,
}

fn folder(run: &Path) -> PathBuf {
    run.join("checkpoint")
}

fn read_state(run: &Path) -> Result<State> {
    let path = folder(run).join(STATE);
    if !path.is_file() {
        return Err(Error::format(run, "no checkpoint here: give the folder that `train --out` wrote"));
    }
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    serde_json::from_str(&text).map_err(|e| Error::format(&path, format!("not a run's state ({e})")))
}

fn read_tensors(run: &Path) -> Result<HashMap<String, Tensor>> {
    let path = folder(run).join(TENSORS);
    candle_core::safetensors::load(&path, &Device::Cpu)
        .map_err(|e| Error::format(&path, format!("cannot be read ({e})")))
}

/// Settings and steps done of the run in `run`.
///
/// # Errors
/// No checkpoint there.
pub fn settings_of(run: &Path) -> Result<(Settings, u64)> {
    let state = read_state(run)?;
    Ok((state.settings, state.step))
}

/// The averaged generator of the run in `run`.
///
/// # Errors
/// No checkpoint there, or a damaged one.
pub fn load_ema(run: &Path) -> Result<(Generator, Settings, u64)> {
    let state = read_state(run)?;
    let generator = Generator::new(state.settings.generator.clone(), &mut stream(0, 0, 0), DType::F32)?;
    let damaged = |e| Error::format(folder(run), format!("{e}: the checkpoint is damaged"));
    generator.params.load(&read_tensors(run)?, "average.").map_err(damaged)?;
    Ok((generator, state.settings, state.step))
}

impl Trainer {
    /// Replace the checkpoint in `run`.
    ///
    /// # Errors
    /// Paths that cannot be written.
    pub fn save(&self, run: &Path) -> Result<()> {
        let (final_, new, old) = (folder(run), run.join("checkpoint.new"), run.join("checkpoint.old"));
        for stale in [&new, &old] {
            if stale.exists() {
                fs::remove_dir_all(stale).map_err(Error::io(stale))?;
            }
        }
        fs::create_dir_all(&new).map_err(Error::io(&new))?;
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        tensors.extend(self.generator.params.tensors("generator."));
        tensors.extend(self.average.params.tensors("average."));
        tensors.extend(self.discriminator.params.tensors("discriminator."));
        tensors.extend(self.discriminator.projection.tensors("mixing."));
        tensors.extend(self.adam_g.tensors("adam_g.")?);
        tensors.extend(self.adam_d.tensors("adam_d.")?);
        let path = new.join(TENSORS);
        candle_core::safetensors::save(&tensors, &path)
            .map_err(|e| Error::format(&path, format!("cannot be written ({e})")))?;
        let state = State { settings: self.settings.clone(), step: self.step };
        let text = serde_json::to_string_pretty(&state).map_err(|e| Error::format(&new, e.to_string()))?;
        let path = new.join(STATE);
        fs::write(&path, text + "\n").map_err(Error::io(&path))?;
        if final_.exists() {
            fs::rename(&final_, &old).map_err(Error::io(&final_))?;
        }
        fs::rename(&new, &final_).map_err(Error::io(&final_))?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(Error::io(&old))?;
        }
        Ok(())
    }

    /// Go on from the checkpoint in `run`, which must be of this trainer's settings.
    ///
    /// # Errors
    /// No checkpoint there, other settings, a damaged file.
    pub fn restore(&mut self, run: &Path) -> Result<()> {
        let state = read_state(run)?;
        if state.settings != self.settings {
            let differs =
                "its settings are not this run's: resume with the same ones, or train into another folder";
            return Err(Error::format(folder(run), differs));
        }
        let tensors = read_tensors(run)?;
        let load = |trainer: &mut Self| -> candle_core::Result<()> {
            trainer.generator.params.load(&tensors, "generator.")?;
            trainer.average.params.load(&tensors, "average.")?;
            trainer.discriminator.params.load(&tensors, "discriminator.")?;
            trainer.discriminator.projection.load(&tensors, "mixing.")?;
            trainer.adam_g.load(&tensors, "adam_g.", &trainer.generator.params, state.step)?;
            trainer.adam_d.load(&tensors, "adam_d.", &trainer.discriminator.params, state.step)
        };
        load(self).map_err(|e| Error::format(folder(run), format!("{e}: the checkpoint is damaged")))?;
        self.step = state.step;
        Ok(())
    }
}
