//! Which of our arms another program's checkpoint is: `config.json` of a Hugging Face GPT-2 or LLaMA, read strictly.

use serde_json::Value;

use super::config::{Family, Ffn, ModelConfig, Norm, Positions};

/// The arm that computes what a checkpoint's `config.json` describes; with it, the checkpoint can be trained on.
///
/// # Errors
/// What no arm has, by its key: the model would not be the same function.
pub fn arm_of(json: &Value) -> Result<ModelConfig, String> {
    if let Some(ours) = json.get("growthpath") {
        return serde_json::from_value(ours.clone())
            .map_err(|e| format!("its `growthpath` section is not ours: {e}"));
    }
    let c = Keys(json);
    let config = match c.text("model_type") {
        Some("gpt2") => gpt2(&c)?,
        Some(kind @ ("llama" | "mistral")) => llama(&c, kind)?,
        Some(other) => {
            return Err(format!(
                "model_type `{other}` fits none of the arms; gpt2, llama and mistral can, where their options do"
            ));
        }
        None => return Err("it names no `model_type`".into()),
    };
    if c.present("quantization_config") {
        return Err("the weights are quantized: dequantize them first".into());
    }
    config.validate().map_err(|e| e.to_string())?;
    Ok(config)
}

struct Keys<'a>(&'a Value);

impl Keys<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }
    fn present(&self, key: &str) -> bool {
        self.value(key).is_some()
    }
    fn text(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(Value::as_str)
    }
    fn number(&self, key: &str, absent: f64) -> Result<f64, String> {
        self.value(key)
            .map_or(Ok(absent), |v| v.as_f64().ok_or_else(|| format!("`{key}` is {v}, not a number")))
    }
    fn flag(&self, key: &str, absent: bool) -> Result<bool, String> {
        self.value(key)
            .map_or(Ok(absent), |v| v.as_bool().ok_or_else(|| format!("`{key}` is {v}, not true or false")))
    }
    fn count(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(v) = self.value(key) else { return Ok(None) };
        v.as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .map(Some)
            .ok_or_else(|| format!("`{key}` is {v}, not a count"))
    }
    fn need(&self, key: &str) -> Result<usize, String> {
        self.count(key)?.ok_or_else(|| format!("it lacks `{key}`"))
    }
    /// A switch that must stand as in our arms.
    fn must(&self, key: &str, ours: bool) -> Result<(), String> {
        if self.flag(key, ours)? == ours {
            Ok(())
        } else {
            Err(format!("`{key}` is {}: no arm has that", !ours))
        }
    }
}

fn gpt2(c: &Keys<'_>) -> Result<ModelConfig, String> {
    c.must("scale_attn_weights", true)?;
    c.must("scale_attn_by_inverse_layer_idx", false)?;
    c.must("add_cross_attention", false)?;
    let ffn = match c.text("activation_function").unwrap_or("gelu_new") {
        "gelu_new" | "gelu_pytorch_tanh" => Ffn::Gelu,
        "relu" => Ffn::Relu,
        "silu" | "swish" => Ffn::Silu,
        other => {
            return Err(format!("`activation_function` is `{other}`: the arms have gelu_new, relu and silu"));
        }
    };
    Ok(ModelConfig {
        ffn,
        tied: c.flag("tie_word_embeddings", true)?,
        width: c.need("n_embd")?,
        layers: c.need("n_layer")?,
        heads: c.need("n_head")?,
        context: c.need("n_positions")?,
        hidden: c.count("n_inner")?.unwrap_or(0),
        vocab: c.need("vocab_size")?,
        init_std: c.number("initializer_range", 0.02)?,
        norm_eps: c.number("layer_norm_epsilon", 1e-5)?,
        ..ModelConfig::gpt2("gpt")
    })
}

fn llama(c: &Keys<'_>, kind: &str) -> Result<ModelConfig, String> {
    let (width, heads) = (c.need("hidden_size")?, c.need("num_attention_heads")?);
    // Mistral's default, where the key is absent, is not the number of heads.
    let keys = match (c.count("num_key_value_heads")?, kind) {
        (None, "mistral") => return Err("it lacks `num_key_value_heads`".into()),
        (n, _) => n.unwrap_or(heads),
    };
    if keys != heads {
        return Err(format!(
            "{heads} query heads share {keys} key heads (grouped-query attention): the arms have as many of each"
        ));
    }
    if let Some(n) = c.count("head_dim")?.filter(|n| n * heads != width) {
        return Err(format!(
            "`head_dim` {n} x {heads} heads is not the width {width}: the arms have no such heads"
        ));
    }
    let context = c.need("max_position_embeddings")?;
    if let Some(n) = c.count("sliding_window")?.filter(|n| *n < context) {
        return Err(format!("attention has a sliding window of {n}: the arms attend to everything before"));
    }
    let rope = c.value("rope_parameters").or_else(|| c.value("rope_scaling"));
    let scaling = rope.and_then(|r| r.get("rope_type").or_else(|| r.get("type"))).and_then(Value::as_str);
    if let Some(scaling) = scaling.filter(|s| *s != "default") {
        return Err(format!("its rotary positions are scaled (`{scaling}`): the arms' are not"));
    }
    let rope_base = rope.and_then(|r| r.get("rope_theta")).and_then(Value::as_f64);
    let ffn = match c.text("hidden_act").unwrap_or("silu") {
        "silu" | "swish" => Ffn::Swiglu,
        "gelu_new" | "gelu_pytorch_tanh" => Ffn::Geglu,
        "relu" => Ffn::Reglu,
        other => {
            return Err(format!(
                "`hidden_act` is `{other}`: the arms have silu, gelu_pytorch_tanh and relu gates"
            ));
        }
    };
    let (attention, mlp) = (c.flag("attention_bias", false)?, c.flag("mlp_bias", false)?);
    if attention != mlp {
        return Err("only one of attention and feed-forward has biases: the arms have both or none".into());
    }
    Ok(ModelConfig {
        norm: Norm::RmsNorm,
        ffn,
        bias: attention,
        pos: Positions::Rope,
        tied: c.flag("tie_word_embeddings", false)?,
        width,
        layers: c.need("num_hidden_layers")?,
        heads,
        context,
        hidden: c.need("intermediate_size")?,
        vocab: c.need("vocab_size")?,
        init_std: c.number("initializer_range", 0.02)?,
        rope_base: rope_base.map_or_else(|| c.number("rope_theta", 10_000.0), Ok)?,
        norm_eps: c.number("rms_norm_eps", 1e-6)?,
        family: Family::Llama,
        ..ModelConfig::gpt2("llama")
    })
}

#[cfg(test)]
mod tests {
    use super::super::hf::config_json;
    use super::*;
    use serde_json::json;

    #[test]
    fn our_own_arms_come_back_without_our_section() {
        for preset in ["gpt", "llama"] {
            let (mut c, _) = ModelConfig::preset(preset, "nano").unwrap();
            c.vocab = 300;
            let mut json = config_json(&c);
            assert_eq!(arm_of(&json).unwrap(), c);
            json.as_object_mut().unwrap().remove("growthpath");
            c.hidden = c.hidden_width();
            assert_eq!(arm_of(&json).unwrap(), c);
        }
    }

    #[test]
    fn what_no_arm_has_is_named() {
        let (mut c, _) = ModelConfig::preset("llama", "nano").unwrap();
        c.vocab = 300;
        let mut plain = config_json(&c);
        plain.as_object_mut().unwrap().remove("growthpath");
        for (key, value, says) in [
            ("num_key_value_heads", json!(2), "grouped-query"),
            ("head_dim", json!(32), "head_dim"),
            ("attention_bias", json!(true), "biases"),
            ("hidden_act", json!("gelu"), "`gelu`"),
            ("rope_scaling", json!({"type": "yarn", "factor": 4.0}), "scaled"),
            ("model_type", json!("qwen3"), "qwen3"),
            ("sliding_window", json!(8), "sliding"),
            ("quantization_config", json!({}), "quantized"),
            ("num_hidden_layers", json!("4"), "num_hidden_layers"),
            ("hidden_size", json!(63), "head_dim"),
        ] {
            let mut bad = plain.clone();
            bad[key] = value;
            let error = arm_of(&bad).unwrap_err();
            assert!(error.contains(says), "{key}: {error}");
        }
    }
}
