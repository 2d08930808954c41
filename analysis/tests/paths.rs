//! (5.4): the recursion of the predicted spread, and the exact split of the gap between two arms.

mod common;

use growthpath_analysis::{CompensatedSum, GrowthPath, PathCell, PathSplit, factorize, predict};
use proptest::prelude::*;

fn cell(eta: f64, u: f64, e: f64, c0: f64, features: f64) -> PathCell {
    PathCell { eta, u, e, c0, features }
}

/// The recursion as it is written.
fn follow(start: f64, cells: &[PathCell]) -> f64 {
    cells.iter().fold(start, |a, c| {
        let d = c.eta * c.u * c.e;
        ((a * a + 2.0 * a * d * c.c0 + d * d) * (2.0 * c.features).exp()).sqrt()
    })
}

fn split(a: (f64, &[PathCell]), b: (f64, &[PathCell])) -> PathSplit {
    let mut path = GrowthPath::new(a.0, b.0).unwrap();
    a.1.iter().zip(b.1).for_each(|(x, y)| path.advance(x, y));
    path.split()
}

/// Shapley values as the mean over all 720 orders, from the definition.
fn by_orders(a: (f64, &[PathCell]), b: (f64, &[PathCell])) -> [f64; 6] {
    let value = |from_b: &[usize]| -> f64 {
        let has = |p: usize| from_b.contains(&p);
        let start = if has(5) { b.0 } else { a.0 };
        let cells: Vec<PathCell> =
            a.1.iter()
                .zip(b.1)
                .map(|(a, b)| {
                    let pick = |p: usize| if has(p) { b } else { a };
                    cell(pick(0).eta, pick(1).u, pick(2).e, pick(3).c0, pick(4).features)
                })
                .collect();
        (follow(start, &cells) / start).ln()
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
    let all = orders(&[0, 1, 2, 3, 4, 5]);
    let mut sums = [0.0; 6];
    for order in &all {
        for place in 0..6 {
            sums[order[place]] += value(&order[..=place]) - value(&order[..place]);
        }
    }
    sums.map(|s| s / all.len() as f64)
}

fn random(rng: &mut impl rand::Rng) -> PathCell {
    cell(
        rng.random_range(1e-4..1e-2),
        rng.random_range(0.5..5.0),
        rng.random_range(0.1..20.0),
        rng.random_range(-0.9..0.9),
        rng.random_range(-0.3..0.3),
    )
}

#[test]
fn equals_the_mean_over_all_orders() {
    let mut rng = common::rng(1);
    for count in [1, 3, 9] {
        let (a, b): (Vec<_>, Vec<_>) = (0..count).map(|_| (random(&mut rng), random(&mut rng))).unzip();
        let (a, b) = ((0.3, a.as_slice()), (0.7, b.as_slice()));
        for (found, expected) in split(a, b).parts().iter().zip(by_orders(a, b)) {
            common::close("part", *found, expected, 1e-12);
        }
    }
}

#[test]
fn a_path_that_alone_differs_gets_the_whole_gap() {
    let mut rng = common::rng(2);
    let a: Vec<PathCell> = (0..5).map(|_| random(&mut rng)).collect();
    let changes: [fn(PathCell) -> PathCell; 5] = [
        |c| cell(0.25 * c.eta, c.u, c.e, c.c0, c.features),
        |c| cell(c.eta, 2.0 * c.u, c.e, c.c0, c.features),
        |c| cell(c.eta, c.u, 0.5 * c.e, c.c0, c.features),
        |c| cell(c.eta, c.u, c.e, -c.c0, c.features),
        |c| cell(c.eta, c.u, c.e, c.c0, c.features + 0.1),
    ];
    for (path, change) in changes.into_iter().enumerate() {
        let b: Vec<PathCell> = a.iter().map(|c| change(*c)).collect();
        let s = split((0.4, &a), (0.4, &b));
        assert!(s.gap() != 0.0);
        for (i, part) in s.parts().iter().enumerate() {
            common::close("part", *part, if i == path { s.gap() } else { 0.0 }, 1e-13);
        }
    }
    // The same path from another spread: growth differs because the spread is state.
    let s = split((0.4, &a), (0.1, &a));
    common::close("start", s.start, s.gap(), 1e-13);
    assert!(s.gap() != 0.0);
}

#[test]
fn a_frozen_arm_gives_the_gap_to_the_step_size() {
    let a = [cell(1e-2, 2.0, 30.0, 0.5, 0.1)];
    let frozen = [cell(0.0, 0.0, f64::NAN, f64::NAN, 0.1)];
    let s = split((0.7, &a), (0.7, &frozen));
    common::close("growth", s.growth_b, 0.1, 1e-14);
    common::close("step size", s.step_size / s.gap(), 1.0, 1e-13);
    // A step size but no weight change: the update's shape is what differs.
    let idle = [cell(1e-2, 0.0, f64::NAN, f64::NAN, 0.1)];
    let s = split((0.7, &a), (0.7, &idle));
    common::close("geometry", s.update_geometry / s.gap(), 1.0, 1e-13);
    // Neither moved.
    let s = split((0.7, &frozen), (0.7, &idle));
    assert!(s.parts().iter().all(|p| *p == 0.0) && s.gap() == 0.0);
}

#[test]
fn undefined_cells_and_spreads_are_told_apart() {
    let good = cell(1e-3, 2.0, 3.0, 0.5, 0.0);
    assert!(good.is_defined() && cell(0.0, 0.0, f64::NAN, f64::NAN, 0.1).is_defined());
    for bad in [
        cell(-1.0, 2.0, 3.0, 0.5, 0.0),
        cell(1e-3, f64::INFINITY, 3.0, 0.5, 0.0),
        cell(1e-3, 2.0, f64::NAN, 0.5, 0.0),
        cell(1e-3, 2.0, 3.0, f64::NAN, 0.0),
        cell(1e-3, 2.0, 3.0, 0.5, f64::NAN),
        // Weights that moved without a step size.
        cell(0.0, f64::INFINITY, 3.0, 0.5, f64::NAN),
    ] {
        assert!(!bad.is_defined(), "{bad:?}");
    }
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(GrowthPath::new(bad, 1.0).is_none() && GrowthPath::new(1.0, bad).is_none());
    }
}

/// The recursion on the factors of real layers leads to their predicted spreads (5.4).
#[test]
fn real_layers_follow_the_recursion() {
    let shape = common::Shape::new(&[20, 13], 6, 2, 4, true, true);
    let mut rng = common::rng(3);
    let mut state = shape.state(&mut rng);
    let mut paths: Vec<Option<GrowthPath>> = vec![None, None];
    let mut last = [0.0; 2];
    for _ in 0..8 {
        let next = shape.moved(&mut rng, &state, 0.2);
        for (h, p) in predict(&state, &next, &shape.geometry).unwrap().iter().enumerate() {
            let f = factorize(p, 1e-3).unwrap();
            let c = cell(f.eta, f.u, f.start.e, f.start.c0, p.feature_step);
            let path = paths[h].get_or_insert_with(|| GrowthPath::new(p.a_hat, p.a_hat).unwrap());
            path.advance(&c, &c);
            last[h] = p.a_hat_next;
        }
        state = next;
    }
    for (path, last) in paths.iter().flatten().zip(last) {
        common::close("spread", path.reached()[0], last.ln(), 1e-11);
        assert!(path.split().parts().iter().all(|p| p.abs() < 1e-13));
    }
}

#[test]
fn compensated_sum_keeps_small_terms() {
    let terms = [1e16, 1.0, -1e16, 1.0];
    assert_eq!(terms.iter().sum::<f64>(), 1.0, "the plain sum loses one");
    assert_eq!(terms.into_iter().collect::<CompensatedSum>().value(), 2.0);
    assert_eq!([f64::INFINITY, 1.0].into_iter().collect::<CompensatedSum>().value(), f64::INFINITY);
}

prop_compose! {
    fn any_cell()(
        eta in 0.0f64..1e-2, u in 1e-2f64..1e2, e in 0.0f64..1e2, c0 in -1.0f64..1.0, features in -1.0f64..1.0,
    ) -> PathCell {
        cell(eta, u, e, c0, features)
    }
}

proptest! {
    /// The six parts add up to the gap, and each arm's growth is that of the recursion.
    #[test]
    fn parts_add_up_to_the_gap(
        cells in prop::collection::vec((any_cell(), any_cell()), 1..30), a in 1e-3f64..10.0, b in 1e-3f64..10.0,
    ) {
        let (from_a, from_b): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
        let s = split((a, &from_a), (b, &from_b));
        let size = 1.0 + s.parts().iter().map(|p| p.abs()).sum::<f64>();
        prop_assert!((s.parts().iter().sum::<f64>() - s.gap()).abs() <= 1e-12 * size, "{s:?}");
        // Steps that nearly undo what is there lose digits in the bracket.
        let bracket = |start: f64, cells: &[PathCell]| {
            let mut a = start;
            cells.iter().map(|c| { let before = a; a = follow(a, std::slice::from_ref(c)); a / c.features.exp() / before.max(c.eta * c.u * c.e) }).fold(1.0, f64::min)
        };
        for (growth, start, cells) in [(s.growth_a, a, &from_a), (s.growth_b, b, &from_b)] {
            let digits = bracket(start, cells);
            prop_assume!(digits > 1e-4);
            prop_assert!((growth - (follow(start, cells) / start).ln()).abs() <= 1e-12 * size / digits.powi(2));
        }
    }

    #[test]
    fn swapping_the_arms_swaps_every_sign(
        cells in prop::collection::vec((any_cell(), any_cell()), 1..10), a in 1e-2f64..10.0, b in 1e-2f64..10.0,
    ) {
        let (from_a, from_b): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
        let (forth, back) = (split((a, &from_a), (b, &from_b)), split((b, &from_b), (a, &from_a)));
        let size = 1.0 + forth.parts().iter().map(|p| p.abs()).sum::<f64>();
        for (x, y) in forth.parts().iter().zip(back.parts()) {
            prop_assert!((x + y).abs() <= 1e-11 * size);
        }
    }

    /// A cut interval ends where the whole one does.
    #[test]
    fn cutting_changes_nothing(c in any_cell(), a in 1e-2f64..10.0, fraction in 0.01f64..0.99) {
        let whole = follow(a, &[c]);
        prop_assume!(whole > 1e-3 * a * c.features.exp());
        let parts = c.cut(fraction, a);
        prop_assert!((follow(a, &parts) / whole - 1.0).abs() < 1e-9, "{c:?} {parts:?}");
        prop_assert!((parts[0].eta + parts[1].eta - c.eta).abs() < 1e-15);
        prop_assert!((parts[0].reached(a) / follow(a, &parts[..1]) - 1.0).abs() < 1e-9);
    }
}
