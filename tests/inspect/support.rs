//! Small seeded checkpoints of several architectures, and their logit matrices multiplied out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

pub const D: usize = 24;
pub const LAYERS: usize = 2;
pub const HEADS: usize = 4;
pub const KEYS: usize = 2;
pub const WIDTH: usize = 6;

/// A stored tensor: number type, shape, bytes.
pub type Stored = (&'static str, Vec<usize>, Vec<u8>);

/// A matrix `[rows, columns]`, row-major.
#[derive(Clone)]
pub struct Matrix(pub usize, pub usize, pub Vec<f32>);

impl Matrix {
    pub fn random(rng: &mut ChaCha8Rng, rows: usize, columns: usize) -> Self {
        Self(rows, columns, (0..rows * columns).map(|_| rng.random_range(-0.5f32..0.5)).collect())
    }
    pub fn transposed(&self) -> Self {
        let Self(r, c, v) = self;
        Self(*c, *r, (0..r * c).map(|i| v[i % r * c + i / r]).collect())
    }
    pub fn rows(&self, range: std::ops::Range<usize>) -> Self {
        Self(range.len(), self.1, self.2[range.start * self.1..range.end * self.1].to_vec())
    }
    pub fn below(mut self, other: &Self) -> Self {
        assert_eq!(self.1, other.1);
        self.0 += other.0;
        self.2.extend(&other.2);
        self
    }
    pub fn times(&self, factor: f32) -> Self {
        Self(self.0, self.1, self.2.iter().map(|v| v * factor).collect())
    }
    pub fn stored(&self) -> Stored {
        ("F32", vec![self.0, self.1], self.2.iter().flat_map(|v| v.to_le_bytes()).collect())
    }
}

pub fn vector(values: &[f32]) -> Stored {
    ("F32", vec![values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// Query and key weights `[out, in]` of every layer, and everything else a LLaMA-like checkpoint has under attention.
pub struct Weights {
    pub q: Vec<Matrix>,
    pub k: Vec<Matrix>,
    pub v: Vec<Matrix>,
}

impl Weights {
    pub fn seeded(seed: u64, keys: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut side =
            |heads: usize| (0..LAYERS).map(|_| Matrix::random(&mut rng, heads * WIDTH, D)).collect();
        Self { q: side(HEADS), k: side(keys), v: side(keys) }
    }

    pub fn llama(&self, prefix: &str) -> BTreeMap<String, Stored> {
        let mut out = BTreeMap::new();
        for l in 0..LAYERS {
            let at = format!("{prefix}layers.{l}.");
            for (name, m) in [("q", &self.q[l]), ("k", &self.k[l]), ("v", &self.v[l])] {
                out.insert(format!("{at}self_attn.{name}_proj.weight"), m.stored());
            }
            out.insert(format!("{at}input_layernorm.weight"), vector(&[1.0; D]));
            out.insert(format!("{at}mlp.up_proj.weight"), vector(&[1.0; 3]));
        }
        out
    }

    /// `|M|_2` of every head of a layer, by power iteration on `M^T M`.
    pub fn norms(&self, layer: usize, scale: f64) -> Vec<f64> {
        let group = HEADS * WIDTH / self.k[layer].0;
        (0..HEADS)
            .map(|h| {
                let q = self.q[layer].rows(h * WIDTH..(h + 1) * WIDTH);
                let k = self.k[layer].rows(h / group * WIDTH..(h / group + 1) * WIDTH);
                scale * largest(&q, &k)
            })
            .collect()
    }
}

/// Largest singular value of `q^T k`, both `[n, d]`.
pub fn largest(q: &Matrix, k: &Matrix) -> f64 {
    let apply = |a: &Matrix, b: &Matrix, v: &[f64]| -> Vec<f64> {
        // a^T (b v)
        let inner: Vec<f64> =
            (0..b.0).map(|i| (0..b.1).map(|j| f64::from(b.2[i * b.1 + j]) * v[j]).sum()).collect();
        (0..a.1).map(|j| (0..a.0).map(|i| f64::from(a.2[i * a.1 + j]) * inner[i]).sum()).collect()
    };
    let mut v: Vec<f64> = (0..k.1).map(|i| 1.0 + 0.1 * i as f64).collect();
    let mut size = 0.0;
    for _ in 0..4000 {
        let u = apply(q, k, &v);
        let w = apply(k, q, &u);
        let norm = w.iter().map(|x| x * x).sum::<f64>().sqrt();
        size = norm.sqrt();
        v = w.iter().map(|x| x / norm).collect();
    }
    size
}

pub fn config(model_type: &str) -> Value {
    json!({
        "model_type": model_type, "hidden_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KEYS, "head_dim": WIDTH,
    })
}

/// A safetensors file.
pub fn bytes(tensors: &BTreeMap<String, Stored>) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, (kind, shape, bytes)) in tensors {
        let end = data.len() + bytes.len();
        header
            .insert(name.clone(), json!({"dtype": kind, "shape": shape, "data_offsets": [data.len(), end]}));
        data.extend(bytes);
    }
    let header = Value::Object(header).to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

/// A checkpoint folder.
pub fn save(dir: &Path, name: &str, config: &Value, tensors: &BTreeMap<String, Stored>) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    std::fs::write(path.join("model.safetensors"), bytes(tensors)).unwrap();
    path
}

/// Exit code, JSON, standard error.
pub fn inspect(paths: &[&Path], options: &[&str]) -> (i32, Value, String) {
    let out = assert_cmd::Command::cargo_bin("growthpath")
        .unwrap()
        .arg("inspect")
        .args(paths)
        .args(options)
        .arg("--json")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!error.contains("panicked"), "{error}");
    (out.status.code().unwrap(), serde_json::from_slice(&out.stdout).unwrap_or(Value::Null), error)
}

/// The spectral norms of a layer.
pub fn found(json: &Value, checkpoint: usize, layer: usize, key: &str) -> Vec<f64> {
    let heads = json[checkpoint]["layers"][layer][key].as_array().unwrap();
    heads.iter().map(|h| h["spectral_norm"].as_f64().unwrap()).collect()
}

/// Power iteration converges to about 1e-9 at these gaps; a wrong layout is off by tens of per cent.
#[track_caller]
pub fn assert_close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= 1e-6 * w.abs(), "{got:?} {want:?}");
    }
}

/// What inspect says of one checkpoint.
#[track_caller]
pub fn refused(path: &Path, says: &[&str]) {
    let (code, _, error) = inspect(&[path], &[]);
    assert_eq!(code, 1, "{error}");
    for s in says {
        assert!(error.contains(s), "`{s}` is missing in: {error}");
    }
}
