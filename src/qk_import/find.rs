//! Which architecture a checkpoint is, and under which prefix of names its layers lie.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::config::Config;
use super::family::{Family, PositionScheme, Scale};
use super::known::{OUR_TYPE, family, ours};
use super::store::Store;
use super::table::{GPT2, LLAMA};
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

/// What lies under the layers of one prefix: every tensor below a layer's attention, and which layers have any tensor.
pub(super) struct Found {
    pub(super) attention: BTreeMap<usize, BTreeSet<String>>,
    pub(super) layers: BTreeSet<usize>,
}

/// The family of a configuration.
pub(super) fn known(config: &Config) -> Result<Family> {
    if config.model_type == OUR_TYPE || config.value(&["growthpath"]).is_some() {
        let names = match config.text(&["growthpath.family"]) {
            Some("gpt") => GPT2,
            Some("llama") => LLAMA,
            _ => return Err(config.wrong("has no complete `growthpath` section")),
        };
        let positions = match config.text(&["growthpath.pos"]) {
            Some("rope") => PositionScheme::Rotary,
            _ => PositionScheme::Plain,
        };
        return Ok(ours(names, positions));
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
pub(super) fn find(path: &Path, config: &Config, family: &Family, store: &Store) -> Result<(String, Found)> {
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
