//! A checkpoint folder opened for its attention: what it is, what is odd about it, and its layers one at a time.

use std::path::{Path, PathBuf};

use growthpath_analysis::spectral::HeadLayout;

use super::config::Config;
use super::family::{Family, Projection};
use super::find::{Found, find, known};
use super::store::Store;
use super::{order, what};
use crate::error::{Error, Result};

/// Beginnings of the names of modules that normalize queries or keys.
const QK_NORMS: [&str; 12] = [
    "q_norm",
    "k_norm",
    "q_layernorm",
    "k_layernorm",
    "query_norm",
    "key_norm",
    "query_layernorm",
    "key_layernorm",
    "q_ln",
    "k_ln",
    "qk_norm",
    "ln_q",
];

/// A foreign checkpoint whose architecture is known.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// `model_type` of its language model.
    pub model_type: String,
    /// Steps of training, where the folder tells.
    pub step: Option<u64>,
    /// Heads and their width, the same in every layer.
    pub layout: HeadLayout,
    /// Model width d.
    pub width: usize,
    /// Layers that have attention.
    pub layers: Vec<usize>,
    /// Why the logits are not `x_i M x_j`, where they are not.
    pub not_bilinear: Option<String>,
    /// What a reader of the numbers should know.
    pub notes: Vec<String>,
    pub(super) config: Config,
    pub(super) family: Family,
    pub(super) store: Store,
    prefix: String,
}

impl Checkpoint {
    /// Open a checkpoint folder; of its weights only headers are read.
    ///
    /// # Errors
    /// What the path is instead of a checkpoint folder; an architecture that is not known; a tensor under attention that
    /// the architecture does not have; weights that are missing, damaged or quantized in a way that is not read.
    pub fn open(path: &Path) -> Result<Self> {
        what::check(path)?;
        let config = Config::read(path)?;
        let family = known(&config)?;
        let store = Store::open(path)?;
        let (prefix, found) = find(path, &config, &family, &store)?;
        let mut c = Self {
            path: path.to_path_buf(),
            model_type: config.model_type.clone(),
            step: order::step_of(path),
            layout: HeadLayout { heads: 0, kv_heads: 0, head_dim: 0 },
            width: config.need(&["hidden_size", "n_embd", "n_embed", "d_model"])?,
            layers: Vec::new(),
            not_bilinear: None,
            notes: Vec::new(),
            config,
            family,
            store,
            prefix,
        };
        c.layers = c.choose(&found)?;
        let normalized = c.check_tensors(&found)?;
        c.layout = c.heads()?;
        c.not_bilinear = c.why_not_bilinear(normalized)?;
        c.remark(&found)?;
        Ok(c)
    }

    /// Layers to read: those of the configuration that have attention.
    fn choose(&self, found: &Found) -> Result<Vec<usize>> {
        let count = self.config.need(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"])?;
        let mut layers = Vec::new();
        for l in 0..count {
            if found.attention.contains_key(&l) {
                layers.push(l);
            } else if !(self.family.hybrid && found.layers.contains(&l)) {
                return Err(Error::format(
                    &self.path,
                    format!(
                        "layer {l} has no tensor under `{}{}.{l}.{}`, though config.json says {count} layers: is the checkpoint whole?",
                        self.prefix, self.family.layers, self.family.attention
                    ),
                ));
            }
        }
        if layers.is_empty() {
            return Err(Error::format(&self.path, "no layer has attention"));
        }
        Ok(layers)
    }

    /// Every tensor under attention must be one that the architecture has. Whether some normalize queries or keys.
    fn check_tensors(&self, found: &Found) -> Result<bool> {
        let mut normalized = false;
        let projections: Vec<&str> = match self.family.projection {
            Projection::Separate { q, k } => vec![q, k],
            Projection::Fused { name, .. } => vec![name],
        };
        for (l, names) in self.layers.iter().filter_map(|l| Some((l, found.attention.get(l)?))) {
            for name in names {
                let below =
                    |m: &&str| name.strip_prefix(*m).is_some_and(|r| r.is_empty() || r.starts_with('.'));
                if QK_NORMS.iter().any(&below) {
                    normalized = true;
                    continue;
                }
                if self.family.others.iter().any(&below) {
                    continue;
                }
                let ours = projections.iter().find(|m| below(m)).map(|m| &name[m.len()..]);
                let plain = |rest: &str| {
                    matches!(
                        rest,
                        ".weight" | ".bias" | ".weight_scale" | ".weight_scale_inv" | ".weight_zero_point"
                    ) || matches!(rest, ".input_scale" | ".output_scale" | ".activation_scale")
                };
                if !ours.is_some_and(plain) {
                    return Err(self.unexpected(*l, name));
                }
            }
        }
        Ok(normalized)
    }

    fn unexpected(&self, layer: usize, name: &str) -> Error {
        let full = format!("{}{}.{layer}.{}.{name}", self.prefix, self.family.layers, self.family.attention);
        let has = |parts: &[&str]| parts.iter().any(|p| name.contains(p));
        let why = if has(&["lora_", "base_layer"]) {
            "a LoRA adapter that is not merged: merge it into its base first"
        } else if has(&[
            "qweight",
            "qzeros",
            "g_idx",
            "SCB",
            "absmax",
            "quant_map",
            "quant_state",
            "weight_packed",
            "_data",
            ".scales",
        ]) {
            "a quantized weight that is packed: dequantize the checkpoint first"
        } else if has(&["kv_a_proj", "q_a_proj", "kv_b_proj"]) {
            "multi-head latent attention, which has no W_K per head and is not read"
        } else {
            "unknown there, and what it does to the logits is not guessed"
        };
        Error::format(&self.path, format!("`{full}`: with model_type `{}` this is {why}", self.model_type))
    }

    pub(super) fn name(&self, layer: usize, below: &str) -> String {
        format!("{}{}.{layer}.{below}", self.prefix, self.family.layers)
    }

    pub(super) fn attention(&self, layer: usize, below: &str) -> String {
        self.name(layer, &format!("{}.{below}", self.family.attention))
    }
}
