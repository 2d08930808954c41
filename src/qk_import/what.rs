//! What a path is when it is not a checkpoint folder: every usual mix-up, with the mend.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// What a file holds, by its first bytes; none where it may be safetensors.
pub(super) fn not_weights(start: &[u8], length: u64) -> Option<&'static str> {
    let text = |t: &str| start.get(..t.len()).is_some_and(|s| s.eq_ignore_ascii_case(t.as_bytes()));
    let printable = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e);
    // A safetensors file holds the length of its header, whose upper bytes are zero, and then JSON.
    if start.get(8) == Some(&b'{') && start[5..8] == [0; 3] {
        return None;
    }
    if length == 0 {
        return Some("is empty: copy or download it again");
    }
    if start.starts_with(b"version https://git-lfs") {
        return Some("is a Git LFS pointer, not the weights: run `git lfs pull` in the repository");
    }
    if text("<!doctype") || text("<html") || text("<?xml") {
        return Some("is a web page, not weights: download the file itself, not the page about it");
    }
    if start.starts_with(b"GGUF") {
        return Some("is a GGUF file: take the model's safetensors checkpoint, or convert it to one");
    }
    if start.starts_with(b"PK\x03\x04") || start.starts_with(&[0x80]) && start.get(1).is_some_and(|v| *v < 6)
    {
        return Some(PICKLE);
    }
    if start.len() >= 8 && start[..8].iter().all(printable) {
        return Some("is a text file, not weights: is it a path or a message that was saved in their place?");
    }
    None
}

const PICKLE: &str = "is a PyTorch pickle, which can run code when opened and is not read here: save the weights as safetensors \
                      (`model.save_pretrained(DIR)`, or `safetensors.torch.save_file(state_dict, \"model.safetensors\")`)";

/// What programs that download call GPT-2 by one word.
const HUB_NAMES: [&str; 4] = ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"];

/// The first bytes of a file, and its length.
pub(super) fn start(path: &Path) -> Result<(Vec<u8>, u64)> {
    // Looked at before it is opened: opening a pipe waits for its other end.
    if !fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Err(Error::format(path, "is no regular file"));
    }
    let file = fs::File::open(path).map_err(Error::io(path))?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes).map_err(Error::io(path))?;
    Ok((bytes, length))
}

/// Whether `path` is a checkpoint folder as far as its outside tells.
///
/// # Errors
/// What it is instead, with the mend.
pub(super) fn check(path: &Path) -> Result<()> {
    let say = |m: String| Err(Error::format(path, m));
    if !path.exists() {
        let text = path.display().to_string();
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() == 2 && parts.iter().all(|p| !p.is_empty() && !p.starts_with('.')) {
            return say(format!(
                "no such folder; growthpath does not download: for a model of the Hugging Face hub run \
                 `hf download {text} --local-dir DIR` and give DIR"
            ));
        }
        if HUB_NAMES.contains(&text.as_str()) {
            return say(format!(
                "no such checkpoint folder; growthpath does not download: run `hf download openai-community/{text} --local-dir DIR` \
                 and give DIR"
            ));
        }
        return say("no such checkpoint folder".into());
    }
    if path.is_file() {
        return file(path);
    }
    if path.join("config.json").is_file() {
        return Ok(());
    }
    folder(path)
}

fn file(path: &Path) -> Result<()> {
    let (bytes, length) = start(path)?;
    if let Some(what) = not_weights(&bytes, length).filter(|_| !path.ends_with("config.json")) {
        return Err(Error::format(path, what));
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Err(Error::format(path, format!("is a file: give its folder, {}", parent.display())))
}

/// A folder without `config.json`.
fn folder(path: &Path) -> Result<()> {
    let say = |m: String| Err(Error::format(path, m));
    let names = names(path)?;
    let has = |n: &str| names.iter().any(|x| x == n);
    let ending = |e: &[&str]| names.iter().find(|n| e.iter().any(|e| n.ends_with(e)));
    if has("run.json") {
        let checkpoints = path.join("checkpoints");
        let finished = names_of_folders(&checkpoints).into_iter();
        let newest = finished.filter_map(|n| Some((super::order::step_in_name(&n)?, n))).max();
        return match newest {
            Some((_, n)) => say(format!(
                "is a run, not a checkpoint: give one of its checkpoints, such as {}",
                checkpoints.join(n).display()
            )),
            None => say(format!("is a run without a finished checkpoint in {}", checkpoints.display())),
        };
    }
    if has("adapter_config.json") || has("adapter_model.safetensors") || has("adapter_model.bin") {
        return say(
            "is a LoRA adapter, not a model: merge it into its base first (peft: `model.merge_and_unload().save_pretrained(DIR)`)"
                .into(),
        );
    }
    if has("snapshots") {
        let commits = names_of_folders(&path.join("snapshots"));
        let which = commits.first().map_or("snapshots/<commit>".into(), |c| format!("snapshots/{c}"));
        return say(format!("is the root of a hub cache entry: give {}", path.join(which).display()));
    }
    if let Some(n) = names.iter().find(|n| n.starts_with("models--")) {
        return say(format!("is a hub cache: give a model's commit in it, such as {n}/snapshots/<commit>"));
    }
    if let Some(n) = ending(&[".gguf"]) {
        return say(format!("holds `{n}`, a GGUF file: take the model's safetensors checkpoint"));
    }
    if let Some(n) = ending(&[".pt", ".pth", ".ckpt", ".bin"]) {
        return say(format!("holds `{n}`, a PyTorch pickle, and no config.json: {}", convert(n)));
    }
    let steps = names_of_folders(path);
    if let Some(s) = steps.iter().find(|s| super::order::step_in_name(s).is_some()) {
        return say(format!("is a folder of checkpoints: give them, such as {}", path.join(s).display()));
    }
    if has("model.safetensors") || has("model.safetensors.index.json") {
        return say("holds weights but no config.json: copy the model's config.json beside them".into());
    }
    say("holds neither config.json nor model.safetensors: a checkpoint folder holds both".into())
}

/// How to make a checkpoint folder of a pickle.
pub(super) fn convert(name: &str) -> String {
    format!(
        "convert it once in Python where you trust it: `safetensors.torch.save_file({{k: v.contiguous() for k, v in \
         state.items()}}, \"model.safetensors\")` with the state dict of `torch.load(\"{name}\", weights_only=True)` (nanoGPT \
         keeps it under `model`), beside a config.json that names the `model_type`"
    )
}

/// Why a checkpoint folder has no weights that can be read.
pub(super) fn without_weights(dir: &Path) -> Error {
    let Ok(names) = names(dir) else { return Error::format(dir, "cannot be listed") };
    let ending = |e: &[&str]| names.iter().find(|n| e.iter().any(|e| n.ends_with(e))).cloned();
    if let Some(n) = ending(&[".gguf"]) {
        return Error::format(
            dir,
            format!("holds `{n}`, a GGUF file: take the model's safetensors checkpoint"),
        );
    }
    if names.iter().any(|n| n == "adapter_model.safetensors" || n == "adapter_config.json") {
        return Error::format(dir, "is a LoRA adapter, not a model: merge it into its base first");
    }
    if let Some(n) = ending(&[".safetensors"]) {
        return Error::format(
            dir,
            format!("holds `{n}` but no model.safetensors: rename it if that is the model"),
        );
    }
    if let Some(n) = ending(&[".bin", ".pt", ".pth", ".ckpt"]) {
        return Error::format(
            dir,
            format!("holds `{n}`, a PyTorch pickle, and no model.safetensors: {}", convert(&n)),
        );
    }
    Error::format(dir.join("model.safetensors"), "no such file; a checkpoint folder holds model.safetensors")
}

fn names(path: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(path).map_err(Error::io(path))?;
    let mut all: Vec<String> =
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    Ok(all)
}

fn names_of_folders(path: &Path) -> Vec<String> {
    let all = names(path).unwrap_or_default();
    all.into_iter().filter(|n| path.join(n).is_dir()).collect()
}
