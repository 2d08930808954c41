//! What figures are drawn from, and why there is nothing to draw.

use growthpath_trace::Table;
use serde_json::Value;

use crate::material::{Material, RunMaterial};

/// What a figure is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Training or validation losses.
    Losses,
    /// Spread and entropy of heads: every step's, or the probes'.
    Heads,
    /// Residual writes of every step.
    Writes,
    /// Intervals between two probes.
    Intervals,
    /// Probes of a whole run, and reliance.
    Verdict,
    /// Ablations.
    Reliance,
    /// Early signals, which heads record at every step.
    Signals,
    /// Two runs that can be compared.
    Pair,
    /// Two seeds of an arm.
    Seeds,
    /// Slowed runs of one arm at two settings.
    Settings,
}

impl Needs {
    /// Why there is nothing to draw, with the mend.
    pub fn unmet(self, m: &Material) -> String {
        match self {
            Self::Losses => within(m, "no loss was recorded"),
            Self::Heads => within(m, "neither heads nor probes were recorded (train with --telemetry every)"),
            Self::Writes => within(m, "no residual writes were recorded (train with --telemetry every)"),
            Self::Intervals => unprobed(m, "it takes two probes"),
            Self::Verdict => unprobed(m, "it takes probes"),
            Self::Reliance => match m.runs.iter().find_map(no_probes) {
                Some(why) => why,
                None => within(m, "no ablation was measured (train with --reliance-sequences above 0)"),
            },
            Self::Signals => within(m, "the steps recorded of each head are too few (train longer, with --telemetry every)"),
            Self::Pair => pair(m),
            Self::Seeds => "it takes runs of one arm with two seeds or more: name them together".into(),
            Self::Settings => {
                "it takes slowed runs of one arm at two multipliers or holds: name them together, with the arm as it is".into()
            }
        }
    }
}

/// A reason that may lie in the window alone.
fn within(m: &Material, why: &str) -> String {
    match m.window {
        Some(_) => format!("{why} in these steps: widen --window"),
        None => why.to_owned(),
    }
}

/// Why a run has no probes at all.
fn no_probes(r: &RunMaterial) -> Option<String> {
    let text = |key: &str| r.config.pointer(key).and_then(Value::as_str);
    if r.config.pointer("/model/qk_norm").and_then(Value::as_bool) == Some(true) {
        return Some(format!(
            "{}: with QK-norm the logits are not bilinear in W_Q and W_K, so that no probes are taken",
            r.name
        ));
    }
    (text("/probe/times/mode") == Some("never"))
        .then(|| format!("{}: it was trained without probes (--probe never)", r.name))
}

fn unprobed(m: &Material, least: &str) -> String {
    if let Some(why) = m.runs.iter().find_map(no_probes) {
        return why;
    }
    if let Some(r) = m.runs.iter().find(|r| r.diverged.is_some()) {
        return format!("{least}, and {} diverged too early for that", r.name);
    }
    match m.window {
        Some(_) => format!("{least}, and these steps have fewer: widen --window"),
        None => format!("{least}, and the table `{}` has fewer", Table::Probe.name()),
    }
}

fn pair(m: &Material) -> String {
    if m.runs.len() < 2 {
        return "it compares runs: name two".into();
    }
    let mut refused: Vec<String> = Vec::new();
    for p in &m.comparisons {
        let (from, to) = (&m.runs[p.from].name, &m.runs[p.to].name);
        let why = match &p.comparison {
            Err(why) => why.clone(),
            Ok(c) if !c.split_is_trusted => {
                "its levers are interpolated too much to be shown: train the second with --probe-like and the first's directory".into()
            }
            Ok(_) => continue,
        };
        refused.push(format!("{to} against {from}: {why}"));
    }
    if refused.is_empty() { within(m, "no interval is shared") } else { refused.join("; ") }
}
