//! What `growthpath verify` knows beyond the rows themselves: which rows the configuration asks for.

mod groups;
mod replay;

use std::collections::BTreeMap;

use growthpath_trace::{Problem, ProblemKind, Run, Table};
use serde::Serialize;

use crate::error::Result;
use crate::train::TrainConfig;
use crate::train::cadence::{RULE, RULE_KEY};
use groups::{Groups, recorded};
use replay::{ANY, Expected, expected};

/// Whether the tables hold the steps that the configuration asks for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Completeness {
    /// Measurements that each table must hold, as far as the run went; tables of every step are left to the integrity
    /// check.
    pub measurements: BTreeMap<Table, usize>,
    /// What could not be known, and why.
    pub notes: Vec<String>,
}

/// Holds the tables against the configuration stored in `run.json`: measurements that are missing, or there without
/// being due, are problems. The times of `--probe auto` are worked out again from the recorded rows.
///
/// # Errors
/// None of its own: what cannot be read is reported by the integrity check.
pub fn completeness(run: &Run) -> Result<(Completeness, Vec<Problem>)> {
    let mut found = Completeness::default();
    let config: TrainConfig = match serde_json::from_value(run.info().config.clone()) {
        Ok(config) => config,
        Err(_) => {
            found.notes.push("completeness: run.json holds no configuration of `growthpath train`".into());
            return Ok((found, Vec::new()));
        }
    };
    if let Some(what) = contradiction(run, &config) {
        let file = "run.json".to_owned();
        return Ok((found, vec![Problem { file, kind: ProblemKind::Damaged, message: what }]));
    }
    let rule = run.info().extra.get(RULE_KEY).and_then(serde_json::Value::as_u64);
    let known = rule == Some(u64::from(RULE));
    if !known && config.probe.times.are_chosen() {
        found.notes.push(
            "completeness: another version chose when to measure; probes, maturity and reliance are only held against each other"
                .into(),
        );
    }
    let mut problems = Vec::new();
    let tables = recorded(run);
    let Some(expected) = expected(run, &config, &tables, known) else {
        found.notes.push("completeness: the rows that decide when to measure cannot be read".into());
        return Ok((found, problems));
    };
    for (&table, wanted) in &expected.tables {
        found.measurements.insert(table, wanted.keys().filter(|k| !expected.is_open(k.0)).count());
        if let Some(Some(have)) = tables.get(&table) {
            problems.extend(differences(table, wanted, have, &expected));
        }
    }
    Ok((found, problems))
}

/// Why a stored configuration cannot be that of the run.
fn contradiction(run: &Run, config: &TrainConfig) -> Option<String> {
    if let Err(e) = config.validate() {
        return Some(format!("its configuration makes no sense: {e}"));
    }
    let (info, m) = (run.info(), &config.model);
    let told = [info.steps_planned as usize, info.layers.into(), info.heads.into()];
    let asked = [config.steps as usize, m.layers, m.heads];
    (told != asked).then(|| format!("it says {told:?} steps, layers and heads, its configuration {asked:?}"))
}

/// What one table lacks, has in another number, or has without being asked.
fn differences(table: Table, wanted: &Groups, have: &Groups, expected: &Expected) -> Vec<Problem> {
    let tell = |message: String| Problem { file: table.name().to_owned(), kind: ProblemKind::Gap, message };
    let of = |key: &(u32, u32)| match table {
        Table::Maturity => format!("step {}, lag {}", key.0, key.1),
        Table::Reliance => {
            format!("step {}, {}", key.0, ["heads", "layers", "halves"][key.1.min(2) as usize])
        }
        _ => format!("step {}", key.0),
    };
    let mut problems = Vec::new();
    let missing: Vec<&(u32, u32)> =
        wanted.keys().filter(|k| !have.contains_key(k) && !expected.is_open(k.0)).collect();
    if let Some(first) = missing.first() {
        problems.push(tell(format!(
            "{} of the {} measurements that the configuration asks for are missing, the first at {}",
            missing.len(),
            wanted.len(),
            of(first)
        )));
    }
    let odd: Vec<(&(u32, u32), u64, u64)> = wanted
        .iter()
        .filter_map(|(k, n)| Some((k, *n, *have.get(k)?)))
        .filter(|(_, want, have)| *want != ANY && want != have)
        .collect();
    if let Some((key, want, have)) = odd.first() {
        problems.push(tell(format!(
            "{} measurements have too many or too few rows, the first at {}: {have} where {want} are asked for",
            odd.len(),
            of(key)
        )));
    }
    let surplus: Vec<&(u32, u32)> = have.keys().filter(|k| !wanted.contains_key(k)).collect();
    if let Some(first) = surplus.first() {
        problems.push(tell(format!(
            "{} measurements are recorded that the configuration does not ask for, the first at {}",
            surplus.len(),
            of(first)
        )));
    }
    problems
}
