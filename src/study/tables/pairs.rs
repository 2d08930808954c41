//! Tables of arm against arm.

use growthpath_analysis::compare::SeedMetric;
use growthpath_analysis::statistics::{ConfidenceInterval, SignFlip};

use super::cells;
use super::table::Table;
use crate::study::results::{PairResult, Results};

fn name(p: &PairResult) -> String {
    format!("{} - {}", p.arm, p.reference)
}

/// Loss differences with their tests, one row a pair.
pub fn differences(r: &Results) -> Table {
    let head = [
        "difference",
        "seeds",
        "validation loss [95 %]",
        "reading",
        "t test p",
        "Holm p",
        "sign-flip p",
        "tokens to the same loss [95 %]",
        "upper growth, ln [95 %]",
        "lower growth, ln [95 %]",
    ];
    let mut t = Table::new("differences", "Arm against arm, runs of the same seed paired", &head);
    for p in &r.pairs {
        let of = |half: &Option<_>| cells::difference(cells::of(half.as_ref(), "measured_gap"));
        t.rows.push(vec![
            name(p),
            seeds(p, r.seeds.len()),
            cells::difference(Some(&p.loss)),
            cells::reading(&p.loss).to_owned(),
            cells::p(p.loss.t_test.unwrap_or(f64::NAN)),
            cells::p(p.loss_p_holm),
            flip(&p.loss),
            ratio(cells::of(p.upper.as_ref(), "log_token_ratio")),
            of(&p.upper),
            of(&p.lower),
        ]);
    }
    let n = r.seeds.len();
    t.notes.push(format!(
        "Noise: the interval over seeds covers zero, so these seeds do not tell the difference from none. Holm p: adjusted \
         for the {} pairs tested. Sign-flip p: exact; with n pairs it cannot be smaller than 2/2^n{}. Tokens: how many times \
         the reference's tokens the arm needs to reach the worse of the two final losses; no ratio is given whose interval covers 1.",
        r.pairs.len(),
        if n < 6 { " (below 0.05 from 6 seeds on)" } else { "" }
    ));
    for p in r.pairs.iter().filter(|p| !p.left_out.is_empty()) {
        t.notes.push(format!(
            "{}: left out {}; the row is about the seeds in which both finished and says nothing of the others.",
            name(p),
            p.left_out.join(", ")
        ));
    }
    for p in r.pairs.iter().filter(|p| !p.refused.is_empty()) {
        t.notes.push(format!("{}: growth not compared: {}.", name(p), p.refused.join("; ")));
    }
    t
}

/// The same in fewer columns, for a terminal.
pub fn short(r: &Results) -> Table {
    let wide = differences(r);
    // Difference, seeds, loss, reading, Holm p, upper growth.
    let cut = |row: &Vec<String>| [0, 1, 2, 3, 5, 8].map(|i| row[i].clone()).to_vec();
    let mut t = Table { head: cut(&wide.head), rows: wide.rows.iter().map(cut).collect(), ..wide };
    t.notes = vec![format!(
        "noise: the interval covers zero. Holm p: paired t test, adjusted for {} pairs. Sign-flip tests cannot go below \
         {:.3} with {} seeds{}.",
        r.pairs.len(),
        2.0 / 2f64.powi(r.seeds.len().min(60) as i32),
        r.seeds.len(),
        if r.seeds.len() < 6 { ": 0.05 takes 6" } else { "" }
    )];
    for p in r.pairs.iter().filter(|p| !p.left_out.is_empty()) {
        t.notes.push(format!("{}: left out {}", name(p), p.left_out.join(", ")));
    }
    t
}

fn seeds(p: &PairResult, of: usize) -> String {
    if p.seeds.len() == of { of.to_string() } else { format!("{} of {of}", p.seeds.len()) }
}

fn flip(m: &SeedMetric) -> String {
    let show = |f: &SignFlip| cells::p(f.p);
    m.sign_flip.as_ref().filter(|_| m.estimate.count > 0).map_or_else(|| "-".to_owned(), show)
}

/// A ratio of tokens, from its logarithm.
fn ratio(m: Option<&SeedMetric>) -> String {
    let Some(m) = m.filter(|m| m.estimate.count > 1) else { return "-".to_owned() };
    if cells::reading(m) == "noise" {
        return "noise".to_owned();
    }
    let factors = ConfidenceInterval { low: m.interval.low.exp(), high: m.interval.high.exp() };
    if !cells::resolved(&factors) {
        return cells::unresolved(m.estimate.count);
    }
    format!("{:.2}x [{:.2}, {:.2}]", m.estimate.mean.exp(), factors.low, factors.high)
}

/// The gap in growth by measured part and by lever, both halves.
pub fn gaps(r: &Results) -> Table {
    let names = [
        ("measured gap", "measured_gap"),
        ("query", "measured_gap.query"),
        ("key", "measured_gap.key"),
        ("features", "measured_gap.features"),
        ("predicted gap", "predicted_gap"),
        ("= start", "shapley.start"),
        ("+ step size", "shapley.step_size"),
        ("+ geometry", "shapley.update_geometry"),
        ("+ energy", "shapley.residual_energy"),
        ("+ coherence", "shapley.coherence"),
        ("+ features", "shapley.features"),
    ];
    let head: Vec<&str> = ["difference", "half"].into_iter().chain(names.map(|n| n.0)).collect();
    let mut t = Table::new("gaps", "Why one arm's attention grew more than another's, in ln", &head);
    for p in &r.pairs {
        for (half, of) in [("upper", &p.upper), ("lower", &p.lower)] {
            let Some(summary) = of else { continue };
            let mut row = vec![name(p), half.to_owned()];
            row.extend(names.map(|(_, metric)| cells::difference(summary.get(metric))));
            t.rows.push(row);
        }
    }
    t.notes.push(
        "Query, key and features add up to the measured gap (3.1); the six levers, Shapley values over the paths (5.4), add up to \
         the predicted one. Intervals that cover zero are noise."
            .to_owned(),
    );
    t
}

/// Every number compared, with its tests.
pub fn details(r: &Results) -> Table {
    let head = [
        "difference",
        "half",
        "number",
        "seeds",
        "mean [95 %]",
        "standard error",
        "t test p",
        "sign-flip p",
        "least p",
        "reading",
    ];
    let mut t = Table::new("details", "Every number compared over seeds", &head);
    for p in &r.pairs {
        // The loss stands once a pair.
        let mut rows: Vec<(&str, &SeedMetric)> = vec![("all", &p.loss)];
        for (half, of) in [("upper", &p.upper), ("lower", &p.lower)] {
            let metrics = of.iter().flat_map(|s| &s.metrics);
            let wanted = |m: &&SeedMetric| m.name != p.loss.name && !(half == "lower" && of_the_run(m.name));
            rows.extend(metrics.filter(wanted).filter(|m| says_something(m)).map(|m| (half, m)));
        }
        t.rows.extend(rows.into_iter().map(|(half, m)| detail(p, half, m)));
    }
    t.notes.push(format!(
        "One interval in {:.0} misses by chance. Ratios are logarithms, whose mean prefers no arm.",
        1.0 / (1.0 - r.level)
    ));
    t
}

/// Numbers of a whole run, the same whatever half is compared.
fn of_the_run(name: &str) -> bool {
    ["perplexity_gap", "log_token_ratio"].contains(&name)
}

/// Differences that are rounding in every comparison are none.
fn says_something(m: &SeedMetric) -> bool {
    m.values.iter().any(|v| v.is_nan() || v.abs() > cells::ROUNDING)
}

fn detail(p: &PairResult, half: &str, m: &SeedMetric) -> Vec<String> {
    vec![
        name(p),
        half.to_owned(),
        m.name.to_owned(),
        m.estimate.count.to_string(),
        cells::difference(Some(m)),
        crate::tables::number(m.estimate.error),
        cells::p(m.t_test.unwrap_or(f64::NAN)),
        flip(m),
        m.sign_flip.as_ref().map_or_else(|| "-".to_owned(), |f| cells::p(f.smallest)),
        cells::reading(m).to_owned(),
    ]
}
