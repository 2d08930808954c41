//! Names of figures, and what is said where there is nothing to draw.

use growthpath_figures::*;

use crate::support::material;

#[test]
fn names_are_kebab_case_unique_and_described() {
    for (i, f) in FIGURES.iter().enumerate() {
        assert!(f.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", f.name);
        assert!(f.about.len() > 20 && !f.about.contains('\n'));
        assert!(FIGURES[..i].iter().all(|g| g.name != f.name));
        assert_eq!(figure(f.name).unwrap().name, f.name);
    }
    assert_eq!(figure("rate-scatter").unwrap().name, "prediction", "the name it had before");
    assert!(figure("growth").is_none());
}

#[test]
fn without_runs_there_is_nothing_to_draw() {
    for figure in FIGURES {
        assert!(figure.drawings(&Material::default()).is_empty(), "{}", figure.name);
    }
}

#[test]
fn what_is_not_drawn_says_why() {
    let mut alone = material().clone();
    alone.runs.truncate(1);
    alone.comparisons.clear();
    for (name, says) in
        [("shapley", "name two"), ("seeds", "two seeds"), ("sensitivity", "two multipliers or holds")]
    {
        let figure = figure(name).unwrap();
        assert!(figure.drawings(&alone).is_empty(), "{name}");
        assert!(figure.why_not(&alone).contains(says), "{name}: {}", figure.why_not(&alone));
    }
    let mut normed = alone.clone();
    normed.runs[0].analysis.accounting.layers.clear();
    normed.runs[0].config["model"]["qk_norm"] = true.into();
    let growth = figure("growth-shares").unwrap();
    assert!(growth.drawings(&normed).is_empty());
    assert!(growth.why_not(&normed).contains("QK-norm"), "{}", growth.why_not(&normed));
    let mut cut = alone;
    cut.window = Some(3..4);
    cut.runs[0].leads.clear();
    let signals = figure("lead-lag").unwrap();
    assert!(signals.drawings(&cut).is_empty());
    assert!(signals.why_not(&cut).contains("--window"), "{}", signals.why_not(&cut));
}
