//! Hugging Face names, layouts and `config.json`: what a checkpoint folder holds.

use std::collections::HashMap;

use candle_core::{Device, Tensor, Var};
use serde_json::{Value, json};

use super::config::{Family, Ffn, ModelConfig, Norm, Positions};
use super::params::{Params, Role, Spec, specs};
use crate::error::{Error, Result};

/// One named array in checkpoint layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Hugging Face name.
    pub name: String,
    /// Shape in the checkpoint.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: Vec<f32>,
}

/// One checkpoint array's relation to one of our parameters.
struct Piece {
    name: String,
    /// Rows of our (output-major) parameter.
    rows: std::ops::Range<usize>,
    transposed: bool,
}

fn pieces(config: &ModelConfig, spec: &Spec) -> Vec<Piece> {
    let rows = spec.shape[0];
    let (d, f) = (config.width, config.hidden_width());
    let one = |name: String, transposed| vec![Piece { name, rows: 0..rows, transposed }];
    let gate_and_up = |gate: String, up: String, transposed| {
        if config.ffn.gated() {
            vec![Piece { name: gate, rows: 0..f, transposed }, Piece { name: up, rows: f..2 * f, transposed }]
        } else {
            one(up, transposed)
        }
    };
    let l = spec.layer.unwrap_or(0);
    match config.family {
        Family::Gpt => {
            let h = |s: &str| format!("transformer.h.{l}.{s}");
            match spec.role {
                Role::TokenEmbedding => one("transformer.wte.weight".into(), false),
                Role::PositionEmbedding => one("transformer.wpe.weight".into(), false),
                Role::AttnNormGain => one(h("ln_1.weight"), false),
                Role::AttnNormBias => one(h("ln_1.bias"), false),
                Role::Qkv => one(h("attn.c_attn.weight"), true),
                Role::QkvBias => one(h("attn.c_attn.bias"), false),
                Role::QNormGain => one(h("attn.q_norm.weight"), false),
                Role::KNormGain => one(h("attn.k_norm.weight"), false),
                Role::AttnOut => one(h("attn.c_proj.weight"), true),
                Role::AttnOutBias => one(h("attn.c_proj.bias"), false),
                Role::FfnNormGain => one(h("ln_2.weight"), false),
                Role::FfnNormBias => one(h("ln_2.bias"), false),
                Role::Up => gate_and_up(h("mlp.c_gate.weight"), h("mlp.c_fc.weight"), true),
                Role::UpBias => gate_and_up(h("mlp.c_gate.bias"), h("mlp.c_fc.bias"), false),
                Role::Down => one(h("mlp.c_proj.weight"), true),
                Role::DownBias => one(h("mlp.c_proj.bias"), false),
                Role::FinalNormGain => one("transformer.ln_f.weight".into(), false),
                Role::FinalNormBias => one("transformer.ln_f.bias".into(), false),
                Role::LmHead => one("lm_head.weight".into(), false),
            }
        }
        Family::Llama => {
            let h = |s: &str| format!("model.layers.{l}.{s}");
            let qkv = |suffix: &str| {
                ["q", "k", "v"]
                    .iter()
                    .enumerate()
                    .map(|(i, p)| Piece {
                        name: h(&format!("self_attn.{p}_proj.{suffix}")),
                        rows: i * d..(i + 1) * d,
                        transposed: false,
                    })
                    .collect()
            };
            match spec.role {
                Role::TokenEmbedding => one("model.embed_tokens.weight".into(), false),
                Role::PositionEmbedding => one("model.embed_positions.weight".into(), false),
                Role::AttnNormGain => one(h("input_layernorm.weight"), false),
                Role::AttnNormBias => one(h("input_layernorm.bias"), false),
                Role::Qkv => qkv("weight"),
                Role::QkvBias => qkv("bias"),
                Role::QNormGain => one(h("self_attn.q_norm.weight"), false),
                Role::KNormGain => one(h("self_attn.k_norm.weight"), false),
                Role::AttnOut => one(h("self_attn.o_proj.weight"), false),
                Role::AttnOutBias => one(h("self_attn.o_proj.bias"), false),
                Role::FfnNormGain => one(h("post_attention_layernorm.weight"), false),
                Role::FfnNormBias => one(h("post_attention_layernorm.bias"), false),
                Role::Up => gate_and_up(h("mlp.gate_proj.weight"), h("mlp.up_proj.weight"), false),
                Role::UpBias => gate_and_up(h("mlp.gate_proj.bias"), h("mlp.up_proj.bias"), false),
                Role::Down => one(h("mlp.down_proj.weight"), false),
                Role::DownBias => one(h("mlp.down_proj.bias"), false),
                Role::FinalNormGain => one("model.norm.weight".into(), false),
                Role::FinalNormBias => one("model.norm.bias".into(), false),
                Role::LmHead => one("lm_head.weight".into(), false),
            }
        }
    }
}

fn transpose(v: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(v.len());
    for c in 0..cols {
        out.extend((0..rows).map(|r| v[r * cols + c]));
    }
    out
}

/// Arrays in checkpoint layout from tensors that stand one for one for the parameters (values or gradients).
///
/// # Errors
/// Tensors of other shapes than the parameters, or off the CPU and not copyable to it.
pub fn to_hf(config: &ModelConfig, tensors: &[&Tensor]) -> Result<Vec<Named>> {
    let mut out = Vec::new();
    for (spec, t) in specs(config).iter().zip(tensors) {
        let data = t.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        let cols: usize = spec.shape[1..].iter().product();
        for p in pieces(config, spec) {
            let part = &data[p.rows.start * cols..p.rows.end * cols];
            let n = p.rows.len();
            let (shape, data) = match (spec.shape.len(), p.transposed) {
                (1, _) => (vec![n], part.to_vec()),
                (_, false) => (vec![n, cols], part.to_vec()),
                (_, true) => (vec![cols, n], transpose(part, n, cols)),
            };
            out.push(Named { name: p.name, shape, data });
        }
    }
    Ok(out)
}

/// Names of a checkpoint's arrays, in the order of our parameters: the token embedding first.
pub fn names(config: &ModelConfig) -> Vec<String> {
    specs(config).iter().flat_map(|s| pieces(config, s)).map(|p| p.name).collect()
}

/// Parameters from arrays in checkpoint layout.
///
/// # Errors
/// A missing array or one of another shape, by name.
pub fn from_hf(config: &ModelConfig, arrays: &HashMap<String, Named>, device: &Device) -> Result<Params> {
    let specs = specs(config);
    let mut vars = Vec::with_capacity(specs.len());
    for spec in &specs {
        let cols: usize = spec.shape[1..].iter().product();
        let mut data = vec![0f32; spec.shape.iter().product()];
        for p in pieces(config, spec) {
            let n = p.rows.len();
            let want = match (spec.shape.len(), p.transposed) {
                (1, _) => vec![n],
                (_, false) => vec![n, cols],
                (_, true) => vec![cols, n],
            };
            let a = arrays
                .get(&p.name)
                .ok_or_else(|| Error::usage(format!("the checkpoint lacks `{}`", p.name)))?;
            if a.shape != want || a.data.len() != n * cols {
                let (name, got) = (&p.name, &a.shape);
                return Err(Error::usage(format!(
                    "`{name}` has shape {got:?}, the configuration wants {want:?}"
                )));
            }
            let part = &mut data[p.rows.start * cols..p.rows.end * cols];
            if p.transposed {
                part.copy_from_slice(&transpose(&a.data, cols, n));
            } else {
                part.copy_from_slice(&a.data);
            }
        }
        vars.push(Var::from_tensor(&Tensor::from_vec(data, spec.shape.as_slice(), device)?)?);
    }
    Ok(Params { specs, vars })
}

/// Whether `transformers` has a class for this arm.
pub fn known_to_transformers(c: &ModelConfig) -> bool {
    let gpt2 = c.family == Family::Gpt
        && c.norm == Norm::LayerNorm
        && c.pos == Positions::Learned
        && c.bias
        && c.ffn == Ffn::Gelu;
    let llama = c.family == Family::Llama
        && c.norm == Norm::RmsNorm
        && c.pos == Positions::Rope
        && c.ffn == Ffn::Swiglu;
    !c.qk_norm && (gpt2 || llama)
}

/// `tokenizer_config.json`: the tokenizer is what `tokenizer.json` says. Without this file `AutoTokenizer` takes the class
/// that goes with `model_type`, which adds special tokens past the embedding's last row.
pub fn tokenizer_config_json(c: &ModelConfig) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": c.context,
        "clean_up_tokenization_spaces": false,
    })
}

/// `config.json` of a checkpoint: Hugging Face keys, and ours under `growthpath`.
pub fn config_json(c: &ModelConfig) -> Value {
    let known = known_to_transformers(c);
    let mut v = match c.family {
        Family::Gpt => json!({
            "architectures": [if known { "GPT2LMHeadModel" } else { "GrowthpathForCausalLM" }],
            "model_type": if known { "gpt2" } else { "growthpath" },
            "vocab_size": c.vocab, "n_positions": c.context, "n_ctx": c.context, "n_embd": c.width,
            "n_layer": c.layers, "n_head": c.heads, "n_inner": c.hidden_width(),
            "activation_function": "gelu_new", "layer_norm_epsilon": c.norm_eps,
            "initializer_range": c.init_std, "tie_word_embeddings": c.tied,
            "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
        }),
        Family::Llama => json!({
            "architectures": [if known { "LlamaForCausalLM" } else { "GrowthpathForCausalLM" }],
            "model_type": if known { "llama" } else { "growthpath" },
            "vocab_size": c.vocab, "max_position_embeddings": c.context, "hidden_size": c.width,
            "intermediate_size": c.hidden_width(), "num_hidden_layers": c.layers,
            "num_attention_heads": c.heads, "num_key_value_heads": c.heads, "head_dim": c.head_dim(),
            "hidden_act": "silu", "rms_norm_eps": c.norm_eps, "rope_theta": c.rope_base,
            "attention_bias": c.bias, "mlp_bias": c.bias,
            "initializer_range": c.init_std, "tie_word_embeddings": c.tied,
        }),
    };
    v["torch_dtype"] = json!("float32");
    // Documents are separated by nothing: no special tokens.
    v["bos_token_id"] = Value::Null;
    v["eos_token_id"] = Value::Null;
    v["growthpath"] = serde_json::to_value(c).unwrap_or(Value::Null);
    v
}
