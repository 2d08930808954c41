//! The numbers behind the tables, one value a row, for programs.

use growthpath_analysis::compare::SeedMetric;
use growthpath_analysis::diagnosis::Bracket;

use super::cells;
use crate::study::results::{PairResult, Results};

/// A header and rows.
type Sheet = (Vec<String>, Vec<Vec<String>>);

/// Every sheet with its name. Undefined numbers are empty.
pub fn all(r: &Results) -> [(&'static str, Sheet); 3] {
    [("runs", runs(r)), ("arms", arms(r)), ("pairs", pairs(r))]
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// The shortest text that reads back to the same number; empty where undefined.
fn value(v: f64) -> String {
    if v.is_finite() { v.to_string() } else { String::new() }
}

fn runs(r: &Results) -> Sheet {
    let mut names = vec!["arm", "seed", "state", "steps", "planned", "verdict"];
    names.extend(["commitment_low", "commitment_high", "maturity_low", "maturity_high"]);
    names.extend(["settling_low", "settling_high", "prematurity_low", "prematurity_high"]);
    names.extend(growthpath_analysis::arms::METRICS.iter().map(|m| m.name));
    let rows = r.runs.iter().map(|run| {
        let mut row = vec![run.arm.clone(), run.seed.to_string(), run.ended.word().to_owned()];
        let Some(s) = &run.summary else {
            row.resize(names.len(), String::new());
            return row;
        };
        row.extend([s.steps.to_string(), s.planned.to_string()]);
        row.push(s.verdict.map_or_else(String::new, |v| v.to_string()));
        let ends =
            |b: Option<Bracket>| b.map_or_else(Default::default, |b| [b.low.to_string(), b.high.to_string()]);
        row.extend([s.commitment, s.maturity, s.settling].into_iter().flat_map(ends));
        row.extend(s.prematurity.map_or_else(Default::default, |i| [value(i.low), value(i.high)]));
        row.extend(s.values.iter().map(|v| value(*v)));
        row
    });
    let rows = rows.collect();
    (head(&names), rows)
}

fn arms(r: &Results) -> Sheet {
    let rows = r.arms.iter().flat_map(|a| {
        a.summary.metrics.iter().map(|m| {
            let numbers = [m.mean, m.interval.low, m.interval.high].map(value);
            let mut row = vec![a.arm.clone(), m.name.to_owned(), m.count.to_string()];
            row.extend(numbers);
            row
        })
    });
    (head(&["arm", "metric", "seeds", "mean", "low", "high"]), rows.collect())
}

fn pairs(r: &Results) -> Sheet {
    let names = [
        "arm",
        "reference",
        "half",
        "metric",
        "seeds",
        "mean",
        "error",
        "low",
        "high",
        "t_test_p",
        "holm_p",
        "sign_flip_p",
        "sign_flip_least_p",
        "reading",
    ];
    let row = |p: &PairResult, half: &str, m: &SeedMetric, holm: f64| {
        let mut row = vec![p.arm.clone(), p.reference.clone(), half.to_owned(), m.name.to_owned()];
        row.push(m.estimate.count.to_string());
        let flip = m.sign_flip.as_ref().map_or([f64::NAN; 2], |f| [f.p, f.smallest]);
        let test = m.t_test.unwrap_or(f64::NAN);
        row.extend(
            [m.estimate.mean, m.estimate.error, m.interval.low, m.interval.high, test, holm].map(value),
        );
        row.extend(flip.map(value));
        row.push(cells::reading(m).to_owned());
        row
    };
    let mut rows = Vec::new();
    for p in &r.pairs {
        rows.push(row(p, "all", &p.loss, p.loss_p_holm));
        for (half, summary) in [("upper", &p.upper), ("lower", &p.lower)] {
            let metrics = summary.iter().flat_map(|s| &s.metrics).filter(|m| m.name != p.loss.name);
            rows.extend(metrics.map(|m| row(p, half, m, f64::NAN)));
        }
    }
    (head(&names), rows)
}
