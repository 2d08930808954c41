//! What `run.json` says of a run.

use growthpath_trace::RunInfo;

use super::cadence::{RULE, RULE_KEY};
use super::config::TrainConfig;
use super::device::Device;
use crate::data::Dataset;
use crate::data::lookback::bigram_bound;
use crate::error::{Error, Result};
use crate::tables::shell_word;

/// The version that the workspace's Cargo.toml pins.
const CANDLE: &str = "0.11.1";

/// Description of a run about to start.
///
/// # Errors
/// When the configuration cannot be stored.
pub fn describe(config: &TrainConfig, data: &Dataset, label: &str, device: &Device) -> Result<RunInfo> {
    let (layers, heads) = (config.model.layers as u16, config.model.heads as u16);
    let json = serde_json::to_value(config).map_err(|e| Error::usage(e.to_string()))?;
    let mut info = RunInfo::new(json, config.steps, layers, heads);
    info.label = label.to_string();
    info.seeds.insert("model".into(), config.seed);
    info.seeds.insert("data".into(), config.seed);
    let d = data.info();
    info.data_blake3.insert("streams".into(), d.fingerprint.clone());
    info.tokenizer_blake3 = Some(d.tokenizer_fingerprint.clone());
    info.device = device.describe();
    info.versions.insert("growthpath".into(), env!("CARGO_PKG_VERSION").into());
    info.versions.insert("candle-core".into(), CANDLE.into());
    info.telemetry_every = Some(config.telemetry_every);
    let (all, body) = crate::model::params::count(&config.model);
    info.extra.insert("parameters".into(), all.into());
    info.extra.insert("parameters_without_embeddings".into(), body.into());
    info.extra.insert(RULE_KEY.into(), RULE.into());
    info.extra.insert("data".into(), serde_json::to_value(d).unwrap_or_default());
    let bound = bigram_bound(&data.eval_windows(config.eval_sequences)?);
    info.extra.insert("loss_without_looking_back".into(), bound.into());
    info.extra.insert("command".into(), command_line().into());
    Ok(info)
}

/// The command that this program was started with, as a shell takes it.
pub(crate) fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|a| shell_word(a.to_string_lossy().into_owned()));
    std::iter::once("growthpath".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::CANDLE;

    #[test]
    fn the_recorded_version_of_candle_is_the_pinned_one() {
        let pinned = format!("candle-core = {{ version = \"={CANDLE}\"");
        assert!(include_str!("../../Cargo.toml").contains(&pinned));
    }
}
