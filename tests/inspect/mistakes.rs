//! What is not a checkpoint, or not one that is known: each told what it is and the mend.

use std::path::Path;

use serde_json::json;

use crate::support::*;

fn with_weights(dir: &Path, name: &str, content: &[u8]) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("config.json"), config("llama").to_string()).unwrap();
    std::fs::write(path.join("model.safetensors"), content).unwrap();
    path
}

#[test]
fn files_of_other_kinds() {
    let d = tempfile::tempdir().unwrap();
    let dir = d.path();
    let good = bytes(&Weights::seeded(1, KEYS).llama("model."));
    let too_long = [&good[..], &[0; 64]].concat();
    for (name, content, says) in [
        ("lfs", &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"[..], "git lfs pull"),
        ("html", b"<!DOCTYPE html><html></html>", "web page"),
        ("gguf", b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0", "GGUF"),
        ("zip", b"PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaa", "pickle"),
        ("pickle", b"\x80\x02}q\x01X\x05\0\0\0", "pickle"),
        ("path", b"/some/where/model.safetensors\n", "text file"),
        ("empty", b"", "empty"),
        ("short", &good[..good.len() - 100], "cut short"),
        ("stump", &good[..20], "cut short"),
        ("long", &too_long, "64 bytes too many"),
        ("noise", &[0xff; 64], "not a safetensors file"),
    ] {
        refused(&with_weights(dir, name, content), &[says, "model.safetensors"]);
    }
}

#[test]
fn folders_of_other_kinds() {
    let d = tempfile::tempdir().unwrap();
    let dir = d.path();
    let folder = |name: &str, files: &[&str]| {
        for f in files {
            let p = dir.join(name).join(f);
            std::fs::create_dir_all(p.parent().unwrap()).unwrap();
            std::fs::write(p, "{}").unwrap();
        }
        dir.join(name)
    };
    refused(&folder("lora", &["adapter_config.json"]), &["LoRA", "merge"]);
    refused(&folder("models--a--b", &["snapshots/abc/x"]), &["snapshots/abc"]);
    let run =
        folder("run", &["run.json", "checkpoints/step-9/config.json", "checkpoints/step-10/config.json"]);
    refused(&run, &["is a run", "step-10"]);
    refused(&folder("many", &["checkpoint-5/config.json"]), &["folder of checkpoints", "checkpoint-5"]);
    refused(&folder("nano", &["ckpt.pt"]), &["ckpt.pt", "pickle", "config.json"]);
    refused(&folder("bare", &["model.safetensors"]), &["no config.json"]);
    refused(&folder("other", &["notes.txt"]), &["neither"]);
    let good = with_weights(dir, "good", &bytes(&Weights::seeded(1, KEYS).llama("model.")));
    refused(&good.join("model.safetensors"), &["is a file: give its folder", "good"]);
    refused(Path::new("Qwen/Qwen3-0.6B"), &["does not download", "hf download Qwen/Qwen3-0.6B"]);
    let cfg = folder("config-only", &["config.json"]);
    refused(&cfg, &["model_type"]);
}

#[test]
fn architectures_are_never_guessed() {
    let d = tempfile::tempdir().unwrap();
    let w = Weights::seeded(2, KEYS);
    let tensors = w.llama("model.");
    let make = |name: &str, kind: &str, t: &_| save(d.path(), name, &config(kind), t);
    refused(&make("new", "brand_new", &tensors), &["`brand_new` is not known"]);
    refused(&make("mla", "deepseek_v3", &tensors), &["multi-head latent attention"]);
    refused(&make("mamba", "mamba", &tensors), &["no attention"]);
    let with = |name: &str| {
        let mut t = tensors.clone();
        t.insert(format!("model.layers.1.self_attn.{name}"), vector(&[1.0]));
        t
    };
    refused(
        &make("gate", "llama", &with("gate_proj.weight")),
        &["layers.1.self_attn.gate_proj.weight", "not guessed"],
    );
    refused(&make("lora", "llama", &with("q_proj.lora_A.weight")), &["LoRA"]);
    refused(&make("gptq", "llama", &with("q_proj.qweight")), &["dequantize"]);
    let mut two = tensors.clone();
    two.extend(w.llama(""));
    refused(&make("two", "llama", &two), &["twice", "model.layers.N.self_attn"]);
    refused(&make("elsewhere", "gpt2", &tensors), &["h.N.attn", "gpt2"]);
    let mut nan = tensors.clone();
    let key = "model.layers.1.self_attn.k_proj.weight";
    let mut k = w.k[1].clone();
    k.2[3 * D + 5] = f32::NAN;
    nan.insert(key.into(), k.stored());
    refused(&make("nan", "llama", &nan), &["nan", key, "row 3, column 5"]);
    let mut narrow = tensors.clone();
    narrow.insert(key.into(), w.k[1].rows(0..WIDTH).stored());
    refused(&make("narrow", "llama", &narrow), &[key, "[6, 24]", "[12, 24]"]);
}

#[test]
fn configurations_as_python_writes_them() {
    let d = tempfile::tempdir().unwrap();
    let w = Weights::seeded(3, KEYS);
    let path = save(d.path(), "inf", &config("llama"), &w.llama("model."));
    let text = config("llama").to_string().replace("\"head_dim\"", "\"limits\":[0.0,Infinity],\"head_dim\"");
    std::fs::write(path.join("config.json"), text).unwrap();
    assert_eq!(inspect(&[&path], &[]).0, 0);
    for (key, value) in
        [("num_attention_heads", json!("4")), ("hidden_size", json!(-1)), ("num_key_value_heads", json!(3))]
    {
        let mut c = config("llama");
        c[key] = value;
        std::fs::write(path.join("config.json"), c.to_string()).unwrap();
        refused(&path, &["config.json"]);
    }
    let mut fewer = config("llama");
    fewer["num_hidden_layers"] = 1.into();
    std::fs::write(path.join("config.json"), fewer.to_string()).unwrap();
    let json = inspect(&[&path], &[]).1;
    assert!(json[0]["notes"].to_string().contains("1 more layers"), "{}", json[0]["notes"]);
}
