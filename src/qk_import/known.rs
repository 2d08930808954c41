//! Which family a `model_type` belongs to, and why some have none.

use super::family::{Family, PositionScheme};
use super::table::FAMILIES;

/// Our own arms that `transformers` has no class for.
pub(super) const OUR_TYPE: &str = "growthpath";

/// The family of our own arms with the names of another.
pub(super) fn ours(names: Family, positions: PositionScheme) -> Family {
    Family { types: &[OUR_TYPE], positions, ..names }
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
