//! Undefined cells, losses, differences, seeds, JSON.

use super::{Plan, close, compared, eval, plan};
use crate::compare::{Layers, seeds};
use crate::statistics::Sign;

const PROBES: [u32; 4] = [0, 2, 4, 8];

#[test]
fn undefined_cells_add_nothing_to_either_arm() {
    let (mut a, mut b) = (plan(1, 2, 2, &PROBES), plan(2, 2, 2, &PROBES));
    let nan = f64::NAN;
    a.row(1, 0, 0).e = nan;
    b.row(1, 0, 1).a_hat_prev = 0.0;
    b.row(2, 1, 0).g_hat = nan;
    // Weights that moved without a step size have an infinite u.
    let r = b.row(3, 1, 1);
    (r.eta, r.u) = (0.0, f64::INFINITY);
    a.row(2, 0, 0).gamma = nan;
    let c = compared(&a, &b);
    assert_eq!((c.comparison.cells.aligned, c.comparison.cells.undefined), (12, 4));
    assert_eq!(c.comparison.cells.unmeasured, 1);
    let skipped = [(2, 0, 0), (2, 0, 1), (4, 1, 0), (8, 1, 1)];
    let sum = |p: &Plan| {
        let kept = p.rows.iter().filter(|r| r.prev_step < r.step);
        kept.filter(|r| !skipped.contains(&(r.step, r.layer, r.head))).map(|r| r.g_hat).sum::<f64>() / 4.0
    };
    // Eight terms of both signs, none above the largest by much.
    assert!(close(c.comparison.growth_a, sum(&a), 1.0, 1e-13));
    assert!(close(c.comparison.growth_b, sum(&b), 1.0, 1e-13));
    assert!(close(c.comparison.gap, sum(&b) - sum(&a), 1.0, 1e-13));
    assert!(c.comparison.shapley.residual.abs() < 1e-9 * (1.0 + c.comparison.gap.abs()));
    assert!(c.notes.iter().any(|n| n.contains("4 of 12 cells")), "{:?}", c.notes);
}

#[test]
fn an_arm_that_stood_still_owes_it_to_the_step_size() {
    let (a, mut b) = (plan(1, 2, 1, &PROBES), plan(1, 2, 1, &PROBES));
    for r in b.rows.iter_mut().filter(|r| r.prev_step < r.step) {
        (r.eta, r.u, r.e, r.c, r.g_hat) = (0.0, 0.0, f64::NAN, f64::NAN, 0.0);
    }
    let c = compared(&a, &b).comparison;
    assert_eq!((c.cells.still_in_one, c.cells.undefined, c.cells.in_ratios), (6, 0, 0));
    assert_eq!(c.growth_b, 0.0);
    assert!(close(c.shapley.step_size, c.gap, 0.0, 1e-12) && c.gap != 0.0);
    assert!(c.step_size_ratio.is_nan() && c.coherence_difference.is_nan());
    let both = compared(&b, &b).comparison;
    assert_eq!((both.cells.still_in_both, both.gap), (6, 0.0));
}

#[test]
fn a_run_against_itself_has_no_gap() {
    let mut a = plan(3, 4, 2, &PROBES);
    // Overfitted at the end: reaching the final loss early must not count as saving tokens.
    a.evals = vec![eval(0, 5.0, 0.1), eval(4, 3.0, 0.1), eval(8, 3.5, 0.1)];
    let c = compared(&a, &a);
    let s = c.comparison.shapley;
    for v in [c.comparison.gap, s.step_size, s.update_geometry, s.residual_energy, s.coherence, s.scale] {
        assert_eq!(v, 0.0);
    }
    assert_eq!((c.comparison.step_size_ratio, c.comparison.scale_ratio), (1.0, 1.0));
    assert_eq!(c.token_efficiency.unwrap().log_token_ratio, 0.0);
    assert_eq!(c.final_loss.unwrap().difference, 0.0);
    assert!(c.differences.is_empty() && c.notes.is_empty());
}

#[test]
fn differences_are_listed_by_path() {
    let (mut a, mut b) = (plan(1, 2, 1, &PROBES), plan(2, 2, 1, &PROBES));
    a.info.config = serde_json::json!({
        "seed": 1, "intervention": null, "model": {"ffn": "gelu", "width": 64}, "betas": [0.9, 0.95], "clip": 1,
    });
    b.info.config = serde_json::json!({
        "seed": 2, "intervention": {"multiplier": 0.25}, "model": {"ffn": "geglu", "width": 64}, "betas": [0.9, 0.99], "clip": 1.0,
    });
    b.info.seeds.insert("data".into(), 5);
    let c = compared(&a, &b);
    let found: Vec<String> = c.differences.iter().map(|d| format!("{} {} {}", d.key, d.a, d.b)).collect();
    // `null` and a missing value are the same, and so are 1 and 1.0.
    let expected = [
        "betas.1 0.95 0.99",
        "intervention.multiplier null 0.25",
        "model.ffn \"gelu\" \"geglu\"",
        "seed 1 2",
        "seeds.data null 5",
    ];
    assert_eq!(found, expected);
    assert!(c.notes.iter().any(|n| n.contains("different seeds")));
}

#[test]
fn json_is_flat_and_survives_undefined_numbers() {
    let (a, mut b) = (plan(1, 2, 1, &PROBES), plan(2, 2, 1, &PROBES));
    b.rows.iter_mut().for_each(|r| r.e = f64::NAN);
    let text = serde_json::to_string(&compared(&a, &b)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["labels"]["a"], "arm-1");
    assert_eq!(json["group"], "all");
    assert_eq!(json["gap"], 0.0);
    assert_eq!(json["shapley"]["residual_energy"], 0.0);
    assert!(json["residual_energy_ratio"].is_null());
    assert_eq!(json["groups"]["upper"]["cells"]["undefined"], 3);
    assert_eq!(json["layers"][1]["layer"], 1);
    assert!(json["layers"][1]["growth_b"].is_number());
    assert!(json["final_loss"].is_null());
}

#[test]
fn seeds_give_mean_error_and_interval() {
    let comparison = |seed: u64, loss: f64| {
        let (mut a, mut b) = (plan(seed, 2, 2, &PROBES), plan(seed + 100, 2, 2, &PROBES));
        a.evals = vec![eval(0, 6.0, 0.1), eval(8, 3.0, 0.1)];
        b.evals = vec![eval(0, 6.0, 0.1), eval(8, loss, 0.1)];
        compared(&a, &b)
    };
    let all = [comparison(1, 3.1), comparison(2, 2.9), comparison(3, 2.7)];
    let s = seeds(&all, 0.95).unwrap();
    let m = s.get("val_loss_difference").unwrap();
    // Values 0.1, -0.1, -0.3: mean -0.1, deviation 0.2; Student's t at 2 degrees of freedom is 4.302653.
    let error = 0.2 / 3.0_f64.sqrt();
    assert!(close(m.estimate.mean, -0.1, 0.0, 1e-12) && close(m.estimate.error, error, 0.0, 1e-12));
    assert!(close(m.interval.low, -0.1 - 4.302_653 * error, 0.0, 1e-6));
    assert!(close(m.interval.high, -0.1 + 4.302_653 * error, 0.0, 1e-6));
    let parts = ["step_size", "update_geometry", "residual_energy", "coherence", "scale"];
    let sum: f64 = parts.iter().map(|p| s.get(&format!("shapley.{p}")).unwrap().estimate.mean).sum();
    let size: f64 = parts.iter().map(|p| s.get(&format!("shapley.{p}")).unwrap().estimate.mean.abs()).sum();
    assert!(close(sum, s.get("gap").unwrap().estimate.mean, size, 1e-9));
    // Both runs reach the worse of their losses: no seed drops out, whichever arm is ahead.
    let t = s.get("log_token_ratio").unwrap();
    assert_eq!((t.estimate.count, t.sign), (3, Some(Sign::Undecided)));
    // B first: 2.9 of the way from 6 to 3.1, of 3. A first: 3 of 3.1 and 3 of 3.3, in B's favour.
    let expected = [-(2.9_f64 / 3.0).ln(), (3.0_f64 / 3.1).ln(), (3.0_f64 / 3.3).ln()];
    assert!(t.values.iter().zip(expected).all(|(v, e)| close(*v, e, 0.0, 1e-12)), "{:?}", t.values);
    // Two of eight changes of sign... the largest sum is that of equal signs: p is at least 2/8.
    let test = m.sign_flip.unwrap();
    assert_eq!((test.count, test.smallest), (3, 0.25));
    // Sums 0.3 against 0.5, 0.3, 0.1, ... : six of eight are at least as large.
    assert_eq!(test.p, 0.75);
    assert!(s.get("growth_a").unwrap().sign.is_none() && s.get("growth_a").unwrap().sign_flip.is_none());
    // Different seeds in the two configurations: not pairs.
    assert_eq!((s.count, s.paired), (3, 0));
    assert_eq!(s.get("val_loss_difference").unwrap().values.len(), 3);

    assert!(seeds(&all[..1], 0.95).unwrap().get("gap").unwrap().interval.low.is_nan());
    assert!(seeds(&[], 0.95).unwrap_err().to_string().contains("one a seed"));
    assert!(seeds(&all, 1.0).unwrap_err().to_string().contains("level"));
    let mut other = all[0].clone();
    other.group = Layers::Upper;
    let message = seeds(&[all[0].clone(), other], 0.95).unwrap_err().to_string();
    assert!(message.contains("all layers") && message.contains("upper layers"), "{message}");
}
