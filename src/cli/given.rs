//! Flags given beside `--resume`: those that repeat the run's own configuration are fine, others contradict it.

use clap::parser::ValueSource;
use serde_json::Value;

use super::train_args::TrainArgs;
use crate::error::{Error, Result};
use crate::train::TrainConfig;

/// Flags that say nothing of what a run computes.
const FREE: [&str; 7] = ["out", "resume", "threads", "device", "profile", "quiet", "checkpoint_minutes"];

/// Where each flag's value stands in a stored configuration.
const STORED: &[(&str, &[&str])] = &[
    ("preset", &["/model/preset"]),
    ("size", &["/model/width", "/model/layers", "/model/heads", "/model/context"]),
    ("data", &["/data"]),
    ("valid", &["/data"]),
    ("tokenizer", &["/tokenizer"]),
    ("steps", &["/steps"]),
    ("init", &["/init"]),
    ("seed", &["/seed"]),
    ("batch", &["/batch"]),
    ("optimizer", &["/optimizer/rule"]),
    ("lr", &["/schedule/lr"]),
    ("precision", &["/precision"]),
    ("schedule", &["/schedule/shape"]),
    ("warmup", &["/schedule/warmup"]),
    ("lr_final", &["/schedule/final_fraction"]),
    ("beta1", &["/optimizer/beta1"]),
    ("beta2", &["/optimizer/beta2"]),
    ("momentum", &["/optimizer/momentum"]),
    ("weight_decay", &["/weight_decay"]),
    ("clip", &["/clip"]),
    ("intervene", &["/intervention/target"]),
    ("multiplier", &["/intervention/multiplier"]),
    ("hold", &["/intervention/hold"]),
    ("ramp", &["/intervention/ramp"]),
    ("maturity_threshold", &["/intervention/hold"]),
    ("telemetry", &["/telemetry_every"]),
    ("spectra_every", &["/spectra_every"]),
    ("probe", &["/probe/times/mode"]),
    ("probe_every", &["/probe/times"]),
    ("probe_like", &["/probe/times"]),
    ("probe_threshold", &["/probe/times/threshold"]),
    ("probe_budget", &["/probe/times/budget"]),
    ("probe_sequences", &["/probe/sequences"]),
    ("probe_length", &["/probe/length"]),
    ("reliance_sequences", &["/probe/reliance_sequences"]),
    ("maturity_lag", &["/probe/maturity_lag"]),
    ("eval_every", &["/eval_every"]),
    ("eval_sequences", &["/eval_sequences"]),
    ("checkpoint_every", &["/checkpoint_every"]),
    ("checkpoint_probes", &["/checkpoint_probes"]),
    ("dump_step", &["/dump_step"]),
];

/// Names of the flags that this process was given, where the verb that it was given is `command`.
fn given(command: clap::Command) -> Vec<String> {
    let words: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if words.first().is_none_or(|verb| verb != command.get_name()) {
        return Vec::new();
    }
    let command = command.args_override_self(true).allow_negative_numbers(true);
    let Ok(found) = command.try_get_matches_from(words) else { return Vec::new() };
    let typed = |id: &&clap::Id| found.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    found.ids().filter(typed).map(ToString::to_string).collect()
}

/// Refuse flags that ask for something else than what the run to be resumed was started with.
///
/// # Errors
/// [`Error::Usage`] naming the first such flag, what it asks for and what the run has.
pub fn agree(
    command: clap::Command,
    args: &TrainArgs,
    label: Option<&str>,
    stored: &TrainConfig,
    stored_label: &str,
) -> Result<()> {
    let known =
        |id: &String| !FREE.contains(&id.as_str()) && (id == "set" || id == "label" || place(id).is_some());
    let given: Vec<String> = given(command).into_iter().filter(known).collect();
    if given.is_empty() {
        return Ok(());
    }
    let json = |c: &TrainConfig| serde_json::to_value(c).map_err(|e| Error::usage(e.to_string()));
    let (asked, stored) = (json(&args.resolve()?)?, json(stored)?);
    for id in &given {
        let flag = id.replace('_', "-");
        match id.as_str() {
            "label" if label == Some(stored_label) => {}
            "label" => return Err(contradicts(&flag, &label.into(), &stored_label.into())),
            "set" => {
                for key in args.set.iter().filter_map(|s| s.split_once('=')).map(|(key, _)| key) {
                    same(&format!("set {key}"), &format!("/model/{key}"), &asked, &stored)?;
                }
            }
            id => {
                for pointer in place(id).unwrap_or_default() {
                    same(&flag, pointer, &asked, &stored)?;
                }
            }
        }
    }
    Ok(())
}

fn place(id: &str) -> Option<&'static [&'static str]> {
    STORED.iter().find(|(name, _)| *name == id).map(|(_, pointers)| *pointers)
}

fn same(flag: &str, pointer: &str, asked: &Value, stored: &Value) -> Result<()> {
    let of = |v: &Value| v.pointer(pointer).cloned().unwrap_or_default();
    let (a, b) = (of(asked), of(stored));
    if a == b { Ok(()) } else { Err(contradicts(flag, &a, &b)) }
}

fn contradicts(flag: &str, asked: &Value, stored: &Value) -> Error {
    let word = |v: &Value| if v.is_null() { "none".to_owned() } else { v.to_string() };
    let (asked, stored) = (word(asked), word(stored));
    Error::usage(format!(
        "--{flag} asks for {asked}, the run to be resumed has {stored}: leave the flag out, or start another run"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_training_flag_has_its_place() {
        let command = super::super::command();
        let train = command.find_subcommand("train").unwrap();
        for argument in train.get_arguments() {
            let id = argument.get_id().as_str();
            let known = FREE.contains(&id)
                || ["set", "label", "help", "version"].contains(&id)
                || place(id).is_some();
            assert!(known, "{id}: say in STORED where it stands, or in FREE that it is free");
        }
        for (id, _) in STORED {
            assert!(train.get_arguments().any(|a| a.get_id() == id), "{id}");
        }
    }
}
