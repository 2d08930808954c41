//! What a reader of a checkpoint's numbers should know: why M is not the logits' matrix, and everything else that is odd.

use super::checkpoint::Checkpoint;
use super::family::{PositionScheme, Projection, QkNorm, Scale};
use super::find::Found;
use super::rope::rotation;
use crate::error::Result;

/// Switches of configurations that turn on normalized queries and keys.
const QK_SWITCHES: [&str; 5] =
    ["use_qk_norm", "qk_norm", "qk_layernorm", "qk_layer_norm", "attn_config.qk_ln"];

impl Checkpoint {
    /// Why the logits are not `x_i M x_j`; `normalized`: a tensor under attention normalizes queries or keys.
    pub(super) fn why_not_bilinear(&self, normalized: bool) -> Result<Option<String>> {
        let c = &self.config;
        let mut by_config = match self.family.qk_norm {
            QkNorm::Never => false,
            QkNorm::Always => true,
            QkNorm::If(key, absent) => c.flag(&[key], absent)?,
        };
        for key in QK_SWITCHES {
            by_config |= c.flag(&[key], false)?;
        }
        if normalized || by_config {
            return Ok(Some(
                "queries and keys are normalized (QK-norm): the logits do not grow with W_Q and W_K, and M is not their matrix"
                    .into(),
            ));
        }
        if let Some(limit) = c.number(&["clip_qkv", "attn_config.clip_qkv"])?.filter(|l| *l > 0.0) {
            return Ok(Some(format!(
                "queries and keys are clipped at {limit} (clip_qkv): M is the logits' matrix below that only"
            )));
        }
        if let Some(kind) = c.text(&["position_embedding_type"]).filter(|k| k.starts_with("relative_key")) {
            return Ok(Some(format!(
                "positions multiply queries and keys ({kind}): M is only a part of the logits' matrix"
            )));
        }
        Ok(None)
    }

    /// What a reader of the numbers should know.
    pub(super) fn remark(&mut self, found: &Found) -> Result<()> {
        let mut notes = Vec::new();
        if let Some(outer) = &self.config.outer_type {
            notes.push(format!("the language model of a `{outer}` checkpoint"));
        }
        let past: Vec<usize> =
            found.attention.keys().filter(|l| Some(*l) > self.layers.last()).copied().collect();
        if !past.is_empty() {
            notes.push(format!(
                "the weights hold attention in {} more layers than config.json says (from layer {} on); they are not read",
                past.len(),
                past[0]
            ));
        }
        let count = self.config.need(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"])?;
        if self.layers.len() < count {
            notes.push(format!("{} of {count} layers have attention", self.layers.len()));
        }
        let missing = self.store.missing_shards();
        if !missing.is_empty() {
            notes.push(format!("shards that hold no attention are missing: {}", missing.join(", ")));
        }
        if let Some(cap) = self.config.number(&["attn_logit_softcapping"])?.filter(|c| *c > 0.0) {
            notes.push(format!("a soft cap of {cap} acts on the logits after M: {cap} tanh(S / {cap})"));
        }
        if self.family.others.contains(&"sinks") {
            notes.push("each head has a learned sink beside its logits (gpt_oss)".into());
        }
        let tuned = self.config.value(&["attn_temperature_tuning"]);
        if tuned.is_some_and(|v| v.as_bool() != Some(false) && v.as_u64() != Some(0)) {
            notes.push(
                "queries of layers without rotary positions grow with their position (attn_temperature_tuning); M is without that"
                    .into(),
            );
        }
        match self.family.positions {
            PositionScheme::Alibi => {
                notes.push("a bias by distance (ALiBi) is added to the logits of M".into())
            }
            PositionScheme::AlibiIf(key, absent) if self.config.flag(&[key], absent)? => {
                notes.push("a bias by distance (ALiBi) is added to the logits of M".into());
            }
            _ => {}
        }
        let r = rotation(&self.config, &self.family, self.layers[0], self.layout.head_dim)?;
        if r.factor != 1.0 {
            notes.push(format!(
                "rotated queries and keys carry the factor {:.6} of the context's extension (YaRN or LongRoPE); M has it",
                r.factor
            ));
        }
        if self.layers.iter().any(|l| matches!(self.dtype(*l), Some(d) if d.starts_with("F8") || d == "I8")) {
            notes.push("quantized weights, multiplied by their scales".into());
        }
        if self.family.scale == Scale::Scalar && self.config.value(&["query_pre_attn_scalar"]).is_none() {
            notes.push(
                "config.json lacks `query_pre_attn_scalar`: 256, this model_type's default, is taken".into(),
            );
        }
        if self.family.scale == Scale::Multiplier && self.config.value(&["attention_multiplier"]).is_none() {
            notes.push(
                "config.json lacks `attention_multiplier`: 1, this model_type's default, is taken".into(),
            );
        }
        self.notes = notes;
        Ok(())
    }

    fn dtype(&self, layer: usize) -> Option<&str> {
        let module = match self.family.projection {
            Projection::Separate { q, .. } => q,
            Projection::Fused { name, .. } => name,
        };
        self.store.get(&self.attention(layer, &format!("{module}.weight"))).map(|t| t.dtype.as_str())
    }
}
