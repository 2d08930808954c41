//! One configuration for every arm: presets, one-change ablations, sizes, `--set KEY=VALUE`.

pub use growthpath_kernels::activation::Activation as Ffn;
pub use growthpath_kernels::norm::Norm;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hint::unknown;

/// Position information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// A learned vector a position, added to the embedding.
    Learned,
    /// Rotary embedding of queries and keys.
    Rope,
}

/// Which Hugging Face naming and layout checkpoints follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// GPT-2: `transformer.h.N.attn.c_attn`, matrices stored input-major.
    Gpt,
    /// LLaMA: `model.layers.N.self_attn.q_proj`, matrices stored output-major.
    Llama,
}

/// A decoder's shape and arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Name of the preset it began as.
    pub preset: String,
    /// Checkpoint naming.
    pub family: Family,
    /// Normalization.
    pub norm: Norm,
    /// Feed-forward form.
    pub ffn: Ffn,
    /// Biases on every projection and norm.
    pub bias: bool,
    /// Positions.
    pub pos: Positions,
    /// Output projection shares the token embedding.
    pub tied: bool,
    /// RMS-normalize queries and keys per head.
    pub qk_norm: bool,
    /// Model width d.
    pub width: usize,
    /// Layers L.
    pub layers: usize,
    /// Heads H.
    pub heads: usize,
    /// Context length T.
    pub context: usize,
    /// Hidden width of the feed-forward block; 0 = 4 d, or 8 d / 3 when gated (same parameter count).
    pub hidden: usize,
    /// Vocabulary; 0 = taken from the tokenizer.
    pub vocab: usize,
    /// Standard deviation of the initial weights.
    pub init_std: f64,
    /// Rotary base.
    pub rope_base: f64,
    /// Added to the variance in the norms.
    pub norm_eps: f64,
}

/// Every preset with what it is.
pub const PRESETS: &[(&str, &str)] = &[
    ("gpt", "LayerNorm, learned positions, biases, GELU (HF GPT-2)"),
    ("gpt+geglu", "gpt with a GELU-gated feed-forward of the same size"),
    ("gpt+swiglu", "gpt with a SiLU-gated feed-forward of the same size"),
    ("gpt+silu", "gpt with an ungated SiLU feed-forward: SwiGLU's activation without its gate"),
    ("gpt+rmsnorm", "gpt with RMSNorm"),
    ("gpt-nobias", "gpt without biases"),
    ("gpt+rope", "gpt with rotary positions"),
    ("llama", "RMSNorm, rotary positions, no biases, SwiGLU (HF LLaMA)"),
    ("llama-ungated", "llama with an ungated SiLU feed-forward of the same size"),
];

/// Named sizes: name, d, L, H, T, batch, purpose.
pub const SIZES: &[(&str, usize, usize, usize, usize, usize, &str)] = &[
    ("nano", 64, 4, 4, 64, 8, "tests, seconds"),
    ("micro", 128, 8, 4, 128, 16, "a laptop's minutes"),
    ("mini", 256, 8, 8, 256, 8, "a laptop's hours"),
    ("124m", 768, 12, 12, 1024, 32, "GPU (GPT-2 small)"),
    ("270m", 1024, 18, 16, 1024, 32, "GPU (the paper's scale)"),
];

impl ModelConfig {
    /// GPT-2 without sizes: what every arm is a change of.
    pub(super) fn gpt2(preset: &str) -> Self {
        Self {
            preset: preset.into(),
            family: Family::Gpt,
            norm: Norm::LayerNorm,
            ffn: Ffn::Gelu,
            bias: true,
            pos: Positions::Learned,
            tied: true,
            qk_norm: false,
            width: 0,
            layers: 0,
            heads: 0,
            context: 0,
            hidden: 0,
            vocab: 0,
            init_std: 0.02,
            rope_base: 10_000.0,
            norm_eps: 1e-5,
        }
    }

    /// A preset at a named size; the second value is the size's batch.
    ///
    /// # Errors
    /// An unknown name, with the known ones listed.
    pub fn preset(preset: &str, size: &str) -> Result<(Self, usize)> {
        let Some(&(_, width, layers, heads, context, batch, _)) = SIZES.iter().find(|s| s.0 == size) else {
            return Err(Error::usage(unknown("size", size, SIZES.iter().map(|s| s.0))));
        };
        let mut c = Self { width, layers, heads, context, ..Self::gpt2(preset) };
        match preset {
            "gpt" => {}
            "gpt+geglu" => c.ffn = Ffn::Geglu,
            "gpt+swiglu" => c.ffn = Ffn::Swiglu,
            "gpt+silu" => c.ffn = Ffn::Silu,
            "gpt+rmsnorm" => c.norm = Norm::RmsNorm,
            "gpt-nobias" => c.bias = false,
            "gpt+rope" => c.pos = Positions::Rope,
            "llama" | "llama-ungated" => {
                c.family = Family::Llama;
                c.norm = Norm::RmsNorm;
                c.bias = false;
                c.pos = Positions::Rope;
                c.ffn = if preset == "llama" { Ffn::Swiglu } else { Ffn::Silu };
            }
            _ => {
                return Err(Error::usage(unknown("preset", preset, PRESETS.iter().map(|p| p.0))));
            }
        }
        Ok((c, batch))
    }

    /// Apply `key=value`.
    ///
    /// # Errors
    /// An unknown key or a value that the key does not take.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let Some((key, value)) = assignment.split_once('=') else {
            return Err(Error::usage(format!("--set wants KEY=VALUE, got `{assignment}`")));
        };
        let mut json = serde_json::to_value(&*self).map_err(|e| Error::usage(e.to_string()))?;
        // What a preset decides is not set by hand; a vocabulary may be padded.
        let settable = |k: &&str| !["preset", "family"].contains(k);
        let keys = json.as_object().into_iter().flat_map(|o| o.keys().map(String::as_str)).filter(settable);
        let Some(old) = json.get(key).filter(|_| settable(&key)) else {
            return Err(Error::usage(format!("--set: {}", unknown("key", key, keys))));
        };
        let new = match old {
            serde_json::Value::String(_) => serde_json::Value::String(value.to_lowercase()),
            _ => serde_json::from_str(value).map_err(|_| {
                Error::usage(format!("--set {key}: `{value}` is not a value for it (now {old})"))
            })?,
        };
        json[key] = new;
        *self = serde_json::from_value(json).map_err(|e| {
            // The parser names the values that there are, between backquotes.
            let e = e.to_string();
            let known: Vec<&str> =
                e.split("expected").nth(1).unwrap_or("").split('`').skip(1).step_by(2).collect();
            Error::usage(match known[..] {
                [] => format!("--set {key}: `{value}` is not a value for it: {e}"),
                _ => format!("--set {key}: {}", unknown("value", value, known.iter().copied())),
            })
        })?;
        Ok(())
    }

    /// Head width d_h.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads.max(1)
    }

    /// Hidden width of the feed-forward block.
    pub fn hidden_width(&self) -> usize {
        match (self.hidden, self.ffn.gated()) {
            (0, false) => 4 * self.width,
            // 8 d / 3 up to a multiple of 8: parameter-matched to 4 d ungated
            (0, true) => (8 * self.width / 3).div_ceil(8) * 8,
            (h, _) => h,
        }
    }

    /// Width of the up projection's output: of the hidden units, and of their gates where there are any.
    pub fn up_width(&self) -> usize {
        if self.ffn.gated() { 2 * self.hidden_width() } else { self.hidden_width() }
    }

    /// First layer of the upper half: L / 2.
    pub fn upper_half(&self) -> usize {
        self.layers / 2
    }

    /// Check that the sizes fit together.
    ///
    /// # Errors
    /// The first thing that does not, with the mend.
    pub fn validate(&self) -> Result<()> {
        let bad = |m: String| Err(Error::usage(m));
        for (name, v) in [("width", self.width), ("layers", self.layers), ("heads", self.heads)] {
            if v == 0 {
                return bad(format!("{name} must be at least 1"));
            }
        }
        if self.context < 2 {
            return bad(format!("context must be at least 2, got {}", self.context));
        }
        if !self.width.is_multiple_of(self.heads) {
            return bad(format!(
                "{} heads do not divide the width {}: choose heads or width so that they do",
                self.heads, self.width
            ));
        }
        if self.pos == Positions::Rope && !self.head_dim().is_multiple_of(2) {
            return bad(format!("rotary positions need an even head width, got {}", self.head_dim()));
        }
        if self.vocab == 0 || self.vocab > u32::MAX as usize {
            return bad(format!("vocabulary of {} entries cannot be used", self.vocab));
        }
        for (name, v) in
            [("init_std", self.init_std), ("norm_eps", self.norm_eps), ("rope_base", self.rope_base)]
        {
            if !(v.is_finite() && v > 0.0) {
                return bad(format!("{name} must be a positive number, got {v}"));
            }
        }
        // Sizes that would overflow memory many times over are slips of the keyboard.
        if self.width > 1 << 16 || self.layers > 4096 || self.context > 1 << 20 || self.hidden > 1 << 20 {
            return bad(format!(
                "{} layers of width {} at context {}: too large",
                self.layers, self.width, self.context
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_exists_at_every_size() {
        for (p, _) in PRESETS {
            for s in SIZES {
                let (mut c, batch) = ModelConfig::preset(p, s.0).unwrap();
                c.vocab = 256;
                c.validate().unwrap();
                assert!(batch > 0);
            }
        }
        assert!(ModelConfig::preset("gtp", "nano").unwrap_err().to_string().contains("gpt+geglu"));
    }

    #[test]
    fn set_changes_one_field_or_says_why_not() {
        let (mut c, _) = ModelConfig::preset("gpt", "nano").unwrap();
        c.set("ffn=geglu").unwrap();
        c.set("width=192").unwrap();
        c.set("qk_norm=true").unwrap();
        assert_eq!((c.ffn, c.width, c.qk_norm), (Ffn::Geglu, 192, true));
        assert!(c.set("width=abc").unwrap_err().to_string().contains("width"));
        assert!(c.set("wdith=3").unwrap_err().to_string().contains("unknown key"));
        assert!(c.set("ffn=sine").unwrap_err().to_string().contains("ffn"));
        assert!(c.set("width").unwrap_err().to_string().contains("KEY=VALUE"));
    }

    #[test]
    fn gated_width_matches_parameters() {
        for d in [64usize, 128, 256, 768, 1024] {
            let (mut c, _) = ModelConfig::preset("gpt", "nano").unwrap();
            c.width = d;
            let plain = 2 * d * c.hidden_width();
            c.ffn = Ffn::Geglu;
            let gated = 3 * d * c.hidden_width();
            // rounding up to a multiple of 8 adds at most 7 of 8 d / 3 columns
            assert!(gated >= plain && gated < plain + 3 * d * 8, "{d}: {plain} {gated}");
        }
    }
}
