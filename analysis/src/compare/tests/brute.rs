//! Growths, gap, Shapley parts and ratios against naive sums over collected rows.

use growthpath_trace::{ProbeRow, StepRange};
use proptest::prelude::*;

use super::{Plan, close, plan, recursion};
use crate::compare::{Comparison, GroupComparison, Layers, MeasuredParts, ShapleyParts, compare};

/// The six paths: eta, u, e, c0, features, start.
const PATHS: usize = 6;

pub fn parts(s: &ShapleyParts) -> [f64; PATHS] {
    [s.step_size, s.update_geometry, s.residual_energy, s.coherence, s.features, s.start]
}

/// Log growth of one head when each path is taken from B or from A.
fn growth(a: &[&ProbeRow], b: &[&ProbeRow], from_b: [bool; PATHS]) -> f64 {
    let start = if from_b[5] { b[0].a_hat_prev } else { a[0].a_hat_prev };
    let reached = a.iter().zip(b).fold(start, |spread, (a, b)| {
        let of = |path: usize, column: fn(&ProbeRow) -> f64| column(if from_b[path] { b } else { a });
        let step = of(0, |r| r.eta) * of(1, |r| r.u) * of(2, |r| r.e);
        recursion(spread, step, of(3, |r| r.c0), of(4, |r| r.feature_step))
    });
    (reached / start).ln()
}

/// Every order of the six paths.
fn orders() -> Vec<[usize; PATHS]> {
    let code =
        |code: usize| -> [usize; PATHS] { std::array::from_fn(|i| code / PATHS.pow(i as u32) % PATHS) };
    let all = (0..PATHS.pow(PATHS as u32)).map(code);
    let all: Vec<_> = all.filter(|order| (0..PATHS).all(|p| order.contains(&p))).collect();
    assert_eq!(all.len(), 720);
    all
}

/// Shapley values as the mean over all 720 orders in which B's paths replace A's.
fn shapley(a: &[&ProbeRow], b: &[&ProbeRow], orders: &[[usize; PATHS]]) -> [f64; PATHS] {
    let growths: Vec<f64> =
        (0..1 << PATHS).map(|c| growth(a, b, std::array::from_fn(|p| c >> p & 1 == 1))).collect();
    let mut parts = [0.0; PATHS];
    for order in orders {
        let mut coalition = 0;
        for &path in order {
            parts[path] += growths[coalition | 1 << path] - growths[coalition];
            coalition |= 1 << path;
        }
    }
    parts.map(|p| p / orders.len() as f64)
}

fn measured(rows: &[Vec<&ProbeRow>]) -> [f64; 4] {
    let sum = |column: fn(&ProbeRow) -> f64| rows.iter().flatten().map(|r| column(r)).sum::<f64>();
    let growth = rows.iter().map(|r| (r[r.len() - 1].spread / r[0].spread_prev).ln()).sum::<f64>();
    [growth, sum(|r| r.gamma_q), sum(|r| r.gamma_k), sum(|r| r.gamma_f)].map(|v| v / rows.len() as f64)
}

fn predicted(rows: &[Vec<&ProbeRow>]) -> f64 {
    let growth = |r: &&ProbeRow| (r.a_hat / r.a_hat_prev).ln();
    rows.iter().flatten().map(growth).sum::<f64>() / rows.len() as f64
}

fn same_measured(found: &MeasuredParts, expected: [f64; 4]) {
    for (found, expected) in [found.growth, found.query, found.key, found.features].iter().zip(expected) {
        assert!(close(*found, expected, 1.0, 1e-12), "{found} against {expected}");
    }
}

/// Rows by head of the layers that a group holds.
fn selected<'a>(
    plan: &'a Plan,
    keep: &dyn Fn(u16) -> bool,
    (first, last): (u32, u32),
) -> Vec<Vec<&'a ProbeRow>> {
    let layers = (0..plan.info.layers).filter(|l| keep(*l));
    let heads = layers.flat_map(|l| (0..plan.info.heads).map(move |h| (l, h)));
    heads.map(|(l, h)| plan.head(l, h, first, last)).collect()
}

/// Checks what does not depend on whether intervals were cut.
fn check_growths(
    group: &GroupComparison,
    a: &Plan,
    b: &Plan,
    keep: &dyn Fn(u16) -> bool,
    window: (u32, u32),
) {
    let (rows_a, rows_b) = (selected(a, keep, window), selected(b, keep, window));
    let (of_a, of_b) = (predicted(&rows_a), predicted(&rows_b));
    // Logarithms of at most 10, some tens of them.
    let same = |x: f64, y: f64| assert!(close(x, y, 10.0, 1e-12), "{x} against {y}");
    same(group.predicted_a, of_a);
    same(group.predicted_b, of_b);
    same(group.predicted_gap, of_b - of_a);
    same(parts(&group.shapley).iter().sum::<f64>(), of_b - of_a);
    assert!(group.shapley.residual.abs() <= 1e-11);
    let (of_a, of_b) = (measured(&rows_a), measured(&rows_b));
    same_measured(&group.measured_a, of_a);
    same_measured(&group.measured_b, of_b);
    same_measured(&group.measured_gap_parts, std::array::from_fn(|i| of_b[i] - of_a[i]));
    same(group.measured_gap, of_b[0] - of_a[0]);
    assert_eq!((group.cells.undefined_heads, group.cells.still_in_one, group.cells.unmeasured), (0, 0, 0));
    assert_eq!(group.cells.in_ratios, group.cells.aligned);
    let is_long = |r: &&&ProbeRow| r.gamma.abs() > 1.0;
    let long = rows_a.iter().chain(&rows_b).flatten().filter(is_long).count();
    assert_eq!(group.cells.long, long as u64);
}

/// Checks one group of runs probed at the same steps against brute force.
fn check(group: &GroupComparison, a: &Plan, b: &Plan, keep: &dyn Fn(u16) -> bool, window: (u32, u32)) {
    check_growths(group, a, b, keep, window);
    let (rows_a, rows_b) = (selected(a, keep, window), selected(b, keep, window));
    let (mut expected, orders) = ([0.0; PATHS], orders());
    for (a, b) in rows_a.iter().zip(&rows_b) {
        let part = shapley(a, b, &orders);
        expected.iter_mut().zip(part).for_each(|(sum, p)| *sum += p / rows_a.len() as f64);
    }
    for (part, expected) in parts(&group.shapley).iter().zip(expected) {
        assert!(close(*part, expected, 10.0, 1e-11), "{part} against {expected}");
    }
    let cells: Vec<(&ProbeRow, &ProbeRow)> =
        rows_a.iter().flatten().copied().zip(rows_b.iter().flatten().copied()).collect();
    let n = cells.len() as f64;
    let ratio =
        |f: fn(&ProbeRow) -> f64| (cells.iter().map(|(a, b)| (f(b) / f(a)).ln()).sum::<f64>() / n).exp();
    let near = |x: f64, y: f64| assert!(close(x, y, 0.0, 1e-12 * n), "{x} against {y}");
    near(group.step_size_ratio, ratio(|r| r.eta * r.u));
    near(group.learning_rate_ratio, ratio(|r| r.eta));
    near(group.update_geometry_ratio, ratio(|r| r.u));
    near(group.residual_energy_ratio, ratio(|r| r.e));
    let coherence = cells.iter().map(|(a, b)| b.c0 - a.c0).sum::<f64>() / n;
    assert!(close(group.coherence_difference, coherence, 1.0, 1e-12));
    assert_eq!(group.cells.aligned, cells.len() as u64);
}

/// Every group of a comparison.
/// A group's numbers and which layers it holds.
type Group<'a> = (&'a GroupComparison, Box<dyn Fn(u16) -> bool>);

fn groups(c: &Comparison, layers: u16) -> Vec<Group<'_>> {
    let half = layers / 2;
    let mut all: Vec<Group<'_>> =
        vec![(&c.comparison, Box::new(|_| true)), (&c.groups.upper, Box::new(move |l| l >= half))];
    all.extend(
        c.groups.lower.iter().map(|g| -> (_, Box<dyn Fn(u16) -> bool>) { (g, Box::new(move |l| l < half)) }),
    );
    for layer in &c.layers {
        let wanted = layer.layer;
        all.push((&layer.comparison, Box::new(move |l| usize::from(l) == wanted)));
    }
    all
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
        a.rows.iter_mut().filter(|r| r.layer % 2 == 0).for_each(|r| r.c0 = r.c0.abs());
        a.chain();
        let window = StepRange { start, end: cut.then_some(15) };
        let ((_keep_a, run_a), (_keep_b, run_b)) = (a.write(), b.write());
        let c = compare(&run_a, &run_b, Layers::All, window).unwrap();
        let first = probes.iter().copied().find(|s| *s >= start).unwrap();
        let last = if cut { 13 } else { 20 };
        prop_assert_eq!((c.window.first, c.window.last), (first, last));
        prop_assert_eq!(c.window.intervals, probes.iter().filter(|s| **s > first && **s <= last).count());
        prop_assert_eq!(c.window.interpolated, 0);
        for (group, keep) in groups(&c, layers) {
            check(group, &a, &b, &*keep, (first, last));
        }

        // Exchanging the arms changes every sign and nothing else.
        let r = compare(&run_b, &run_a, Layers::All, window).unwrap();
        prop_assert_eq!(r.comparison.predicted_a, c.comparison.predicted_b);
        for (x, y) in parts(&r.comparison.shapley).into_iter().zip(parts(&c.comparison.shapley)) {
            prop_assert!((x + y).abs() <= 1e-11);
        }
    }

    /// Where only one run was probed the other's interval is cut: growths stay what they were recorded to be.
    #[test]
    fn different_probe_steps_leave_the_growths_exact(
        seed in any::<u32>(), layers in 1_u16..4, heads in 1_u16..3,
        inner in prop::array::uniform2(prop::collection::btree_set(3_u32..30, 0..6)),
    ) {
        // Both begin at 2 and end at 30; A looked before, B goes on after.
        let steps = |i: usize, more: [u32; 2]| -> Vec<u32> {
            let mut all: Vec<u32> = inner[i].iter().copied().chain([2, 30]).chain(more).collect();
            all.sort_unstable();
            all
        };
        let (in_a, in_b) = (steps(0, [0, 1]), steps(1, [35, 41]));
        let (a, b) = (plan(u64::from(seed), layers, heads, &in_a), plan(u64::from(seed) + 1, layers, heads, &in_b));
        let ((_keep_a, run_a), (_keep_b, run_b)) = (a.write(), b.write());
        let c = compare(&run_a, &run_b, Layers::All, ..).unwrap();
        prop_assert_eq!((c.window.first, c.window.last), (2, 30));
        let union: Vec<u32> = (2..=30).filter(|s| in_a.contains(s) || in_b.contains(s)).collect();
        prop_assert_eq!(c.window.intervals, union.len() - 1);
        let recorded = |steps: &[u32], w: &[u32]| steps.windows(2).any(|i| i == w);
        let whole = union.windows(2).filter(|w| recorded(&in_a, w) && recorded(&in_b, w)).count();
        prop_assert_eq!(c.window.interpolated, union.len() - 1 - whole);
        prop_assert_eq!(c.notes.iter().any(|n| n.contains("were cut")), whole + 1 < union.len());
        for (group, keep) in groups(&c, layers) {
            check_growths(group, &a, &b, &*keep, (2, 30));
            let heads = selected(&a, &*keep, (2, 30)).len();
            prop_assert_eq!(group.cells.aligned, (heads * (union.len() - 1)) as u64);
        }
    }

    /// The same path recorded more often, M on a straight line and the features acting evenly within each interval:
    /// cutting finds no difference, neither in the whole nor in a part.
    #[test]
    fn the_same_path_looked_at_more_often_is_no_difference(
        seed in any::<u32>(), more in prop::collection::btree_set(1_u32..40, 1..12),
    ) {
        let mut a = plan(u64::from(seed), 2, 2, &[0, 10, 12, 40]);
        for r in a.rows.iter_mut().filter(|r| r.layer == 1 && r.head == 0 && r.prev_step < r.step) {
            (r.eta, r.u, r.e, r.c0) = (0.0, 0.0, f64::NAN, f64::NAN);
        }
        a.chain();
        let b = refined(&a, &more.into_iter().collect::<Vec<_>>());
        prop_assume!(b.probes.len() > a.probes.len());
        for (a, b) in [(&a, &b), (&b, &a)] {
            let ((_keep_a, run_a), (_keep_b, run_b)) = (a.write(), b.write());
            let c = compare(&run_a, &run_b, Layers::All, ..).unwrap();
            prop_assert!(c.window.interpolated > 0 && c.comparison.predicted_a != 0.0);
            let group = c.comparison;
            for part in parts(&group.shapley).into_iter().chain([group.predicted_gap, group.measured_gap]) {
                prop_assert!(part.abs() < 1e-11, "{group:?}");
            }
            prop_assert!((group.residual_energy_ratio - 1.0).abs() < 1e-11);
            prop_assert!((group.learning_rate_ratio - 1.0).abs() < 1e-11);
            prop_assert!(group.coherence_difference.abs() < 1e-11);
        }
    }
}

/// The run with further probes within its intervals: M and dM as vectors of a plane, of which the metric of the start
/// is the plain one and grows with the features.
fn refined(plan: &Plan, more: &[u32]) -> Plan {
    let mut probes: Vec<u32> = plan.probes.iter().chain(more).copied().collect();
    probes.sort_unstable();
    probes.dedup();
    let mut rows = Vec::new();
    for &step in &probes {
        // The interval that ends there or later.
        for r in plan.rows.iter().filter(|r| r.step == step && r.prev_step == step) {
            rows.push(*r);
        }
        let before = probes.iter().rfind(|p| **p < step).copied();
        for r in plan.rows.iter().filter(|r| r.prev_step < step && step <= r.step) {
            let before = before.unwrap();
            let at = |s: u32| f64::from(s - r.prev_step) / f64::from(r.step - r.prev_step);
            let (from, to) = (at(before), at(step));
            let moved = r.eta * r.u > 0.0;
            let dm = if moved {
                let size = r.eta * r.u * r.e;
                [size * r.c0, size * (1.0 - r.c0 * r.c0).sqrt()]
            } else {
                [0.0, 0.0]
            };
            let m = |f: f64| [r.a_hat_prev + f * dm[0], f * dm[1]];
            let norm = |v: [f64; 2]| v[0].hypot(v[1]);
            let spread = |f: f64| norm(m(f)) * (f * r.feature_step).exp();
            let part = to - from;
            rows.push(ProbeRow {
                step,
                prev_step: before,
                eta: part * r.eta,
                e: r.e * (from * r.feature_step).exp(),
                c0: (m(from)[0] * dm[0] + m(from)[1] * dm[1]) / (norm(m(from)) * norm(dm)),
                feature_step: part * r.feature_step,
                a_hat_prev: spread(from),
                a_hat: spread(to),
                gamma: part * r.gamma,
                gamma_q: part * r.gamma_q,
                gamma_k: part * r.gamma_k,
                gamma_f: part * r.gamma_f,
                ..*r
            });
        }
    }
    Plan { info: plan.info.clone(), probes, rows, evals: Vec::new(), losses: Vec::new() }
}

#[test]
fn chosen_layers_stand_at_the_top() {
    let (a, b) = (plan(1, 5, 2, &[0, 3, 9]), plan(2, 5, 2, &[0, 3, 9]));
    let ((_a, run_a), (_b, run_b)) = (a.write(), b.write());
    let upper = compare(&run_a, &run_b, Layers::Upper, ..).unwrap();
    assert_eq!(upper.comparison, upper.groups.upper);
    let lower = compare(&run_a, &run_b, Layers::Lower, ..).unwrap();
    assert_eq!(Some(lower.comparison), lower.groups.lower);
    assert_ne!(upper.comparison.predicted_gap, lower.comparison.predicted_gap);
    assert_ne!(upper.comparison.measured_gap, lower.comparison.measured_gap);
    assert_eq!(upper.layers, lower.layers);
}

#[test]
fn one_changed_path_takes_the_whole_gap() {
    let probes = [0, 1, 5, 6];
    let a = plan(7, 3, 2, &probes);
    for path in 0..PATHS {
        let mut b = plan(7, 3, 2, &probes);
        for r in &mut b.rows {
            match (path, r.prev_step < r.step) {
                (5, false) => r.a_hat *= 0.25,
                (4, true) => r.feature_step -= 0.1,
                (0..=3, true) => *[&mut r.eta, &mut r.u, &mut r.e, &mut r.c0][path] *= 0.25,
                _ => {}
            }
        }
        b.chain();
        let ((_a, run_a), (_b, run_b)) = (a.write(), b.write());
        let c = compare(&run_a, &run_b, Layers::All, ..).unwrap().comparison;
        assert!(c.predicted_gap.abs() > 1e-3, "path {path}: {}", c.predicted_gap);
        for (i, part) in parts(&c.shapley).iter().enumerate() {
            let expected = if i == path { c.predicted_gap } else { 0.0 };
            assert!(close(*part, expected, 1.0, 1e-12), "path {path}, part {i}: {part}");
        }
        let quarter = [c.learning_rate_ratio, c.update_geometry_ratio, c.residual_energy_ratio];
        for (i, ratio) in quarter.iter().enumerate() {
            assert!(close(*ratio, if i == path { 0.25 } else { 1.0 }, 1.0, 1e-12));
        }
        assert_eq!(c.coherence_difference != 0.0, path == 3);
    }
}
