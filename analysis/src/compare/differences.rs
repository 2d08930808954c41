//! What differs between the records of two runs.

use std::collections::{BTreeMap, BTreeSet};

use growthpath_trace::{Run, RunInfo};
use serde::Serialize;
use serde_json::{Value, json};

/// One setting that two runs do not share; `null` where a run does not have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Path of the setting, joined by dots: `model.ffn`, `intervention.multiplier`, `seeds.data`.
    pub key: String,
    /// Value in the first run.
    pub a: Value,
    /// Value in the second run.
    pub b: Value,
}

/// Every difference in configuration, seeds, planned steps, status, device and versions, sorted by key.
pub(super) fn between(a: &Run, b: &Run) -> Vec<Difference> {
    let (a, b) = (settings(a.info()), settings(b.info()));
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let of = |side: &BTreeMap<String, Value>, key: &str| side.get(key).cloned().unwrap_or(Value::Null);
    keys.into_iter()
        .map(|key| Difference { key: key.clone(), a: of(&a, key), b: of(&b, key) })
        .filter(|d| !same(&d.a, &d.b))
        .collect()
}

/// Whether two leaves say the same; 1 and 1.0 do.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

fn settings(info: &RunInfo) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    flatten("", &info.config, &mut all);
    let about = json!({
        "seeds": info.seeds,
        "status": info.status,
        "steps_planned": info.steps_planned,
        "device": info.device,
        "versions": info.versions,
    });
    flatten("", &about, &mut all);
    all
}

/// Leaves of a JSON value by dotted path; an empty object or list has none, like a missing one.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, v)| flatten(&join(key), v, into)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| flatten(&join(&i.to_string()), v, into));
        }
        leaf => {
            into.insert(if path.is_empty() { "config".to_owned() } else { path.to_owned() }, leaf.clone());
        }
    }
}
