//! Rotary positions of a foreign configuration: which layers have them, and the factor on rotated numbers.

use serde_json::Value;

use super::config::Config;
use super::family::{Family, PositionScheme};
use crate::error::Result;

/// What positions do to the queries and keys of one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotation {
    /// Whether they are rotated at all.
    pub rotary: bool,
    /// Numbers of each head that are rotated, from the first on.
    pub width: usize,
    /// Factor on the rotated numbers of queries and of keys (YaRN and LongRoPE scale the logits by its square).
    pub factor: f64,
}

/// Whether a layer rotates its queries and keys.
fn rotates(config: &Config, family: &Family, layer: usize) -> Result<bool> {
    Ok(match family.positions {
        PositionScheme::Rotary => true,
        PositionScheme::Plain | PositionScheme::Alibi => false,
        PositionScheme::AlibiIf(key, absent) => {
            // MPT without ALiBi has learned positions, Falcon without it rotates.
            let alibi = config.flag(&[key], absent)?;
            !alibi && family.types.contains(&"falcon")
        }
        PositionScheme::Listed => match config.value(&["no_rope_layers"]) {
            // 1 means that the layer rotates, the key's name notwithstanding.
            Some(list) => match list.get(layer).and_then(|v| v.as_u64().or(v.as_bool().map(u64::from))) {
                Some(v) => v != 0,
                None if list.as_array().is_some_and(Vec::is_empty) => by_interval(config, layer)?,
                None => return Err(config.wrong(format!("`no_rope_layers` says nothing of layer {layer}"))),
            },
            None => by_interval(config, layer)?,
        },
        // EXAONE 4 without a window rotates everywhere.
        PositionScheme::SlidingOnly
            if family.types.contains(&"exaone4") && config.value(&["sliding_window"]).is_none() =>
        {
            true
        }
        PositionScheme::SlidingOnly => match config.layer_type(layer) {
            Some(kind) => kind == "sliding_attention",
            None => {
                let pattern = config.count(&["sliding_window_pattern"])?.unwrap_or(4);
                !(layer + 1).is_multiple_of(pattern)
            }
        },
    })
}

fn by_interval(config: &Config, layer: usize) -> Result<bool> {
    let interval = config.count(&["no_rope_layer_interval"])?.unwrap_or(4);
    Ok(!(layer + 1).is_multiple_of(interval))
}

/// The rotation of a layer whose heads are `head_dim` wide.
///
/// # Errors
/// A configuration that contradicts itself, or a kind of scaling that is not known.
pub(super) fn rotation(config: &Config, family: &Family, layer: usize, head_dim: usize) -> Result<Rotation> {
    if !rotates(config, family, layer)? {
        return Ok(Rotation { rotary: false, width: 0, factor: 1.0 });
    }
    let parameters = config.value(&["rope_parameters", "rope_scaling"]);
    // Models with two kinds of layers keep one set of parameters for each.
    let nested = parameters.and_then(Value::as_object).filter(|o| o.values().any(Value::is_object));
    let parameters = match (nested, config.layer_type(layer)) {
        (Some(sets), Some(kind)) => sets.get(kind),
        (Some(_), None) => {
            return Err(config.wrong("has rope parameters by kind of layer but no `layer_types`"));
        }
        (None, _) => parameters,
    };
    let own = |key: &str| parameters.and_then(|p| p.get(key)).and_then(Value::as_f64);
    let share = own("partial_rotary_factor")
        .map_or_else(|| config.number(&["partial_rotary_factor", "rotary_pct", "rope_pct"]), |v| Ok(Some(v)))?
        .unwrap_or(family.rotated);
    let width = match config.count(&["rotary_dim"])? {
        Some(n) => n.min(head_dim),
        // Truncated, as `int()` does it there.
        None => ((head_dim as f64 * share) as usize).min(head_dim),
    };
    Ok(Rotation { rotary: true, width, factor: factor(config, parameters)? })
}

fn factor(config: &Config, parameters: Option<&Value>) -> Result<f64> {
    let Some(p) = parameters else { return Ok(1.0) };
    let kind = p.get("rope_type").or_else(|| p.get("type")).and_then(Value::as_str).unwrap_or("default");
    let own = |key: &str| p.get(key).and_then(Value::as_f64);
    match kind {
        "default" | "linear" | "dynamic" | "llama3" | "ntk" | "proportional" | "mrope" => return Ok(1.0),
        "yarn" | "longrope" | "su" => {}
        other => {
            return Err(config.wrong(format!(
                "scales its rotary positions by `{other}`, whose effect on the logits is not known"
            )));
        }
    }
    if let Some(f) = own("attention_factor") {
        return Ok(f);
    }
    let original = match own("original_max_position_embeddings") {
        Some(n) => Some(n),
        None => config.number(&["original_max_position_embeddings"])?,
    };
    let ratio = match (config.number(&["max_position_embeddings"])?, original) {
        (Some(now), Some(then)) if then > 0.0 => Some(now / then),
        _ => None,
    };
    let stretch = own("factor")
        .or(ratio)
        .ok_or_else(|| config.wrong(format!("has {kind} positions without `factor`")))?;
    if stretch <= 1.0 {
        return Ok(1.0);
    }
    if kind == "yarn" {
        let get = |mscale: f64| 0.1 * mscale * stretch.ln() + 1.0;
        return Ok(match (own("mscale"), own("mscale_all_dim")) {
            (Some(m), Some(all)) if m != 0.0 && all != 0.0 => get(m) / get(all),
            _ => get(1.0),
        });
    }
    let original = original.filter(|n| *n > 1.0).ok_or_else(|| {
        config.wrong(format!("has {kind} positions without `original_max_position_embeddings`"))
    })?;
    Ok((1.0 + stretch.ln() / original.ln()).sqrt())
}
