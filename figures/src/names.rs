//! Names that tell runs apart. A label that several runs share is followed by what differs between them, as little of
//! it as suffices: `gpt+slow-qk (×0.25, hold 4 %)`; by the folder where nothing differs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use growthpath_trace::shown_path;
use serde_json::Value;

/// A run to be named.
#[derive(Clone, Copy, Debug)]
pub struct Unnamed<'a> {
    /// Its label, empty for none.
    pub label: &'a str,
    /// What was run.
    pub config: &'a Value,
    /// Where it lies.
    pub dir: &'a Path,
}

/// Settings that are said first, and how; `{}` is the value.
const SAID: [(&str, &str); 12] = [
    ("intervention.target", "{} slowed"),
    ("intervention.multiplier", "×{}"),
    ("intervention.hold", "hold {}"),
    ("intervention.hold.adaptive.threshold", "settled above {}"),
    ("intervention.ramp", "ramp {}"),
    ("schedule.lr", "lr {}"),
    ("steps", "{} steps"),
    ("batch", "batch {}"),
    ("model.width", "width {}"),
    ("model.layers", "{} layers"),
    ("data.train", "{}"),
    ("seed", "seed {}"),
];

/// Settings that say nothing of what was trained, or follow from others.
const UNSAID: [&str; 4] = ["probe.", "eval_", "checkpoint_", "intervention.hold.adaptive.probes"];

/// One name a run, all different.
pub fn names(runs: &[Unnamed<'_>]) -> Vec<String> {
    let labels: Vec<String> = (runs.iter())
        .map(|r| if r.label.is_empty() { shown_path(r.dir) } else { r.label.to_owned() })
        .collect();
    let mut names = labels.clone();
    for label in labels.iter().collect::<BTreeSet<_>>() {
        let alike: Vec<usize> = (0..runs.len()).filter(|i| labels[*i] == *label).collect();
        if alike.len() > 1 {
            let told = told_apart(&alike.iter().map(|i| runs[*i]).collect::<Vec<_>>());
            alike.iter().zip(told).for_each(|(i, told)| names[*i] = format!("{label} ({told})"));
        }
    }
    // One run given twice, or a label that reads like another's name.
    for i in 0..names.len() {
        let free = |name: &String| names[..i].iter().all(|n| n != name);
        let mut numbered = (2..).map(|k| format!("{} #{k}", names[i]));
        if !free(&names[i])
            && let Some(name) = numbered.find(free)
        {
            names[i] = name;
        }
    }
    names
}

/// What is said of each of several runs of one label.
fn told_apart(runs: &[Unnamed<'_>]) -> Vec<String> {
    let settings: Vec<BTreeMap<String, String>> = runs.iter().map(|r| settings(r.config)).collect();
    let mut said = vec![Vec::new(); runs.len()];
    for key in by_weight(&settings) {
        let of = |i: usize| settings[i].get(&key).map(String::as_str);
        // A setting that splits none of those that are still alike is not needed.
        let splits = (0..runs.len()).any(|i| (0..i).any(|j| said[i] == said[j] && of(i) != of(j)));
        if splits {
            (0..runs.len()).for_each(|i| said[i].push(words(&key, of(i))));
        }
    }
    let folder =
        |r: &Unnamed<'_>| r.dir.file_name().map_or(String::new(), |f| f.to_string_lossy().into_owned());
    let folders = runs.iter().map(folder).collect::<BTreeSet<_>>().len();
    (0..runs.len())
        .map(|i| {
            let mut words: Vec<String> = said[i].iter().filter(|w| !w.is_empty()).cloned().collect();
            if (0..runs.len()).any(|j| j != i && said[i] == said[j]) {
                words.push(if folders == runs.len() { folder(&runs[i]) } else { shown_path(runs[i].dir) });
            }
            if words.is_empty() { "as it is".into() } else { words.join(", ") }
        })
        .collect()
}

/// Every setting that differs, the most telling first.
fn by_weight(settings: &[BTreeMap<String, String>]) -> Vec<String> {
    let keys: BTreeSet<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
    let differs = |key: &&&String| settings.iter().any(|s| s.get(**key) != settings[0].get(**key));
    let mut keys: Vec<String> = keys.iter().filter(differs).map(|k| (*k).clone()).collect();
    // What is in no list stands before the seed, which tells least.
    let rank = |key: &str| match SAID.iter().position(|s| s.0 == key) {
        Some(place) if place + 1 < SAID.len() => place,
        Some(_) => SAID.len() + 1,
        None => SAID.len(),
    };
    keys.sort_by_key(|k| rank(k));
    keys
}

/// A part of training, with two decimals of a percent at most.
fn percent(fraction: &Value) -> String {
    format!("{} %", (1e4 * fraction.as_f64().unwrap_or(f64::NAN)).round() / 100.0)
}

/// Settings by dotted key, as they are said.
fn settings(config: &Value) -> BTreeMap<String, String> {
    fn flatten(at: &str, value: &Value, out: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(map) if at == "intervention.hold" => {
                let word = map.get("fraction").map_or("adaptive".to_owned(), percent);
                out.insert(at.to_owned(), word);
                if let Some(adaptive) = map.get("adaptive") {
                    flatten("intervention.hold.adaptive", adaptive, out);
                }
            }
            Value::Object(map) => map.iter().for_each(|(k, v)| {
                flatten(&if at.is_empty() { k.clone() } else { format!("{at}.{k}") }, v, out);
            }),
            _ if UNSAID.iter().any(|u| at.starts_with(u)) => {}
            Value::Number(_) if at == "intervention.ramp" => drop(out.insert(at.to_owned(), percent(value))),
            Value::String(s) => drop(out.insert(at.to_owned(), s.rsplit('/').next().unwrap_or(s).to_owned())),
            Value::Null => {}
            other => drop(out.insert(at.to_owned(), other.to_string())),
        }
    }
    let mut out = BTreeMap::new();
    flatten("", config, &mut out);
    out
}

/// A setting in words; nothing where a run has none (no intervention has no multiplier).
fn words(key: &str, value: Option<&str>) -> String {
    let Some(value) = value else { return String::new() };
    match SAID.iter().find(|s| s.0 == key) {
        // `1 step`.
        Some((_, text)) if value == "1" => text.strip_suffix('s').unwrap_or(text).replace("{}", value),
        Some((_, text)) => text.replace("{}", value),
        None => format!("{} {value}", key.rsplit('.').next().unwrap_or(key)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_step_is_no_steps() {
        let steps = |n: u32| json!({"steps": n, "model": {"layers": n}});
        let got = named(&[("gpt", steps(1), "a"), ("gpt", steps(2), "b")]);
        assert_eq!(got, ["gpt (1 step)", "gpt (2 steps)"]);
    }

    fn named(runs: &[(&str, Value, &str)]) -> Vec<String> {
        let runs: Vec<Unnamed<'_>> = (runs.iter())
            .map(|(label, config, dir)| Unnamed { label, config, dir: Path::new(dir) })
            .collect();
        names(&runs)
    }

    fn slow(multiplier: f64, hold: Value, seed: u64) -> Value {
        json!({"intervention": {"target": "upper-qk", "multiplier": multiplier, "hold": hold, "ramp": 0.01},
               "schedule": {"lr": 3e-3}, "seed": seed, "steps": 300})
    }

    #[test]
    fn labels_that_differ_stand_alone() {
        let got = named(&[("gpt", json!({"seed": 1}), "a"), ("llama", json!({"seed": 2}), "b")]);
        assert_eq!(got, ["gpt", "llama"]);
    }

    #[test]
    fn what_differs_is_said_and_no_more() {
        let f = |v: f64| json!({"fraction": v});
        let got = named(&[
            ("s", slow(0.25, f(0.04), 1), "a"),
            ("s", slow(0.5, f(0.04), 1), "b"),
            ("s", slow(0.5, f(0.125), 1), "c"),
            ("s", slow(0.5, json!({"adaptive": {"threshold": 0.9, "probes": 3}}), 1), "d"),
        ]);
        assert_eq!(
            got,
            ["s (×0.25, hold 4 %)", "s (×0.5, hold 4 %)", "s (×0.5, hold 12.5 %)", "s (×0.5, hold adaptive)"]
        );
        let seeds = named(&[("s", slow(0.5, f(0.04), 1), "a"), ("s", slow(0.5, f(0.04), 2), "b")]);
        assert_eq!(seeds, ["s (seed 1)", "s (seed 2)"]);
        let plain = named(&[("s", slow(0.5, f(0.04), 1), "a"), ("s", json!({"seed": 1}), "b")]);
        assert_eq!(plain[1], "s (as it is)");
        let other = named(&[
            ("s", json!({"model": {"ffn": "gelu"}}), "a"),
            ("s", json!({"model": {"ffn": "silu"}}), "b"),
        ]);
        assert_eq!(other, ["s (ffn gelu)", "s (ffn silu)"]);
    }

    #[test]
    fn runs_of_one_configuration_go_by_their_folder() {
        let c = || json!({"seed": 1});
        assert_eq!(named(&[("g", c(), "x/a"), ("g", c(), "x/b")]), ["g (a)", "g (b)"]);
        assert_eq!(named(&[("g", c(), "x/run"), ("g", c(), "y/run")]), ["g (x/run)", "g (y/run)"]);
        assert_eq!(named(&[("g", c(), "x"), ("g", c(), "x")]), ["g (x)", "g (x) #2"]);
        assert_eq!(named(&[("", json!({}), "x"), ("", json!({}), "y")]), ["x", "y"]);
    }
}
