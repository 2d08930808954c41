//! Gap, Shapley parts and ratios against naive sums over collected rows.

use growthpath_trace::{ProbeRow, StepRange};
use proptest::prelude::*;

use super::{Plan, close, plan};
use crate::compare::{Comparison, GroupComparison, Layers, compare};

/// Shapley values as the mean over all 120 orders in which B's factors replace A's, on sums over all cells.
fn shapley(a: &[&ProbeRow], b: &[&ProbeRow]) -> [f64; 5] {
    let factors = |r: &ProbeRow| [r.eta, r.u, r.e, r.c, 1.0 / r.a_hat_prev];
    let value = |from_b: [bool; 5]| -> f64 {
        let cell = |(a, b): (&&ProbeRow, &&ProbeRow)| -> f64 {
            (0..5).map(|f| if from_b[f] { factors(b)[f] } else { factors(a)[f] }).product()
        };
        a.iter().zip(b).map(cell).sum()
    };
    let (mut parts, mut orders) = ([0.0; 5], 0.0);
    for code in 0..5_usize.pow(5) {
        let order: [usize; 5] = std::array::from_fn(|i| code / 5_usize.pow(i as u32) % 5);
        if (0..5).any(|f| !order.contains(&f)) {
            continue;
        }
        let mut coalition = [false; 5];
        for f in order {
            let before = value(coalition);
            coalition[f] = true;
            parts[f] += value(coalition) - before;
        }
        orders += 1.0;
    }
    assert_eq!(orders, 120.0);
    parts.map(|p| p / orders)
}

fn selected<'a>(plan: &'a Plan, keep: &dyn Fn(u16) -> bool, window: StepRange) -> Vec<&'a ProbeRow> {
    let end = window.end.unwrap_or(u32::MAX);
    let inside = |r: &&ProbeRow| r.prev_step < r.step && r.prev_step >= window.start && r.step <= end;
    plan.rows.iter().filter(inside).filter(|r| keep(r.layer)).collect()
}

/// Checks one group against brute force.
fn check(group: &GroupComparison, a: &Plan, b: &Plan, keep: &dyn Fn(u16) -> bool, window: StepRange) {
    let (rows_a, rows_b) = (selected(a, keep, window), selected(b, keep, window));
    let layers = (0..a.info.layers).filter(|l| keep(*l)).count();
    let columns = (layers * usize::from(a.info.heads)) as f64;
    let sum = |rows: &[&ProbeRow], f: fn(&ProbeRow) -> f64| rows.iter().map(|r| f(r)).sum::<f64>() / columns;
    // Sums of both signs: what rounding may cost is relative to the sum of absolute values.
    let scale = sum(&rows_a, |r| r.g_hat.abs()) + sum(&rows_b, |r| r.g_hat.abs());
    let same = |x: f64, y: f64| assert!(close(x, y, scale, 1e-12), "{x} against {y}");
    same(group.growth_a, sum(&rows_a, |r| r.g_hat));
    same(group.growth_b, sum(&rows_b, |r| r.g_hat));
    same(group.gap, sum(&rows_b, |r| r.g_hat) - sum(&rows_a, |r| r.g_hat));
    let s = &group.shapley;
    let parts = [s.step_size, s.update_geometry, s.residual_energy, s.coherence, s.scale];
    let expected = shapley(&rows_a, &rows_b).map(|p| p / columns);
    // Mixed products of A's and B's factors exceed the arms' own sums; 120 orders cancel most of them.
    let size = scale + expected.iter().map(|p| p.abs()).sum::<f64>();
    for (part, expected) in parts.iter().zip(expected) {
        assert!(close(*part, expected, size, 1e-9), "{part} against {expected}");
    }
    assert!(close(parts.iter().sum(), group.gap, size, 1e-9));
    assert!(s.residual.abs() <= 1e-9 * size);
    assert!(close(group.measured_gap, sum(&rows_b, |r| r.gamma) - sum(&rows_a, |r| r.gamma), 1.0, 1e-12));
    assert!(close(group.measured_growth_a, sum(&rows_a, |r| r.gamma), 1.0, 1e-12));
    let n = rows_a.len() as f64;
    let ratio = |f: fn(&ProbeRow) -> f64| {
        let logs = rows_a.iter().zip(&rows_b).map(|(a, b)| (f(b) / f(a)).ln()).sum::<f64>();
        (logs / n).exp()
    };
    let near = |x: f64, y: f64| assert!(close(x, y, 0.0, 1e-12 * n), "{x} against {y}");
    near(group.step_size_ratio, ratio(|r| r.eta * r.u));
    near(group.learning_rate_ratio, ratio(|r| r.eta));
    near(group.update_geometry_ratio, ratio(|r| r.u));
    near(group.residual_energy_ratio, ratio(|r| r.e));
    near(group.scale_ratio, ratio(|r| r.a_hat_prev));
    let coherence = rows_a.iter().zip(&rows_b).map(|(a, b)| b.c - a.c).sum::<f64>() / n;
    assert!(close(group.coherence_difference, coherence, 1.0, 1e-12));
    assert_eq!(group.cells.aligned, rows_a.len() as u64);
    assert_eq!(group.cells.in_ratios, rows_a.len() as u64);
    assert_eq!((group.cells.undefined, group.cells.still_in_one, group.cells.unmeasured), (0, 0, 0));
}

fn check_all(c: &Comparison, a: &Plan, b: &Plan, window: StepRange) {
    let half = a.info.layers / 2;
    check(&c.groups.upper, a, b, &|l| l >= half, window);
    if let Some(lower) = &c.groups.lower {
        check(lower, a, b, &|l| l < half, window);
    }
    for layer in &c.layers {
        check(&layer.comparison, a, b, &|l| usize::from(l) == layer.layer, window);
    }
}

proptest! {
    // Every case writes two runs to disk.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_group_agrees_with_brute_force(
        seed in any::<u32>(), layers in 1_u16..6, heads in 1_u16..4, start in 0_u32..3, cut in any::<bool>(),
    ) {
        let probes = [0, 1, 2, 4, 8, 13, 20];
        let mut a = plan(u64::from(seed), layers, heads, &probes);
        let b = plan(u64::from(seed) + 1, layers, heads, &probes);
        // An arm that grows on some cells only: signs differ between the arms.
        a.rows.iter_mut().filter(|r| r.layer % 2 == 0).for_each(|r| {
            r.c = r.c.abs();
            r.g_hat = r.eta * r.u * r.e * r.c / r.a_hat_prev;
        });
        let window = StepRange { start, end: cut.then_some(15) };
        let ((_keep_a, run_a), (_keep_b, run_b)) = (a.write(), b.write());
        let c = compare(&run_a, &run_b, Layers::All, window).unwrap();
        check(&c.comparison, &a, &b, &|_| true, window);
        check_all(&c, &a, &b, window);
        let first = probes.iter().copied().find(|s| *s >= start).unwrap();
        prop_assert_eq!((c.window.first, c.window.last), (first, if cut { 13 } else { 20 }));

        // Exchanging the arms changes every sign and nothing else.
        let r = compare(&run_b, &run_a, Layers::All, window).unwrap();
        prop_assert_eq!(r.comparison.growth_a, c.comparison.growth_b);
        let (x, y) = (r.comparison.shapley, c.comparison.shapley);
        let size = x.step_size.abs() + x.update_geometry.abs() + x.residual_energy.abs() + x.coherence.abs() + x.scale.abs();
        for (x, y) in [(x.step_size, y.step_size), (x.update_geometry, y.update_geometry),
                       (x.residual_energy, y.residual_energy), (x.coherence, y.coherence), (x.scale, y.scale)] {
            prop_assert!((x + y).abs() <= 1e-9 * size);
        }
    }
}

#[test]
fn chosen_layers_stand_at_the_top() {
    let (a, b) = (plan(1, 5, 2, &[0, 3, 9]), plan(2, 5, 2, &[0, 3, 9]));
    let ((_a, run_a), (_b, run_b)) = (a.write(), b.write());
    let upper = compare(&run_a, &run_b, Layers::Upper, ..).unwrap();
    assert_eq!(upper.comparison, upper.groups.upper);
    let lower = compare(&run_a, &run_b, Layers::Lower, ..).unwrap();
    assert_eq!(Some(lower.comparison), lower.groups.lower);
    assert_ne!(upper.comparison.gap, lower.comparison.gap);
    assert_eq!(upper.layers, lower.layers);
}

#[test]
fn one_changed_factor_takes_the_whole_gap() {
    let a = plan(7, 3, 2, &[0, 1, 5, 6]);
    for factor in 0..5 {
        let mut b = plan(7, 3, 2, &[0, 1, 5, 6]);
        for r in b.rows.iter_mut().filter(|r| r.prev_step < r.step) {
            *[&mut r.eta, &mut r.u, &mut r.e, &mut r.c, &mut r.a_hat_prev][factor] *= 0.25;
            r.g_hat = r.eta * r.u * r.e * r.c / r.a_hat_prev;
        }
        let ((_a, run_a), (_b, run_b)) = (a.write(), b.write());
        let c = compare(&run_a, &run_b, Layers::All, ..).unwrap().comparison;
        let s = c.shapley;
        let parts = [s.step_size, s.update_geometry, s.residual_energy, s.coherence, s.scale];
        for (i, part) in parts.iter().enumerate() {
            let expected = if i == factor { c.gap } else { 0.0 };
            assert!(close(*part, expected, c.gap.abs(), 1e-12), "factor {factor}, part {i}: {part}");
        }
        let quarter = [c.learning_rate_ratio, c.update_geometry_ratio, c.residual_energy_ratio];
        for (i, ratio) in quarter.iter().enumerate() {
            assert!(close(*ratio, if i == factor { 0.25 } else { 1.0 }, 1.0, 1e-12));
        }
    }
}
