//! Kinds of attention: where W_Q and W_K lie and how logits are made of them.
//!
//! What [`super::table`] does not list is refused by name: a checkpoint that looks like another architecture must not be read
//! as that one.

use super::table::{FAMILIES, GPT2, LLAMA};

/// Where the query and key projections of a layer lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Projection {
    /// Two matrices, `[out, in]`.
    Separate {
        /// Module of W_Q under the attention module.
        q: &'static str,
        /// Module of W_K.
        k: &'static str,
    },
    /// One matrix.
    Fused {
        /// Its module.
        name: &'static str,
        /// Order of its output features.
        order: Order,
    },
}

/// Order of the output features of a fused projection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    /// All queries, all keys, all values.
    Blocks,
    /// Query, key, value of each head.
    PerHead,
    /// The queries of a group, its key, its value (Falcon's new decoder architecture).
    Grouped,
    /// Falcon's: grouped, blocks or per head, as its configuration says.
    Falcon,
    /// GPTBigCode's: blocks with one key head, or per head.
    BigCode,
}

/// The norm whose output attention reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum InputNorm {
    /// None with a gain: attention reads the residual stream itself, or a norm without parameters.
    None,
    /// The first of these modules that is there, `x = gain * n (+ bias)`.
    Gain(&'static [&'static str]),
    /// `x = (1 + weight) * n (+ bias)`.
    GainPlusOne(&'static str),
}

/// How positions reach the logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Positions {
    /// Rotations in every layer.
    Rotary,
    /// Learned or no positions: nothing happens to queries and keys.
    Plain,
    /// A bias by distance.
    Alibi,
    /// A bias by distance where `alibi` is set, else the second value's.
    AlibiIf(&'static str, bool),
    /// Rotations where `no_rope_layers` says 1.
    Listed,
    /// Rotations in layers with a sliding window.
    SlidingOnly,
}

/// What multiplies `q . k`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// `1 / sqrt(d_h)`.
    HeadWidth,
    /// 1.
    One,
    /// `attention_multiplier`, 1 when absent.
    Multiplier,
    /// `1 / sqrt(query_pre_attn_scalar)`; 256 when absent.
    Scalar,
    /// GPT-2's `scale_attn_weights` and `scale_attn_by_inverse_layer_idx`.
    Gpt2,
    /// MPT's `attn_config.softmax_scale`.
    Softmax,
}

/// Whether queries and keys are normalized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum QkNorm {
    /// Not by this class; a tensor that says otherwise is believed.
    Never,
    /// Always, with or without weights.
    Always,
    /// As the key of the configuration says; the second value when absent.
    If(&'static str, bool),
}

/// One kind of attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    /// `model_type`s.
    pub(super) types: &'static [&'static str],
    /// The list of layers.
    pub(super) layers: &'static str,
    /// The attention module of a layer; may have dots.
    pub(super) attention: &'static str,
    pub(super) projection: Projection,
    /// Modules and buffers under attention that have no part in the logits.
    pub(super) others: &'static [&'static str],
    pub(super) norm: InputNorm,
    pub(super) positions: Positions,
    pub(super) scale: Scale,
    pub(super) qk_norm: QkNorm,
    /// Share of a head's width that is rotated where the configuration does not say.
    pub(super) rotated: f64,
    /// Whether some layers may have no attention.
    pub(super) hybrid: bool,
    /// Whether a fused matrix may be stored input-major (GPT-2's Conv1D).
    pub(super) conv1d: bool,
}

/// Our own arms that `transformers` has no class for.
pub(super) const OUR_TYPE: &str = "growthpath";

/// The family of our own arms with GPT-2's names.
pub(super) fn ours(gpt_names: bool, rotary: bool) -> Family {
    let positions = if rotary { Positions::Rotary } else { Positions::Plain };
    Family { types: &[OUR_TYPE], positions, ..(if gpt_names { GPT2 } else { LLAMA }) }
}

/// Architectures that cannot be read, with the reason.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["deepseek_v2", "deepseek_v3", "deepseek_v32", "minicpm3", "kimi_k2", "glm4_moe_lite"],
        "multi-head latent attention: keys come from a shared low-rank latent and a rotary part apart, there is no W_K per head",
    ),
    (
        &["mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm", "recurrent_gemma"],
        "no attention logits: it is not a query-key model",
    ),
    (
        &[
            "t5",
            "mt5",
            "umt5",
            "longt5",
            "switch_transformers",
            "bart",
            "mbart",
            "pegasus",
            "whisper",
            "marian",
            "m2m_100",
        ],
        "an encoder-decoder: self-attention of two stacks and cross-attention are not told apart here",
    ),
    (
        &[
            "qwen3_next",
            "kimi_linear",
            "bamba",
            "zamba",
            "zamba2",
            "falcon_h1",
            "nemotron_h",
            "minimax",
            "lfm2_moe",
        ],
        "its attention layers (gates, multipliers or linear attention) are not known here",
    ),
];

/// The family of a `model_type`, or why there is none.
pub(super) fn family(model_type: &str) -> Result<Family, String> {
    if let Some(f) = FAMILIES.iter().find(|f| f.types.contains(&model_type)) {
        return Ok(*f);
    }
    if let Some((_, why)) = REFUSED.iter().find(|(types, _)| types.contains(&model_type)) {
        return Err(format!("model_type `{model_type}` cannot be read: {why}"));
    }
    let known: Vec<&str> = FAMILIES.iter().flat_map(|f| f.types).copied().collect();
    Err(format!(
        "model_type `{model_type}` is not known, and its attention is not guessed; known: {}",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_listed_once() {
        let mut all: Vec<&str> = FAMILIES.iter().flat_map(|f| f.types).copied().collect();
        all.extend(REFUSED.iter().flat_map(|r| r.0));
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(n, all.len());
        assert!(family("mamba").unwrap_err().contains("no attention logits"));
        assert!(family("newest").unwrap_err().contains("`newest` is not known"));
    }
}
