//! What the numbers mean: scales, biases, gains, QK-norm, order of steps.

use serde_json::json;

use crate::support::*;

#[test]
fn scales_come_from_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let w = Weights::seeded(1, KEYS);
    let scale = |name: &str, c: serde_json::Value| {
        let (code, json, error) = inspect(&[&save(dir.path(), name, &c, &w.llama("model."))], &[]);
        assert_eq!(code, 0, "{name}: {error}");
        found(&json, 0, 0, "heads")
    };
    let with = |kind: &str, key: &str, value: serde_json::Value| {
        let mut c = config(kind);
        c[key] = value;
        c
    };
    assert_close(&scale("granite", with("granite", "attention_multiplier", json!(0.03))), &w.norms(0, 0.03));
    assert_close(
        &scale("gemma2", with("gemma2", "query_pre_attn_scalar", json!(144))),
        &w.norms(0, 1.0 / 12.0),
    );
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16});
    // 0.1 ln 4 + 1 on the rotated queries and on the rotated keys.
    let factor = (0.1 * 4f64.ln() + 1.0).powi(2) / (WIDTH as f64).sqrt();
    assert_close(&scale("yarn", with("llama", "rope_scaling", yarn)), &w.norms(0, factor));
    refused(
        &save(dir.path(), "odd-rope", &with("llama", "rope_scaling", json!({"type": "new"})), &w.llama("")),
        &["`new`"],
    );
    refused(
        &save(dir.path(), "borrowed", &with("llama", "attention_multiplier", json!(0.1)), &w.llama("")),
        &["attention_multiplier", "model_type"],
    );
}

#[test]
fn normalized_queries_show_no_growth() {
    let dir = tempfile::tempdir().unwrap();
    let w = Weights::seeded(2, KEYS);
    let mut more = Weights::seeded(2, KEYS);
    more.q.iter_mut().for_each(|q| *q = q.times(10.0));
    let with_norms = |w: &Weights| {
        let mut t = w.llama("model.");
        for l in 0..LAYERS {
            for side in ["q", "k"] {
                t.insert(format!("model.layers.{l}.self_attn.{side}_norm.weight"), vector(&[1.0; WIDTH]));
            }
        }
        t
    };
    // By the type alone, by a tensor alone, by a switch alone.
    let mut switch = config("stablelm");
    switch["qk_layernorm"] = true.into();
    for (name, c, normed) in
        [("type", config("qwen3"), false), ("tensor", config("llama"), true), ("switch", switch, false)]
    {
        let tensors = |w: &Weights| if normed { with_norms(w) } else { w.llama("model.") };
        let a = save(dir.path(), &format!("{name}-a"), &c, &tensors(&w));
        let b = save(dir.path(), &format!("{name}-b"), &c, &tensors(&more));
        let (code, json, error) = inspect(&[&a, &b], &[]);
        assert_eq!(code, 0, "{error}");
        assert_eq!(json[1]["bilinear"], false, "{name}");
        assert!(
            json[1]["layers"][0]["spectral_growth"].is_null() && json[1]["layers"][0]["balance"].is_null()
        );
        let text = assert_cmd::Command::cargo_bin("growthpath")
            .unwrap()
            .arg("inspect")
            .args([&a, &b])
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&text.stdout).contains("NOT BILINEAR"));
    }
    // The same without any norm does grow.
    let a = save(dir.path(), "plain-a", &config("llama"), &w.llama("model."));
    let b = save(dir.path(), "plain-b", &config("llama"), &more.llama("model."));
    let growth = inspect(&[&a, &b], &[]).1[1]["layers"][0]["spectral_growth"][0].as_f64().unwrap();
    assert!((growth - 10f64.ln()).abs() < 1e-6);
}

#[test]
fn biases_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let w = Weights::seeded(3, KEYS);
    let biased = |shift: f32, sides: &[&str]| {
        let mut t = w.llama("model.");
        for l in 0..LAYERS {
            for side in sides {
                let n = if *side == "q" { HEADS } else { KEYS } * WIDTH;
                let b: Vec<f32> =
                    (0..n).map(|i| 0.1 * i as f32 + if *side == "k" { shift } else { 0.0 }).collect();
                t.insert(format!("model.layers.{l}.self_attn.{side}_proj.bias"), vector(&b));
            }
        }
        t
    };
    let scale = 1.0 / (WIDTH as f64).sqrt();
    let save = |name: &str, kind: &str, t: &_| save(dir.path(), name, &config(kind), t);
    // OPT has learned positions: what the key's bias adds is the same along a row of logits.
    let (a, b) =
        (save("opt-a", "opt", &biased(0.0, &["q", "k"])), save("opt-b", "opt", &biased(3.0, &["q", "k"])));
    let (code, json, error) = inspect(&[&a, &b], &[]);
    assert_eq!(code, 0, "{error}");
    for key in ["spectral_growth", "augmented_growth"] {
        let g = json[1]["layers"][0][key].as_array().unwrap();
        assert!(g.iter().all(|g| g.as_f64().unwrap().abs() < 1e-12), "{key}");
    }
    assert_close(&found(&json, 1, 0, "heads"), &w.norms(0, scale));
    // With rotary positions it counts: the augmented matrix is [W; b] on both sides.
    let (_, json, _) = inspect(&[&save("rope", "qwen2", &biased(3.0, &["q", "k"]))], &[]);
    assert_close(&found(&json, 0, 0, "heads"), &w.norms(0, scale));
    let augmented = |m: &Matrix, head: usize, shift: f32| {
        let bias: Vec<f32> = (0..WIDTH).map(|i| 0.1 * (head * WIDTH + i) as f32 + shift).collect();
        m.rows(head * WIDTH..(head + 1) * WIDTH).transposed().below(&Matrix(1, WIDTH, bias)).transposed()
    };
    let want: Vec<f64> = (0..HEADS)
        .map(|h| scale * largest(&augmented(&w.q[0], h, 0.0), &augmented(&w.k[0], h * KEYS / HEADS, 3.0)))
        .collect();
    assert_close(&found(&json, 0, 0, "augmented"), &want);
    // One side alone may have biases; one checkpoint of two may not.
    let one = save("one-side", "llama", &biased(0.0, &["q"]));
    assert_eq!(inspect(&[&one], &[]).0, 0);
    let none = save("none", "llama", &w.llama("model."));
    let (code, _, error) = inspect(&[&none, &one], &[]);
    assert!(code == 2 && error.contains("none") && error.contains("one-side"), "{error}");
}

#[test]
fn gains_are_folded_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let w = Weights::seeded(4, KEYS);
    let mut half = Weights::seeded(4, KEYS);
    half.q.iter_mut().chain(&mut half.k).for_each(|m| *m = m.times(0.5));
    let twice = |mut t: std::collections::BTreeMap<_, _>, gain: f32| {
        for l in 0..LAYERS {
            t.insert(format!("model.layers.{l}.input_layernorm.weight"), vector(&[gain; D]));
        }
        t
    };
    // The same function: gain 2 and half the weights. Gemma stores its gain less 1.
    for (kind, plain, double) in [("llama", 1.0, 2.0), ("gemma", 0.0, 1.0)] {
        let a = save(dir.path(), &format!("{kind}-a"), &config(kind), &twice(w.llama("model."), plain));
        let b = save(dir.path(), &format!("{kind}-b"), &config(kind), &twice(half.llama("model."), double));
        let growth = |options: &[&str]| {
            let json = inspect(&[&a, &b], options).1;
            json[1]["layers"][0]["spectral_growth"][0].as_f64().unwrap()
        };
        assert!((growth(&[]) + 4f64.ln()).abs() < 1e-6);
        assert!(growth(&["--fold-norms"]).abs() < 1e-12, "{kind}");
    }
}

#[test]
fn checkpoints_come_in_order_of_their_steps() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, factor: f32| {
        let mut w = Weights::seeded(5, KEYS);
        w.q.iter_mut().for_each(|q| *q = q.times(factor));
        save(dir.path(), name, &config("llama"), &w.llama("model."))
    };
    let (a, b, c) = (make("step-1000", 8.0), make("step-200", 2.0), make("step-50", 1.0));
    let (code, json, error) = inspect(&[&a, &b, &c], &[]);
    assert_eq!(code, 0, "{error}");
    assert_eq!([&json[0]["step"], &json[1]["step"], &json[2]["step"]], [50, 200, 1000]);
    let growth = |i: usize| json[i]["layers"][0]["spectral_growth"][0].as_f64().unwrap();
    assert!((growth(1) - 2f64.ln()).abs() < 1e-6 && (growth(2) - 4f64.ln()).abs() < 1e-6);
    assert!(json[0]["notes"].to_string().contains("50, 200, 1000"));
    let d = make("base", 1.0);
    let (code, _, error) = inspect(&[&a, &d, &b], &[]);
    assert!(code == 2 && error.contains("step 1000") && error.contains("order of training"), "{error}");
    std::fs::write(d.join("trainer_state.json"), "{\"global_step\": 500}").unwrap();
    assert_eq!(inspect(&[&a, &d, &b], &[]).1[1]["step"], 500);
}
