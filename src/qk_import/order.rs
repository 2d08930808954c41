//! The step of a checkpoint, and checkpoints in the order of training.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// Words before a number in a folder's name that make it a step.
const WORDS: [&str; 8] =
    ["global_step", "global-step", "step", "checkpoint", "ckpt", "iteration", "iter", "update"];

/// The step in a name such as `step-200`, `checkpoint-1000`, `step3000` or `iter_0000500`.
pub(super) fn step_in_name(name: &str) -> Option<u64> {
    let lower = name.to_ascii_lowercase();
    let digits = lower.len() - lower.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (word, number) = lower.split_at(lower.len() - digits);
    let word = word.trim_end_matches(['-', '_', '.', '=']);
    WORDS.iter().any(|w| word.ends_with(w)).then(|| number.parse().ok()).flatten()
}

/// The step of a checkpoint folder: of our `state.json`, of the Trainer's `trainer_state.json`, or in its name.
pub(super) fn step_of(dir: &Path) -> Option<u64> {
    let within = |file: &str, key: &str| -> Option<u64> {
        let text = std::fs::read_to_string(dir.join(file)).ok()?;
        serde_json::from_str::<Value>(&text).ok()?.get(key)?.as_u64()
    };
    within("state.json", "step")
        .or_else(|| within("trainer_state.json", "global_step"))
        .or_else(|| step_in_name(&dir.canonicalize().ok()?.file_name()?.to_string_lossy()))
}

/// Put checkpoints in order of training; the shell sorts step-1000 before step-200. The second value says what was done.
///
/// # Errors
/// Steps that fall, where some checkpoint tells no step: the order cannot be mended then.
pub fn in_order(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Option<String>)> {
    let steps: Vec<Option<u64>> = paths.iter().map(|p| step_of(p)).collect();
    let known: Vec<(u64, &PathBuf)> =
        steps.iter().zip(paths).filter_map(|(s, p)| s.map(|s| (s, p))).collect();
    if known.windows(2).all(|w| w[0].0 <= w[1].0) {
        return Ok((paths.to_vec(), None));
    }
    if known.len() < paths.len() {
        let at = known.windows(2).find(|w| w[0].0 > w[1].0).map_or((known[0], known[0]), |w| (w[0], w[1]));
        return Err(Error::usage(format!(
            "{} (step {}) stands before {} (step {}), and not every checkpoint tells its step: give them in order of training",
            at.0.1.display(),
            at.0.0,
            at.1.1.display(),
            at.1.0
        )));
    }
    let mut sorted = known;
    sorted.sort_by_key(|k| k.0);
    let note = format!(
        "taken in order of their steps: {}",
        sorted.iter().map(|k| k.0.to_string()).collect::<Vec<_>>().join(", ")
    );
    Ok((sorted.into_iter().map(|k| k.1.clone()).collect(), Some(note)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_found_in_usual_names() {
        for (name, step) in [
            ("step-200", Some(200)),
            ("checkpoint-1000", Some(1000)),
            ("step3000", Some(3000)),
            ("iter_0000500", Some(500)),
            ("run2_global_step40", Some(40)),
            ("Qwen2", None),
            ("pythia-160m", None),
            ("model-7", None),
            ("step", None),
        ] {
            assert_eq!(step_in_name(name), step, "{name}");
        }
    }
}
