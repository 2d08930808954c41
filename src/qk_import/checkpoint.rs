//! A checkpoint folder opened for its attention: what it is, what is odd about it, and its layers one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use growthpath_analysis::spectral::HeadLayout;

use super::config::Config;
use super::family::{Family, InputNorm, OUR_TYPE, Order, Positions, Projection, QkNorm, Scale, family, ours};
use super::layer::LayerWeights;
use super::matrix::{Features, all, bias, weight};
use super::rope::rotation;
use super::store::Store;
use super::{order, what};
use crate::error::{Error, Result};

/// Parts of a name that wrappers and multimodal models put before the list of layers.
const WRAPPERS: [&str; 14] = [
    "module",
    "_orig_mod",
    "base_model",
    "model",
    "language_model",
    "text_model",
    "transformer",
    "gpt_neox",
    "decoder",
    "encoder",
    "bert",
    "roberta",
    "backbone",
    "_fsdp_wrapped_module",
];

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

/// Switches of configurations that turn on normalized queries and keys.
const QK_SWITCHES: [&str; 5] =
    ["use_qk_norm", "qk_norm", "qk_layernorm", "qk_layer_norm", "attn_config.qk_ln"];

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
    config: Config,
    family: Family,
    store: Store,
    prefix: String,
}

/// What lies under the layers of one prefix: every tensor below a layer's attention, and which layers have any tensor.
struct Found {
    attention: BTreeMap<usize, BTreeSet<String>>,
    layers: BTreeSet<usize>,
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
                if QK_NORMS.iter().any(|m| below(&m)) {
                    normalized = true;
                    continue;
                }
                if self.family.others.iter().any(|m| below(&m)) {
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

    fn name(&self, layer: usize, below: &str) -> String {
        format!("{}{}.{layer}.{below}", self.prefix, self.family.layers)
    }

    fn attention(&self, layer: usize, below: &str) -> String {
        self.name(layer, &format!("{}.{below}", self.family.attention))
    }

    /// Heads by the configuration, and where it is silent by the shapes of the weights.
    fn heads(&self) -> Result<HeadLayout> {
        let c = &self.config;
        let heads = c.need(&["num_attention_heads", "n_head", "n_heads", "num_heads"])?;
        let told = c.count(&["head_dim"])?;
        let told_kv = self.told_key_heads(heads)?;
        let rows = |module: &str| {
            let t = self.store.get(&self.attention(self.layers[0], &format!("{module}.weight")))?;
            t.shape.first().copied()
        };
        let divided =
            |n: Option<usize>, by: usize| n.filter(|n| by > 0 && n.is_multiple_of(by)).map(|n| n / by);
        let (head_dim, kv_heads) = match self.family.projection {
            Projection::Separate { q, k } => {
                let width = told.or_else(|| divided(rows(q), heads)).unwrap_or(self.width / heads);
                (width, told_kv.or_else(|| divided(rows(k), width)).unwrap_or(heads))
            }
            Projection::Fused { .. } => (told.unwrap_or(self.width / heads), told_kv.unwrap_or(heads)),
        };
        let layout = HeadLayout { heads, kv_heads, head_dim };
        if head_dim == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(c.wrong(format!(
                "gives {heads} heads, {kv_heads} for keys, of width {head_dim}: that fits no attention"
            )));
        }
        Ok(layout)
    }

    fn told_key_heads(&self, heads: usize) -> Result<Option<usize>> {
        let c = &self.config;
        match self.family.projection {
            Projection::Fused { order: Order::Falcon, .. } => {
                if c.flag(&["new_decoder_architecture"], false)? {
                    Ok(Some(c.count(&["num_kv_heads", "n_head_kv"])?.unwrap_or(heads)))
                } else {
                    Ok(Some(if c.flag(&["multi_query"], true)? { 1 } else { heads }))
                }
            }
            Projection::Fused { order: Order::BigCode, .. } => {
                Ok(Some(if c.flag(&["multi_query"], true)? { 1 } else { heads }))
            }
            Projection::Fused { order: Order::PerHead, .. } => Ok(Some(heads)),
            _ => c.count(&["num_key_value_heads", "attn_config.kv_n_heads"]),
        }
    }

    fn why_not_bilinear(&self, normalized: bool) -> Result<Option<String>> {
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
    fn remark(&mut self, found: &Found) -> Result<()> {
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
        match self.family.positions {
            Positions::Alibi => notes.push("a bias by distance (ALiBi) is added to the logits of M".into()),
            Positions::AlibiIf(key, absent) if self.config.flag(&[key], absent)? => {
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

    /// The factor on `q . k` in a layer.
    fn scale(&self, layer: usize) -> Result<f64> {
        let c = &self.config;
        let usual = 1.0 / (self.layout.head_dim as f64).sqrt();
        let scale = match self.family.scale {
            Scale::HeadWidth => usual,
            Scale::One => 1.0,
            Scale::Multiplier => c.number(&["attention_multiplier"])?.unwrap_or(1.0),
            Scale::Scalar => 1.0 / c.number(&["query_pre_attn_scalar"])?.unwrap_or(256.0).sqrt(),
            Scale::Softmax => c.number(&["attn_config.softmax_scale"])?.unwrap_or(usual),
            Scale::Gpt2 => {
                let base = if c.flag(&["scale_attn_weights"], true)? { usual } else { 1.0 };
                let by_layer = c.flag(&["scale_attn_by_inverse_layer_idx"], false)?;
                if by_layer { base / (layer as f64 + 1.0) } else { base }
            }
        };
        if scale.is_finite() && scale > 0.0 {
            Ok(scale)
        } else {
            Err(c.wrong(format!("gives the attention scale {scale}")))
        }
    }

    /// Output width of the projection, and where the features of queries and of keys stand in it.
    fn fused(&self, order: Order) -> Result<(usize, Features, Features)> {
        let HeadLayout { heads, kv_heads, head_dim: n } = self.layout;
        let one_key = kv_heads == 1 && heads > 1;
        let order = match order {
            Order::Falcon if self.config.flag(&["new_decoder_architecture"], false)? => Order::Grouped,
            Order::Falcon | Order::BigCode if one_key => Order::Blocks,
            Order::Falcon | Order::BigCode => Order::PerHead,
            order => order,
        };
        let group = heads / kv_heads;
        let at = |start: usize, width: usize| start * n..(start + width) * n;
        Ok(match order {
            Order::PerHead => (
                3 * heads * n,
                (0..heads).map(|h| at(3 * h, 1)).collect(),
                (0..heads).map(|h| at(3 * h + 1, 1)).collect(),
            ),
            Order::Grouped => {
                let queries = (0..kv_heads).map(|g| at(g * (group + 2), group)).collect();
                let keys = (0..kv_heads).map(|g| at(g * (group + 2) + group, 1)).collect();
                (kv_heads * (group + 2) * n, queries, keys)
            }
            _ => {
                let (queries, keys) = (at(0, heads), at(heads, kv_heads));
                ((heads + 2 * kv_heads) * n, Vec::from([queries]), Vec::from([keys]))
            }
        })
    }

    /// Read a layer of [`Checkpoint::layers`].
    ///
    /// # Errors
    /// A tensor that is missing, of another shape than the configuration implies, or not finite: each by name.
    pub fn layer(&self, layer: usize) -> Result<LayerWeights> {
        let HeadLayout { heads, kv_heads, head_dim } = self.layout;
        let (store, config, d) = (&self.store, &self.config, self.width);
        let side = |module: &str, out: usize, features: &Features| {
            let name = |leaf: &str| self.attention(layer, &format!("{module}.{leaf}"));
            let w = weight(store, config, &name("weight"), (d, out), features, self.family.conv1d)?;
            Ok::<_, Error>((w, bias(store, config, &name("bias"), out, features)?))
        };
        let ((wq, bq), (wk, bk)) = match self.family.projection {
            Projection::Separate { q, k } => {
                let whole = |n: usize| Vec::from([0..n]);
                let (nq, nk) = (heads * head_dim, kv_heads * head_dim);
                (side(q, nq, &whole(nq))?, side(k, nk, &whole(nk))?)
            }
            Projection::Fused { name, order } => {
                let (out, queries, keys) = self.fused(order)?;
                (side(name, out, &queries)?, side(name, out, &keys)?)
            }
        };
        let (gain, shift) = self.norm(layer)?;
        let rotation = rotation(&self.config, &self.family, layer, head_dim)?;
        Ok(LayerWeights {
            layer,
            layout: self.layout,
            wq,
            wk,
            bq,
            bk,
            gain,
            shift,
            scale: self.scale(layer)?,
            rotation,
        })
    }

    /// Gain and bias of the norm before attention.
    fn norm(&self, layer: usize) -> Result<(Option<Vec<f64>>, Option<Vec<f64>>)> {
        let (names, plus): (&[&str], f64) = match &self.family.norm {
            InputNorm::None => return Ok((None, None)),
            InputNorm::Gain(names) => (names, 0.0),
            InputNorm::GainPlusOne(name) => (std::slice::from_ref(name), 1.0),
        };
        // OPT's 350M model normalizes after attention: its norm is not attention's input.
        if !self.config.flag(&["do_layer_norm_before"], true)? {
            return Ok((None, None));
        }
        let read = |leaf: &str| -> Result<Option<Vec<f64>>> {
            let found = names
                .iter()
                .map(|n| self.name(layer, &format!("{n}.{leaf}")))
                .find(|n| self.store.get(n).is_some());
            let Some(name) = found else { return Ok(None) };
            let values = all(&self.store, &name)?;
            if values.len() != self.width {
                return Err(Error::format(
                    &self.path,
                    format!("`{name}` has {} values, the model is {} wide", values.len(), self.width),
                ));
            }
            Ok(Some(values))
        };
        let gain = read("weight")?.map(|g| g.into_iter().map(|v| v + plus).collect());
        Ok((gain, read("bias")?))
    }
}

/// The family of a configuration.
fn known(config: &Config) -> Result<Family> {
    if config.model_type == OUR_TYPE || config.value(&["growthpath"]).is_some() {
        let gpt_names = match config.text(&["growthpath.family"]) {
            Some("gpt") => true,
            Some("llama") => false,
            _ => return Err(config.wrong("has no complete `growthpath` section")),
        };
        return Ok(ours(gpt_names, config.text(&["growthpath.pos"]) == Some("rope")));
    }
    let f = family(&config.model_type).map_err(|m| config.wrong(m))?;
    // A scale that this class does not have: the weights are another architecture's under a borrowed name.
    let scales = [
        ("attention_multiplier", f.scale == Scale::Multiplier),
        ("query_pre_attn_scalar", f.scale == Scale::Scalar),
        ("scale_attn_by_inverse_layer_idx", f.scale == Scale::Gpt2),
        ("softmax_scale", false),
    ];
    match scales.iter().find(|(key, has)| !has && config.value(&[key]).is_some_and(|v| v.as_bool() != Some(false))) {
        Some((key, _)) => Err(config.wrong(format!(
            "has `{key}`, which `{}` does not: is the model_type right? What the key does to the logits is not guessed",
            config.model_type
        ))),
        None => Ok(f),
    }
}

/// The one prefix under which the layers of `family` lie, and what is there.
fn find(path: &Path, config: &Config, family: &Family, store: &Store) -> Result<(String, Found)> {
    let mut by_prefix: BTreeMap<String, Found> = BTreeMap::new();
    let mut strange = BTreeSet::new();
    let attention = format!("{}.", family.attention);
    for name in store.names() {
        let marker = format!(".{}.", family.layers);
        let Some((prefix, rest)) = split_at_layers(name, family.layers, &marker) else { continue };
        let Some((number, rest)) = rest.split_once('.') else { continue };
        let Ok(layer) = number.parse::<usize>() else { continue };
        let below = rest.strip_prefix(&attention);
        if !prefix.split_terminator('.').all(|part| WRAPPERS.contains(&part)) {
            strange.extend(below.map(|_| prefix.to_string()));
            continue;
        }
        let found = by_prefix
            .entry(prefix.to_string())
            .or_insert_with(|| Found { attention: BTreeMap::new(), layers: BTreeSet::new() });
        found.layers.insert(layer);
        if let Some(below) = below {
            found.attention.entry(layer).or_default().insert(below.to_string());
        }
    }
    by_prefix.retain(|_, f| !f.attention.is_empty());
    let whole = |prefix: &str| format!("`{prefix}{}.N.{}`", family.layers, family.attention);
    let mut all = by_prefix.into_iter();
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(one),
        (Some((a, _)), Some((b, _))) => Err(Error::format(
            path,
            format!(
                "has attention twice, under {} and {}: which one is the model's is not guessed",
                whole(&a),
                whole(&b)
            ),
        )),
        _ => Err(Error::format(
            path,
            match strange.first() {
                Some(s) => format!("has attention under {} only, a place that is not known", whole(s)),
                None => format!(
                    "has no tensor under {}, where model_type `{}` keeps its attention; {}",
                    whole(""),
                    config.model_type,
                    some_names(store)
                ),
            },
        )),
    }
}

fn split_at_layers<'a>(name: &'a str, layers: &str, marker: &str) -> Option<(&'a str, &'a str)> {
    if let Some(rest) = name.strip_prefix(layers).and_then(|r| r.strip_prefix('.')) {
        return Some(("", rest));
    }
    let at = name.find(marker)?;
    Some((&name[..=at], &name[at + marker.len()..]))
}

fn some_names(store: &Store) -> String {
    let few: Vec<&str> = store.names().take(3).collect();
    if few.is_empty() {
        "it holds no tensor at all".into()
    } else {
        format!("it holds {} and others", few.join(", "))
    }
}
