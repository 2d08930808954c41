//! Where W_Q and W_K lie.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::*;

fn usual() -> f64 {
    1.0 / (WIDTH as f64).sqrt()
}

#[test]
fn prefixes_and_nested_configurations() {
    let dir = tempfile::tempdir().unwrap();
    let w = Weights::seeded(1, KEYS);
    let want = w.norms(1, usual());
    for prefix in [
        "",
        "model.",
        "module.model.",
        "_orig_mod.model.",
        "base_model.model.model.",
        "model.language_model.",
    ] {
        let path =
            save(dir.path(), &format!("p-{}", prefix.replace('.', "_")), &config("llama"), &w.llama(prefix));
        let (code, json, error) = inspect(&[&path], &[]);
        assert_eq!(code, 0, "{error}");
        assert_close(&found(&json, 0, 1, "heads"), &want);
    }
    // A vision tower has layers of its own, which are not the language model's.
    let mut tensors = w.llama("model.language_model.");
    tensors.extend(Weights::seeded(2, KEYS).llama("model.vision_tower."));
    let nested =
        json!({"model_type": "llava", "text_config": config("llama"), "vision_config": {"hidden_size": 4}});
    let (code, json, error) = inspect(&[&save(dir.path(), "vision", &nested, &tensors)], &[]);
    assert_eq!(code, 0, "{error}");
    assert_close(&found(&json, 0, 1, "heads"), &want);
    assert!(json[0]["notes"][0].as_str().unwrap().contains("llava"));
}

#[test]
fn fused_projections() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, config: &serde_json::Value, tensors: &BTreeMap<String, Stored>, want: &[f64]| {
        let (code, json, error) = inspect(&[&save(dir.path(), name, config, tensors)], &[]);
        assert_eq!(code, 0, "{name}: {error}");
        assert_close(&found(&json, 0, 0, "heads"), want);
    };
    let w = Weights::seeded(3, KEYS);
    let blocks = |l: usize| w.q[l].clone().below(&w.k[l]).below(&w.v[l]);
    let phi3 =
        (0..LAYERS).map(|l| (format!("model.layers.{l}.self_attn.qkv_proj.weight"), blocks(l).stored()));
    check("phi3", &config("phi3"), &phi3.collect(), &w.norms(0, usual()));

    let group = HEADS / KEYS;
    let grouped = |l: usize| {
        (0..KEYS).fold(Matrix(0, D, Vec::new()), |m, g| {
            let key = g * WIDTH..(g + 1) * WIDTH;
            m.below(&w.q[l].rows(g * group * WIDTH..(g + 1) * group * WIDTH))
                .below(&w.k[l].rows(key.clone()))
                .below(&w.v[l].rows(key))
        })
    };
    let falcon = (0..LAYERS)
        .map(|l| (format!("transformer.h.{l}.self_attention.query_key_value.weight"), grouped(l).stored()));
    let mut c = config("falcon");
    c["new_decoder_architecture"] = true.into();
    c["num_kv_heads"] = KEYS.into();
    check("falcon", &c, &falcon.collect(), &w.norms(0, usual()));

    let m = Weights::seeded(4, HEADS);
    let by_head = |l: usize| {
        (0..HEADS).fold(Matrix(0, D, Vec::new()), |all, h| {
            let rows = h * WIDTH..(h + 1) * WIDTH;
            all.below(&m.q[l].rows(rows.clone())).below(&m.k[l].rows(rows.clone())).below(&m.v[l].rows(rows))
        })
    };
    let neox = (0..LAYERS)
        .map(|l| (format!("gpt_neox.layers.{l}.attention.query_key_value.weight"), by_head(l).stored()));
    check("neox", &config("gpt_neox"), &neox.collect(), &m.norms(0, usual()));

    let all = |l: usize| m.q[l].clone().below(&m.k[l]).below(&m.v[l]);
    let gpt2 = json!({"model_type": "gpt2", "n_embd": D, "n_layer": LAYERS, "n_head": HEADS});
    let conv = (0..LAYERS).map(|l| (format!("h.{l}.attn.c_attn.weight"), all(l).transposed().stored()));
    check("gpt2", &gpt2, &conv.collect(), &m.norms(0, usual()));
    let linear =
        (0..LAYERS).map(|l| (format!("_orig_mod.transformer.h.{l}.attn.c_attn.weight"), all(l).stored()));
    check("nanogpt", &gpt2, &linear.collect(), &m.norms(0, usual()));
}

#[test]
fn shards_and_layers_without_attention() {
    let dir = tempfile::tempdir().unwrap();
    let w = Weights::seeded(5, KEYS);
    let all = w.llama("model.");
    let path = dir.path().join("sharded");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("config.json"), config("llama").to_string()).unwrap();
    let mut map = serde_json::Map::new();
    for (i, file) in ["a.safetensors", "b.safetensors"].iter().enumerate() {
        let part: BTreeMap<_, _> = all
            .iter()
            .enumerate()
            .filter(|(n, _)| n % 2 == i)
            .map(|(_, (k, v))| (k.clone(), v.clone()))
            .collect();
        map.extend(part.keys().map(|k| (k.clone(), json!(file))));
        std::fs::write(path.join(file), bytes(&part)).unwrap();
    }
    let index = json!({"weight_map": map});
    std::fs::write(path.join("model.safetensors.index.json"), index.to_string()).unwrap();
    let (code, json, error) = inspect(&[&path], &[]);
    assert_eq!(code, 0, "{error}");
    assert_close(&found(&json, 0, 0, "heads"), &w.norms(0, usual()));
    std::fs::remove_file(path.join("b.safetensors")).unwrap();
    refused(&path, &["b.safetensors", "missing"]);
    let out_of_folder = index.to_string().replace("b.safetensors", "../b.safetensors");
    std::fs::write(path.join("model.safetensors.index.json"), out_of_folder).unwrap();
    refused(&path, &["no file beside it"]);

    let mut some = all.clone();
    some.retain(|k, _| !k.contains("layers.0.self_attn"));
    refused(&save(dir.path(), "holey", &config("llama"), &some), &["layer 0", "whole"]);
    let (code, json, error) = inspect(&[&save(dir.path(), "jamba", &config("jamba"), &some)], &[]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(json[0]["layers"][0]["layer"], 1);
    assert_close(&found(&json, 0, 0, "heads"), &w.norms(1, usual()));
}

#[test]
fn number_types_and_scales() {
    let dir = tempfile::tempdir().unwrap();
    let w = Weights::seeded(6, KEYS);
    let mut coded = w.llama("model.");
    let mut read = Weights::seeded(6, KEYS);
    for l in 0..LAYERS {
        for (side, m, target) in [("q", &w.q[l], &mut read.q[l]), ("k", &w.k[l], &mut read.k[l])] {
            let name = format!("model.layers.{l}.self_attn.{side}_proj.weight");
            // Integers with a scale for each row.
            let codes: Vec<i8> = m.2.iter().map(|v| (v * 200.0).round() as i8).collect();
            let scales: Vec<f32> = (0..m.0).map(|r| 0.004 + 0.001 * r as f32).collect();
            *target = Matrix(
                m.0,
                D,
                codes.iter().enumerate().map(|(i, c)| f32::from(*c) * scales[i / D]).collect(),
            );
            coded.insert(name.clone(), ("I8", vec![m.0, D], codes.iter().map(|c| *c as u8).collect()));
            coded.insert(format!("{name}_scale"), Matrix(m.0, 1, scales).stored());
        }
    }
    let (code, json, error) = inspect(&[&save(dir.path(), "int8", &config("llama"), &coded)], &[]);
    assert_eq!(code, 0, "{error}");
    assert_close(&found(&json, 0, 1, "heads"), &read.norms(1, usual()));
    let first = "model.layers.0.self_attn.q_proj.weight";
    let mut without = coded.clone();
    without.remove(&format!("{first}_scale"));
    refused(&save(dir.path(), "no-scale", &config("llama"), &without), &[first, "without the scale"]);
    let mut both = w.llama("model.");
    both.insert(format!("{first}_scale"), vector(&[2.0]));
    refused(&save(dir.path(), "float-scale", &config("llama"), &both), &["what the scale is for"]);
    let mut packed = coded.clone();
    packed.insert(first.into(), ("U8", vec![HEADS * WIDTH, D], vec![0; HEADS * WIDTH * D]));
    refused(&save(dir.path(), "u8", &config("llama"), &packed), &[first, "U8"]);
    // What is not read does not matter.
    let mut odd = w.llama("model.");
    odd.insert("lm_head.weight".into(), ("F4_E2M1", vec![3], vec![0; 2]));
    assert_eq!(inspect(&[&save(dir.path(), "odd", &config("llama"), &odd)], &[]).0, 0);

    let half = |m: &Matrix| {
        let bytes = m.2.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect();
        ("BF16", vec![m.0, m.1], bytes)
    };
    let mut brain = w.llama("model.");
    let mut cut = Weights::seeded(6, KEYS);
    for l in 0..LAYERS {
        for (side, m) in [("q", &mut cut.q[l]), ("k", &mut cut.k[l])] {
            brain.insert(format!("model.layers.{l}.self_attn.{side}_proj.weight"), half(m));
            m.2.iter_mut().for_each(|v| *v = f32::from_bits(v.to_bits() & 0xffff_0000));
        }
    }
    let (_, json, _) = inspect(&[&save(dir.path(), "bf16", &config("llama"), &brain)], &[]);
    assert_close(&found(&json, 0, 1, "heads"), &cut.norms(1, usual()));
}
