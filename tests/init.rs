//! `train --init`: the weights of a checkpoint as a run's first ones, or a refusal that says what does not fit.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use growthpath::train::checkpoint::load_arrays;
use serde_json::{Value, json};

fn growthpath(arguments: &[&str]) -> (Option<i32>, String) {
    let done = Command::cargo_bin("growthpath").unwrap().args(arguments).output().unwrap();
    let text = [done.stdout, done.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    (done.status.code(), text)
}

fn train(out: &Path, more: &[&str]) -> (Option<i32>, String) {
    let few = ["--steps", "2", "--probe-every", "2", "--reliance-sequences", "0", "--eval-sequences", "2"];
    let out = ["train", "--quiet", "--device", "cpu", "--checkpoint-probes", "--out", out.to_str().unwrap()];
    growthpath(&[&out[..], &few, more].concat())
}

/// A small trained run's last checkpoint.
fn checkpoint(dir: &Path, preset: &str, more: &[&str]) -> PathBuf {
    let run = dir.join(format!("{preset}-source"));
    let small = ["--preset", preset, "--size", "nano", "--set", "layers=2", "--set", "context=32"];
    let (code, text) = train(&run, &[&small[..], more].concat());
    assert_eq!(code, Some(0), "{text}");
    run.join("checkpoints/step-2")
}

fn same_weights(a: &Path, b: &Path) {
    let (a, b) = (
        load_arrays(&a.join("model.safetensors")).unwrap(),
        load_arrays(&b.join("model.safetensors")).unwrap(),
    );
    assert_eq!(a.len(), b.len());
    for (name, x) in a {
        assert!(x == b[&name], "{name}");
    }
}

fn edit_config(checkpoint: &Path, edit: impl Fn(&mut Value)) {
    let path = checkpoint.join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    // As another program would have written it.
    config.as_object_mut().unwrap().remove("growthpath");
    edit(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

#[test]
fn a_run_begins_with_the_checkpoint_bit_for_bit() {
    let d = tempfile::tempdir().unwrap();
    for (preset, tokenizer) in [("gpt", "bpe:300"), ("llama", "bytes")] {
        let from = checkpoint(d.path(), preset, &["--tokenizer", tokenizer, "--lr", "0.01"]);
        edit_config(&from, |_| {});
        let config = |run: &Path| -> Value {
            let text = std::fs::read_to_string(run.join("run.json")).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["config"].clone()
        };
        let run = d.path().join(format!("{preset}-again"));
        let (code, text) = train(&run, &["--init", from.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{text}");
        same_weights(&from, &run.join("checkpoints/step-0"));
        let c = config(&run);
        assert!(c["tokenizer"].as_str().unwrap().ends_with("tokenizer.json"));
        assert_eq!((&c["model"]["context"], &c["model"]["layers"]), (&json!(32), &json!(2)));
        assert!(c["init"]["checkpoint"].as_str().unwrap().ends_with("step-2"));
        assert_eq!(growthpath(&["verify", run.to_str().unwrap()]).0, Some(0));

        // A shorter context keeps the first learned positions.
        let short = d.path().join(format!("{preset}-short"));
        let (code, text) = train(&short, &["--init", from.to_str().unwrap(), "--set", "context=16"]);
        assert_eq!(code, Some(0), "{text}");
        if preset == "gpt" {
            let read = |dir: &Path| load_arrays(&dir.join("model.safetensors")).unwrap();
            let (long, short) = (read(&from), read(&short.join("checkpoints/step-0")));
            let key = "transformer.wpe.weight";
            assert_eq!(short[key].shape, [16, 64]);
            assert_eq!(short[key].data, long[key].data[..16 * 64]);
            let (code, text) =
                train(&d.path().join("none"), &["--init", from.to_str().unwrap(), "--set", "context=64"]);
            assert!(code == Some(2) && text.contains("32 learned positions"), "{text}");
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let d = tempfile::tempdir().unwrap();
    let out = d.path().join("none");
    let refused = |code: i32, says: &str, more: &[&str]| {
        let (got, text) = train(&out, more);
        assert!(got == Some(code) && text.contains(says), "`{says}` is missing ({got:?}): {text}");
        assert!(!out.exists());
    };
    let from = checkpoint(d.path(), "llama", &["--tokenizer", "bytes"]);
    let init = from.to_str().unwrap();
    refused(2, "preset", &["--init", init, "--preset", "gpt"]);
    refused(2, "only context", &["--init", init, "--set", "heads=2"]);
    refused(2, "embedding", &["--init", init, "--tokenizer", "bpe:400"]);
    refused(1, "hf download openai-community/gpt2 --local-dir DIR", &["--init", "gpt2"]);
    refused(1, "no such checkpoint folder", &["--init", d.path().join("nothing").to_str().unwrap()]);
    let merged = checkpoint(d.path(), "gpt", &["--tokenizer", "bpe:300"]);
    refused(2, "trained on another one: token", &["--init", merged.to_str().unwrap(), "--tokenizer", "bytes"]);
    edit_config(&from, |c| c["tie_word_embeddings"] = false.into());
    refused(1, "lm_head.weight", &["--init", init]);
    edit_config(&from, |c| {
        c["tie_word_embeddings"] = true.into();
        c["num_hidden_layers"] = 1.into();
    });
    refused(1, "no place for", &["--init", init]);
    edit_config(&from, |c| {
        c["num_hidden_layers"] = 2.into();
        c["num_key_value_heads"] = 2.into();
    });
    refused(2, "grouped-query", &["--init", init]);
    edit_config(&from, |c| {
        c["num_key_value_heads"] = 4.into();
        c["intermediate_size"] = 100.into();
    });
    refused(2, "gate_proj", &["--init", init]);
    std::fs::remove_file(from.join("tokenizer.json")).unwrap();
    refused(2, "--tokenizer", &["--init", init]);
}

#[test]
fn a_real_checkpoint_is_inspected_and_its_grouped_queries_are_refused() {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/stories260K");
    if !real.is_dir() {
        eprintln!("skipped: {} is not there", real.display());
        return;
    }
    let real = real.to_str().unwrap();
    let (code, text) = growthpath(&["inspect", real]);
    assert!(code == Some(0) && text.contains("8 heads (4 for keys)"), "{text}");
    let d = tempfile::tempdir().unwrap();
    let (code, text) = train(&d.path().join("run"), &["--init", real, "--tokenizer", "bytes"]);
    assert!(code == Some(2) && text.contains("grouped-query"), "{text}");
}
