//! (5.4): exact split of the gap between two arms.

mod common;

use growthpath_analysis::{Cell, CompensatedSum, Split, split};
use proptest::prelude::*;

fn cell(eta: f64, u: f64, e: f64, c: f64, a_hat: f64) -> Cell {
    Cell { eta, u, e, c, a_hat }
}

fn parts(s: &Split) -> [f64; 5] {
    [s.step_size, s.update_geometry, s.residual_energy, s.coherence, s.scale]
}

/// Shapley values as the mean over all 120 orders, from the definition.
fn by_orders(a: &[Cell], b: &[Cell]) -> [f64; 5] {
    let value = |from_b: &[usize]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| {
                let pick = |f: usize| if from_b.contains(&f) { b } else { a };
                pick(0).eta * pick(1).u * pick(2).e * pick(3).c / pick(4).a_hat
            })
            .sum()
    };
    fn orders(rest: &[usize]) -> Vec<Vec<usize>> {
        if rest.is_empty() {
            return vec![vec![]];
        }
        rest.iter()
            .flat_map(|&f| {
                let others: Vec<usize> = rest.iter().copied().filter(|&o| o != f).collect();
                orders(&others).into_iter().map(move |mut o| {
                    o.insert(0, f);
                    o
                })
            })
            .collect()
    }
    let all = orders(&[0, 1, 2, 3, 4]);
    let mut sums = [0.0; 5];
    for order in &all {
        for place in 0..5 {
            sums[order[place]] += value(&order[..=place]) - value(&order[..place]);
        }
    }
    sums.map(|s| s / all.len() as f64)
}

#[test]
fn equals_the_mean_over_all_orders() {
    let mut rng = common::rng(1);
    let mut random = || {
        let mut n = || common::normal(&mut rng);
        cell(n().abs(), n().abs() + 0.1, n().abs(), n(), n().abs() + 0.1)
    };
    for count in [1, 7, 30] {
        let (a, b): (Vec<Cell>, Vec<Cell>) = (0..count).map(|_| (random(), random())).unzip();
        let s = split(&a, &b).unwrap();
        for (found, expected) in parts(&s).iter().zip(by_orders(&a, &b)) {
            common::close("part", *found, expected, 1e-12);
        }
    }
}

#[test]
fn a_factor_that_alone_differs_gets_the_whole_gap() {
    let a = [cell(1e-3, 2.0, 3.0, -0.5, 0.7), cell(2e-3, 1.0, 2.0, 0.25, 0.9)];
    let b = a.map(|c| Cell { eta: 0.25 * c.eta, ..c });
    let s = split(&a, &b).unwrap();
    common::close("step size", s.step_size / s.gap, 1.0, 1e-14);
    assert_eq!(parts(&s)[1..], [0.0; 4]);
    let b = a.map(|c| Cell { c: -c.c, ..c });
    let s = split(&a, &b).unwrap();
    common::close("coherence", s.coherence / s.gap, 1.0, 1e-14);
}

#[test]
fn swapping_the_arms_swaps_every_sign() {
    let a = [cell(1e-3, 2.0, 3.0, -0.5, 0.7), cell(2e-3, 1.0, 2.0, 0.25, 0.9)];
    let b = [cell(3e-3, 1.0, 5.0, 0.5, 0.2), cell(1e-3, 4.0, 2.5, -0.75, 1.9)];
    let (forth, back) = (split(&a, &b).unwrap(), split(&b, &a).unwrap());
    for (x, y) in parts(&forth).iter().zip(parts(&back)) {
        common::close("sign", *x, -y, 1e-14);
    }
}

#[test]
fn a_frozen_arm_gives_the_gap_to_the_step_size() {
    let a = [cell(1e-3, 2.0, 3.0, 0.5, 0.7)];
    let frozen = [cell(0.0, 0.0, f64::NAN, f64::NAN, 0.7)];
    let s = split(&a, &frozen).unwrap();
    assert_eq!(s.growth_b, 0.0);
    common::close("step size", s.step_size / s.gap, 1.0, 1e-14);
    // A step size but no weight change: the update's shape is what differs.
    let idle = [cell(1e-3, 0.0, f64::NAN, f64::NAN, 0.7)];
    let s = split(&a, &idle).unwrap();
    common::close("geometry", s.update_geometry / s.gap, 1.0, 1e-14);
    // Neither moved.
    let s = split(&frozen, &idle).unwrap();
    assert!(parts(&s).iter().all(|p| *p == 0.0) && s.gap == 0.0);
}

#[test]
fn unusable_cells_are_named() {
    let good = [cell(1e-3, 2.0, 3.0, 0.5, 0.7)];
    for (bad, field) in [
        (cell(-1.0, 2.0, 3.0, 0.5, 0.7), "eta"),
        (cell(1e-3, f64::INFINITY, 3.0, 0.5, 0.7), "u"),
        (cell(1e-3, 2.0, f64::NAN, 0.5, 0.7), "e"),
        (cell(1e-3, 2.0, 3.0, f64::NAN, 0.7), "c"),
        (cell(1e-3, 2.0, 3.0, 0.5, 0.0), "a_hat"),
    ] {
        let text = split(&good, &[bad]).unwrap_err().to_string();
        assert!(text.contains(&format!("cell 0 of arm B: {field} is")), "{text}");
    }
    assert!(split(&good, &[]).is_err());
    assert_eq!(split(&[], &[]).unwrap().gap, 0.0);
}

#[test]
fn compensated_sum_keeps_small_terms() {
    let terms = [1e16, 1.0, -1e16, 1.0];
    assert_eq!(terms.iter().sum::<f64>(), 1.0, "the plain sum loses one");
    assert_eq!(terms.into_iter().collect::<CompensatedSum>().value(), 2.0);
    assert_eq!([f64::INFINITY, 1.0].into_iter().collect::<CompensatedSum>().value(), f64::INFINITY);
}

proptest! {
    /// The parts add up to the gap, whatever signs and magnitudes meet.
    #[test]
    fn parts_add_up_to_the_gap(
        cells in prop::collection::vec((0.0f64..1e-2, 1e-3f64..1e3, 0.0f64..1e3, -1.0f64..1.0, 1e-3f64..1e2), 2..60),
    ) {
        let cells: Vec<Cell> = cells.into_iter().map(|(eta, u, e, c, a)| cell(eta, u, e, c, a)).collect();
        let half = cells.len() / 2;
        let (a, b) = (&cells[..half], &cells[half..2 * half]);
        let s = split(a, b).unwrap();
        let magnitude = parts(&s).iter().map(|p| p.abs()).sum::<f64>() + s.growth_a.abs() + s.growth_b.abs();
        prop_assert!(s.residual.abs() <= 1e-9 * s.gap.abs() + 1e-13 * magnitude, "{s:?}");
        prop_assert!((s.gap - parts(&s).iter().sum::<f64>()).abs() <= 1e-9 * s.gap.abs() + 1e-13 * magnitude);
        let path = |cells: &[Cell]| cells.iter().map(Cell::product).sum::<f64>();
        prop_assert!((s.growth_a - path(a)).abs() <= 1e-12 * magnitude.max(path(a).abs()));
        prop_assert!((s.growth_b - path(b)).abs() <= 1e-12 * magnitude.max(path(b).abs()));
    }
}
