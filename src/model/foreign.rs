//! Query and key weights of a checkpoint folder, ours or Hugging Face's (GPT-2 and LLaMA layouts).

use std::path::Path;

use faer::Mat;
use growthpath_analysis::spectral::HeadLayout;
use serde_json::Value;

use super::hf::Named;
use crate::error::{Error, Result};

/// Attention weights of one layer, `d x (H * d_h)` and `d x (H_kv * d_h)`; biases as a last row.
pub struct QueryKey {
    /// W_Q.
    pub wq: Mat<f64>,
    /// W_K.
    pub wk: Mat<f64>,
}

/// Attention of a whole checkpoint.
pub struct Attention {
    /// Heads and their width.
    pub layout: HeadLayout,
    /// One entry a layer.
    pub layers: Vec<QueryKey>,
    /// Whether queries and keys are rotated.
    pub rope: bool,
    /// `model_type` of `config.json`.
    pub model_type: String,
}

fn number(config: &Value, keys: &[&str]) -> Option<usize> {
    keys.iter().find_map(|k| config.get(k)?.as_u64()).and_then(|v| usize::try_from(v).ok())
}

/// Read the attention weights of a checkpoint folder.
///
/// # Errors
/// A folder without `config.json` or `model.safetensors`, sizes that do not fit, or a layout that is neither
/// GPT-2's nor LLaMA's.
pub fn read_attention(dir: &Path) -> Result<Attention> {
    let path = dir.join("config.json");
    if !dir.is_dir() {
        return Err(Error::format(dir, "no such checkpoint folder"));
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let config: Value =
        serde_json::from_str(&text).map_err(|e| Error::format(&path, format!("not JSON: {e}")))?;
    let arrays = crate::train::checkpoint::load_arrays(&dir.join("model.safetensors"))?;
    let need = |keys: &[&str]| {
        number(&config, keys)
            .filter(|v| *v > 0)
            .ok_or_else(|| Error::format(&path, format!("lacks `{}`", keys[0])))
    };
    let d = need(&["hidden_size", "n_embd"])?;
    let count = need(&["num_hidden_layers", "n_layer"])?;
    let heads = need(&["num_attention_heads", "n_head"])?;
    let kv_heads = number(&config, &["num_key_value_heads"]).unwrap_or(heads);
    let head_dim = number(&config, &["head_dim"]).unwrap_or(d / heads);
    let layout = HeadLayout { heads, kv_heads, head_dim };
    let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or("unknown").to_string();
    let find = |suffix: String| {
        ["", "transformer.", "model."].iter().find_map(|p| arrays.get(&format!("{p}{suffix}")))
    };
    let mut layers = Vec::with_capacity(count.min(4096));
    let mut rope = false;
    for l in 0..count {
        let (wq, wk) = if let Some(w) = find(format!("h.{l}.attn.c_attn.weight")) {
            let b = find(format!("h.{l}.attn.c_attn.bias"));
            let width = heads * head_dim;
            expect(dir, w, &[d, 3 * width])?;
            if let Some(b) = b {
                expect(dir, b, &[3 * width])?;
            }
            let block = |first: usize| {
                let extra = usize::from(b.is_some());
                Mat::from_fn(d + extra, width, |i, j| {
                    let column = first + j;
                    f64::from(if i < d {
                        w.data[i * 3 * width + column]
                    } else {
                        b.map_or(0.0, |b| b.data[column])
                    })
                })
            };
            (block(0), block(width))
        } else {
            rope = true;
            let side = |name: &str, n: usize| -> Result<Mat<f64>> {
                let key = format!("layers.{l}.self_attn.{name}_proj.weight");
                let w = find(key.clone()).ok_or_else(|| {
                    Error::format(
                        dir,
                        format!("has neither `h.{l}.attn.c_attn.weight` (GPT-2) nor `{key}` (LLaMA)"),
                    )
                })?;
                expect(dir, w, &[n * head_dim, d])?;
                let b = find(format!("layers.{l}.self_attn.{name}_proj.bias"));
                if let Some(b) = b {
                    expect(dir, b, &[n * head_dim])?;
                }
                let extra = usize::from(b.is_some());
                Ok(Mat::from_fn(d + extra, n * head_dim, |i, j| {
                    f64::from(if i < d { w.data[j * d + i] } else { b.map_or(0.0, |b| b.data[j]) })
                }))
            };
            (side("q", heads)?, side("k", kv_heads)?)
        };
        layers.push(QueryKey { wq, wk });
    }
    // Our own arms say it themselves: GPT names may come with rotary positions.
    if let Some(pos) = config.pointer("/growthpath/pos").and_then(Value::as_str) {
        rope = pos == "rope";
    }
    Ok(Attention { layout, layers, rope, model_type })
}

fn expect(dir: &Path, a: &Named, shape: &[usize]) -> Result<()> {
    if a.shape == shape {
        return Ok(());
    }
    Err(Error::format(dir, format!("`{}` has shape {:?}, config.json implies {shape:?}", a.name, a.shape)))
}
