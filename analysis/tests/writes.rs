//! Attribution to upstream writes, (5.3) and the write-by-write form of (4.2), against explicit
//! cross moments.

mod common;

use common::{Reference, Shape, close, cross_moments, head, matrix, metric, moments};
use faer::Mat;
use growthpath_analysis::{
    DriftSensitivity, EnergySensitivity, LayerProbe, LayerState, drift_shares, energy_shares, predict,
};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;

const SUMS: f64 = 1e-11;

type Write = Vec<Mat<f64>>;

fn shapes() -> Vec<Shape> {
    let mut shapes = Shape::zoo();
    for shape in &mut shapes {
        shape.lengths.iter_mut().for_each(|t| *t = (*t).min(14));
    }
    shapes
}

fn writes(rng: &mut ChaCha8Rng, shape: &Shape, count: usize) -> Vec<Write> {
    (0..count)
        .map(|k| shape.lengths.iter().map(|&t| matrix(rng, t, shape.width, 0.3 + 0.4 * k as f64)).collect())
        .collect()
}

/// The input that writes and a constant vector make, bias column included.
fn input(shape: &Shape, writes: &[Write], constant: &[f64]) -> Write {
    (0..shape.lengths.len())
        .map(|b| {
            Mat::from_fn(shape.lengths[b], shape.augmented_width(), |i, j| {
                if j == shape.width {
                    1.0
                } else {
                    constant[j] + writes.iter().map(|w| w[b][(i, j)]).sum::<f64>()
                }
            })
        })
        .collect()
}

/// A write with a zero bias column where inputs have one.
fn padded(shape: &Shape, write: &Write) -> Write {
    write
        .iter()
        .map(|w| {
            Mat::from_fn(
                w.nrows(),
                shape.augmented_width(),
                |i, j| if j < shape.width { w[(i, j)] } else { 0.0 },
            )
        })
        .collect()
}

struct Scene {
    prev: LayerState,
    next: LayerState,
    before: Vec<Write>,
    after: Vec<Write>,
}

fn scene(shape: &Shape, seed: u64, count: usize) -> Scene {
    let mut rng = common::rng(seed);
    let before = writes(&mut rng, shape, count);
    let after: Vec<Write> = writes(&mut rng, shape, count)
        .iter()
        .zip(&before)
        .map(|(n, b)| n.iter().zip(b).map(|(n, b)| b + faer::Scale(0.2) * n).collect())
        .collect();
    let constant: Vec<f64> = (0..shape.width).map(|_| common::normal(&mut rng)).collect();
    let later: Vec<f64> = constant.iter().map(|c| c + 0.1 * common::normal(&mut rng)).collect();
    let (prev, next) = shape.pair(seed, 0.2);
    Scene {
        prev: LayerState { x: input(shape, &before, &constant), ..prev },
        next: LayerState { x: input(shape, &after, &later), ..next },
        before,
        after,
    }
}

fn combine(a: &Write, b: &Write, f: impl Fn(f64, f64) -> f64) -> Write {
    a.iter().zip(b).map(|(a, b)| Mat::from_fn(a.nrows(), a.ncols(), |i, j| f(a[(i, j)], b[(i, j)]))).collect()
}

#[test]
fn energy_shares_match_cross_moments_and_add_up() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        let g = shape.geometry;
        let Scene { prev, next, before, .. } = scene(&shape, seed as u64, 3);
        let found = energy_shares(&prev, &next, &g, &before).unwrap();
        let total: f64 = predict(&prev, &next, &g).unwrap().iter().map(|p| p.r_hat.powi(2)).sum();
        close("total", EnergySensitivity::new(&prev, &next, &g).unwrap().total(), total, SUMS);
        close("sum of shares", found.total(), 1.0, SUMS);
        let lengths = prev.lengths();
        for (write, share) in before.iter().zip(&found.writes) {
            let cross = cross_moments(&prev.x, &padded(&shape, write));
            let r = Reference { sq: moments(&prev.x).sq, ..cross };
            let mut expected = 0.0;
            for h in 0..g.heads {
                let take = |m: &Mat<f64>| head(m, &g, h);
                let (q, k) = (take(&prev.wq), take(&prev.wk));
                let (dq, dk) = (take(&(&next.wq - &prev.wq)), take(&(&next.wk - &prev.wk)));
                let step = [(&dq, &k), (&q, &dk)];
                for a in step {
                    for b in step {
                        expected += metric(&r, &lengths, &g, a, b);
                    }
                }
            }
            close("share", *share, expected / total, SUMS);
        }
    }
}

#[test]
fn drift_parts_match_cross_moments_and_add_up() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        let g = shape.geometry;
        let Scene { prev, next, before, after } = scene(&shape, 50 + seed as u64, 3);
        let found = drift_shares(&prev, &next, &g, &before, &after).unwrap();
        let predictions = predict(&prev, &next, &g).unwrap();
        let total = predictions.iter().map(|p| p.gf_hat).sum::<f64>() / g.heads as f64;
        close("total", DriftSensitivity::new(&prev, &next, &g).unwrap().total(), total, SUMS);
        close("sum of parts", found.total(), total, SUMS);
        let lengths = prev.lengths();
        let (old, new) = (moments(&prev.x), moments(&next.x));
        let middle = combine(&prev.x, &next.x, |a, b| 0.5 * (a + b));
        let mean_sq =
            Mat::from_fn(old.sq.nrows(), old.sq.ncols(), |i, j| 0.5 * (old.sq[(i, j)] + new.sq[(i, j)]));
        for (k, part) in found.writes.iter().enumerate() {
            let change = padded(&shape, &combine(&after[k], &before[k], |a, b| a - b));
            let cross = cross_moments(&middle, &change);
            let query_change =
                Mat::from_fn(cross.sq.nrows(), cross.sq.ncols(), |i, j| 2.0 * cross.sq[(i, j)]);
            let with_sq = |sq: &Mat<f64>, r: &Reference| Reference {
                sq: sq.clone(),
                sk: r.sk.clone(),
                sk_global: r.sk_global.clone(),
                mu: r.mu.clone(),
                mu_y: r.mu_y.clone(),
            };
            let mut expected = 0.0;
            for (h, p) in predictions.iter().enumerate() {
                let (u, v) = (head(&next.wq, &g, h), head(&next.wk, &g, h));
                let m = |r: &Reference| metric(r, &lengths, &g, (&u, &v), (&u, &v));
                let by_keys = 2.0 * m(&with_sq(&mean_sq, &cross));
                let by_queries = 0.5 * (m(&with_sq(&query_change, &old)) + m(&with_sq(&query_change, &new)));
                expected += (by_keys + by_queries) / (2.0 * p.a_hat.powi(2)) / g.heads as f64;
            }
            close("part", *part, expected, SUMS);
        }
    }
}

#[test]
fn a_write_that_is_the_same_for_all_tokens_supplies_no_energy_without_rotation() {
    let shape = Shape::new(&[9, 7], 4, 2, 3, false, true);
    let Scene { prev, next, .. } = scene(&shape, 3, 2);
    let shared: Write =
        shape.lengths.iter().map(|&t| Mat::from_fn(t, shape.width, |_, j| 1.0 + j as f64)).collect();
    let share = EnergySensitivity::new(&prev, &next, &shape.geometry).unwrap().share(&shared).unwrap();
    assert!(share.abs() < 1e-13, "{share}");
}

#[test]
fn prepared_probes_give_the_same_forms() {
    for rope in [false, true] {
        let shape = Shape::new(&[9, 7], 4, 2, 2, rope, true);
        let Scene { prev, next, before, after } = scene(&shape, 3, 2);
        let [a, b] = [&prev, &next].map(|s| LayerProbe::new(s.clone(), shape.geometry).unwrap());
        assert_eq!(
            EnergySensitivity::between(&a, &b).unwrap().shares(&before).unwrap(),
            energy_shares(&prev, &next, &shape.geometry, &before).unwrap()
        );
        assert_eq!(
            DriftSensitivity::between(&a, &b).unwrap().parts(&before, &after).unwrap(),
            drift_shares(&prev, &next, &shape.geometry, &before, &after).unwrap()
        );
    }
}

#[test]
fn misshapen_writes_are_refused() {
    let shape = Shape::new(&[9, 7], 4, 2, 2, true, false);
    let Scene { prev, next, mut before, after } = scene(&shape, 3, 2);
    assert!(drift_shares(&prev, &next, &shape.geometry, &before[..1], &after).is_err());
    before[1][0] = Mat::zeros(9, 5);
    let e = energy_shares(&prev, &next, &shape.geometry, &before).unwrap_err().to_string();
    assert!(e.contains("sequence 0") && e.contains("9 x 4"), "{e}");
    before[1] = vec![];
    assert!(energy_shares(&prev, &next, &shape.geometry, &before).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn shares_and_parts_always_add_up(
        seed: u64, count in 1usize..5, heads in 1usize..4, half in 1usize..3, width in 1usize..6,
        t in 2usize..30, rope: bool, biases: bool,
    ) {
        let shape = Shape::new(&[t, 2 * t / 3 + 1], width, heads, 2 * half, rope, biases);
        let Scene { prev, next, before, after } = scene(&shape, seed, count);
        let energy = energy_shares(&prev, &next, &shape.geometry, &before).unwrap();
        prop_assert!((energy.total() - 1.0).abs() < 1e-11, "{energy:?}");
        let drift = drift_shares(&prev, &next, &shape.geometry, &before, &after).unwrap();
        let gf: Vec<f64> = predict(&prev, &next, &shape.geometry).unwrap().iter().map(|p| p.gf_hat).collect();
        let total = gf.iter().sum::<f64>() / heads as f64;
        // Parts of large sizes may cancel: rounding is relative to their magnitudes.
        let size = 1.0 + drift.writes.iter().map(|p| p.abs()).sum::<f64>() + gf.iter().map(|g| g.abs()).sum::<f64>();
        prop_assert!((drift.total() - total).abs() < 1e-11 * size, "{drift:?} {total}");
    }
}
