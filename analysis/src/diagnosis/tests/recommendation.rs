//! The recommended multiplier against a direct simulation of the slowed run.

use proptest::prelude::*;

use super::{Point, diagnose};
use crate::diagnosis::curves::UpperPath;
use crate::diagnosis::recommend::trajectory;
use crate::diagnosis::{LONGEST_HOLD, Recommendation};

const NAN: f64 = f64::NAN;
const RELIED: &[(u32, f64, f64)] = &[(0, 1.0, 0.1)];

/// A map that grows along itself by absolute steps `r`, then is scaled by the feature factors `f`: its
/// spreads with every step multiplied by `m`.
fn simulate(a0: f64, steps: &[(f64, f64)], m: f64) -> Vec<f64> {
    let mut all = vec![a0];
    for (r, f) in steps {
        all.push(f * (all[all.len() - 1] + m * r));
    }
    all
}

/// The record of that run as it was: `[ln a^, x c0, x]` at every probe.
fn record(a0: f64, steps: &[(f64, f64)]) -> Vec<[f64; 3]> {
    let a = simulate(a0, steps, 1.0);
    let mut path = vec![[a0.ln(), NAN, NAN]];
    path.extend(steps.iter().enumerate().map(|(i, (r, _))| [a[i + 1].ln(), r / a[i], r / a[i]]));
    path
}

fn upper_path(record: &[[f64; 3]]) -> UpperPath {
    UpperPath {
        ln_spread: record.iter().map(|p| p[0]).collect(),
        along: record.iter().map(|p| p[1]).collect(),
        step2: record.iter().map(|p| p[2] * p[2]).collect(),
    }
}

proptest! {
    #[test]
    fn coherent_growth_is_predicted_exactly(
        a0 in 0.01_f64..1.0, m in 0.0_f64..1.0,
        steps in proptest::collection::vec((0.0_f64..2.0, 0.5_f64..2.0), 1..30),
    ) {
        let path = upper_path(&record(a0, &steps));
        let predicted = trajectory(&path, steps.len(), m);
        for (p, s) in predicted.iter().zip(simulate(a0, &steps, m)) {
            // The square of (1 + x r) is formed and its root taken, over at most 30 steps.
            prop_assert!((p - s.ln()).abs() <= 1e-11, "{} against {}", p, s.ln());
        }
    }

    #[test]
    fn a_multiplier_of_one_gives_back_the_record(
        record in proptest::collection::vec(
            (-3.0_f64..3.0, -0.4_f64..0.4, 0.0_f64..0.5), 2..30),
    ) {
        let rows: Vec<[f64; 3]> = record.iter().map(|(a, g, r)| [*a, *g, g.abs() + r]).collect();
        let path = upper_path(&rows);
        for (p, a) in trajectory(&path, rows.len() - 1, 1.0).iter().zip(&path.ln_spread) {
            prop_assert!((p - a).abs() <= 1e-11);
        }
    }

    #[test]
    fn any_record_gives_a_defined_path(
        record in proptest::collection::vec((-3.0_f64..3.0, -9.0_f64..9.0, 0.0_f64..2.0), 2..30),
        m in 0.0_f64..=1.0,
    ) {
        // Means that no single head has, where the squared growth would turn negative.
        let rows: Vec<[f64; 3]> = record.iter().map(|(a, g, r)| [*a, *g, *r]).collect();
        prop_assert!(trajectory(&upper_path(&rows), rows.len() - 1, m).iter().all(|v| !v.is_nan()));
    }
}

/// Steps across what is there: the squared growth scales by m^2, and by measured over slowed spread squared.
#[test]
fn diffusive_growth_scales_by_the_square() {
    let x = 0.2_f64.sqrt();
    let rows = [[0.0, NAN, NAN], [0.5 * 1.2_f64.ln(), 0.0, x], [0.5 * (1.2 * 1.2_f64).ln(), 0.0, x]];
    let slowed = trajectory(&upper_path(&rows), 2, 0.5);
    let first = 0.5 * (1.0_f64 + 0.25 * 0.2).ln();
    assert!((slowed[1] - first).abs() < 1e-14);
    let m = 0.5 * (rows[1][0] - first).exp();
    assert!((slowed[2] - first - 0.5 * (1.0 + m * m * 0.2).ln()).abs() < 1e-14);
}

/// A run that grows coherently, sharp in proportion to its squared spread, settled at `settles`.
fn points(a0: f64, steps: &[(f64, f64)], every: u32, settles: u32) -> Vec<Point> {
    let rows = record(a0, steps);
    let point = |(i, path): (usize, &[f64; 3])| {
        let step = every * i as u32;
        let sharpness = (0.1 * (2.0 * path[0]).exp()).min(0.9);
        Point {
            step,
            upper_sharpness: sharpness,
            lower_maturity: if step >= settles { 0.95 } else { 0.4 },
            path: *path,
        }
    };
    rows.iter().enumerate().map(point).collect()
}

/// The largest multiplier that keeps the simulated spread under a limit until a probe.
fn largest(a0: f64, steps: &[(f64, f64)], until: usize, limit: f64) -> f64 {
    let kept = |m: f64| simulate(a0, steps, m)[..=until].iter().all(|a| *a <= limit);
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if kept(middle) { low = middle } else { high = middle }
    }
    low
}

/// Means over heads scatter: spreads by `ln a` around their mean keep it, squares of `r / a` do too, for each
/// head's r is in proportion to its a. Only the rates' scatter cancels to rounding.
#[test]
fn the_limit_is_kept_with_as_little_slowing_as_possible() {
    let steps: Vec<(f64, f64)> = (0..20).map(|i| (0.1, if i % 3 == 0 { 1.1 } else { 1.0 })).collect();
    let points = points(0.2, &steps, 5, 50);
    let d = diagnose(&points, RELIED, 1000);
    let r: Recommendation = d.recommendation.unwrap();
    // Sharpness 0.05 stands for a^2 = 0.5: the relation is linear in a^2, so interpolation is exact.
    assert!((r.spread_limit - 0.5_f64.sqrt()).abs() < 1e-12);
    assert_eq!((r.until_step, r.hold_fraction, r.hold_capped, r.feasible), (50, 0.05, false, true));
    let expected = largest(0.2, &steps, 10, r.spread_limit);
    // The boundary is bisected to 1e-6.
    assert!((r.multiplier - expected).abs() < 2e-6, "{} against {expected}", r.multiplier);
    assert!((r.spread_without - simulate(0.2, &steps, 1.0)[10]).abs() < 1e-10);
    assert!((r.spread_with - simulate(0.2, &steps, r.multiplier)[10]).abs() < 1e-10);
    assert!(r.spread_with <= r.spread_limit * (1.0 + 1e-8) && r.spread_without > r.spread_limit);
    for part in ["for the first 5 %", "(step 50)", "passed 0.05"] {
        assert!(r.sentence.contains(part), "{}", r.sentence);
    }
}

#[test]
fn the_hold_is_capped() {
    let steps = vec![(0.2, 1.0); 40];
    let d = diagnose(&points(0.2, &steps, 5, 150), RELIED, 200);
    let r = d.recommendation.unwrap();
    // 12 % of 200 steps is step 24; the last probe within is at 20.
    assert_eq!((r.hold_capped, r.hold_fraction, r.until_step), (true, LONGEST_HOLD, 20));
    // 0.2 + 4 m 0.2 = sqrt(0.5), found to 1e-6.
    assert!((r.multiplier - (0.5_f64.sqrt() - 0.2) / 0.8).abs() < 2e-6, "{}", r.multiplier);
    assert!(d.notes.iter().any(|n| n.contains("capped at 12 %")), "{:?}", d.notes);
    // The same where the lower half never settles.
    let d = diagnose(&points(0.2, &steps, 5, u32::MAX), RELIED, 200);
    assert!(d.recommendation.unwrap().hold_capped);
}

#[test]
fn features_alone_cannot_be_slowed_away() {
    let steps = vec![(0.05, 1.3); 10];
    let d = diagnose(&points(0.2, &steps, 5, 50), RELIED, 1000);
    let r = d.recommendation.unwrap();
    assert!(!r.feasible && r.multiplier < 0.02, "{}", r.multiplier);
    assert!(r.spread_with > r.spread_limit && r.spread_with < r.spread_without);
    assert!(r.sentence.contains("no multiplier keeps"), "{}", r.sentence);
}

#[test]
fn late_sharpness_needs_no_slowing() {
    // Sharp at step 95 of 100, settled at 100: nothing to hold in the first 12 %.
    let mut steps = vec![(0.001, 1.0); 20];
    steps[18].0 = 2.0;
    let d = diagnose(&points(0.2, &steps, 5, 100), RELIED, 100);
    assert_eq!((d.commitment_step, d.maturity_step), (Some(95), Some(100)));
    assert!(d.recommendation.is_none());
    assert!(d.notes.iter().any(|n| n.contains("stays under")), "{:?}", d.notes);
}

#[test]
fn an_undefined_path_gives_no_recommendation() {
    let mut points = points(0.2, &vec![(0.1, 1.0); 20], 5, 50);
    points[3].path[1] = NAN;
    let d = diagnose(&points, RELIED, 1000);
    assert!(d.recommendation.is_none());
    assert!(d.notes.iter().any(|n| n.contains("undefined at a probe")), "{:?}", d.notes);
}
