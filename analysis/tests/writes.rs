//! Attribution to upstream writes, (5.3) and (4.3), against explicit cross moments.

mod common;

use common::{Reference, Shape, close, cross_moments, head, matrix, metric, moments};
use faer::Mat;
use growthpath_analysis::{
    DriftSensitivity, EnergySensitivity, LayerProbe, LayerState, StreamNorm, drift_shares, energy_shares,
    predict,
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
        let total: f64 = predict(&prev, &next, &g).unwrap().iter().map(|p| p.start.step).sum();
        close("total", EnergySensitivity::new(&prev, &next, &g).unwrap().total(), total, SUMS);
        close("sum of shares", found.total(), 1.0, SUMS);
        let lengths = prev.lengths();
        for (write, share) in before.iter().zip(&found.writes) {
            let cross = cross_moments(&prev.x, &padded(&shape, write));
            let r = Reference { sq: moments(&prev.x).sq, ..cross };
            let mut expected = 0.0;
            for h in 0..g.heads {
                let take = |m: &Mat<f64>| head(m, &g, h);
                let middle = |a: &Mat<f64>, b: &Mat<f64>| take(&(faer::Scale(0.5) * (a + b)));
                let (q, k) = (middle(&prev.wq, &next.wq), middle(&prev.wk, &next.wk));
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
        let total = predictions.iter().map(|p| p.parts.features).sum::<f64>() / g.heads as f64;
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
            let with_sq = |sq: &Mat<f64>, r: &Reference| Reference { sq: sq.clone(), ..r.clone() };
            let mut expected = 0.0;
            for h in 0..g.heads {
                for weights in [&prev, &next] {
                    let (u, v) = (head(&weights.wq, &g, h), head(&weights.wk, &g, h));
                    let m = |r: &Reference| metric(r, &lengths, &g, (&u, &v), (&u, &v));
                    let by_keys = 2.0 * m(&with_sq(&mean_sq, &cross));
                    let by_queries =
                        0.5 * (m(&with_sq(&query_change, &old)) + m(&with_sq(&query_change, &new)));
                    // Over twice the logarithmic mean it is log growth; half of it belongs to each set of weights.
                    let (before, after) = (m(&old), m(&new));
                    let log_mean = (after - before) / (after / before).ln();
                    expected += 0.5 * (by_keys + by_queries) / (2.0 * log_mean) / g.heads as f64;
                }
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
        let change = a.change_to(&b).unwrap();
        assert_eq!(
            EnergySensitivity::of(&change).shares(&before).unwrap(),
            energy_shares(&prev, &next, &shape.geometry, &before).unwrap()
        );
        assert_eq!(
            DriftSensitivity::of(&change).parts(&before, &after).unwrap(),
            drift_shares(&prev, &next, &shape.geometry, &before, &after).unwrap()
        );
    }
}

/// Writes as they stand in the stream, through the norm, against their contributions to the attention input.
#[test]
fn stream_writes_give_what_their_contributions_give() {
    for (seed, centred) in [(1, false), (2, true)] {
        let shape = Shape::new(&[9, 7], 5, 2, 2, seed == 1, true);
        let Scene { prev, next, .. } = scene(&shape, seed, 2);
        let mut rng = common::rng(30 + seed);
        let tokens: usize = shape.lengths.iter().sum();
        let mut f32s = |n: usize| (0..n).map(|_| common::normal(&mut rng) as f32).collect::<Vec<f32>>();
        let (gains, rstds) = ([f32s(5), f32s(5)], [f32s(tokens), f32s(tokens)]);
        let streams: [Vec<Vec<f32>>; 2] = std::array::from_fn(|_| (0..3).map(|_| f32s(5 * tokens)).collect());
        // gain * centre(w) * rstd, token by token.
        let through = |t: usize, w: &[f32]| -> Write {
            let mut first = 0;
            shape
                .lengths
                .iter()
                .map(|&n| {
                    let m = Mat::from_fn(n, 5, |i, j| {
                        let row = &w[5 * (first + i)..5 * (first + i + 1)];
                        let mean =
                            if centred { row.iter().map(|v| f64::from(*v)).sum::<f64>() / 5.0 } else { 0.0 };
                        (f64::from(row[j]) - mean) * f64::from(rstds[t][first + i]) * f64::from(gains[t][j])
                    });
                    first += n;
                    m
                })
                .collect()
        };
        let norm = |t: usize| StreamNorm { gain: &gains[t], rstd: &rstds[t], centred };
        let slices = |t: usize| streams[t].iter().map(Vec::as_slice).collect::<Vec<_>>();
        let contributions = |t: usize| streams[t].iter().map(|w| through(t, w)).collect::<Vec<Write>>();
        let energy = EnergySensitivity::new(&prev, &next, &shape.geometry).unwrap();
        let (found, expected) = (
            energy.shares_of_stream(&norm(0), &slices(0)).unwrap(),
            energy.shares(&contributions(0)).unwrap(),
        );
        let drift = DriftSensitivity::new(&prev, &next, &shape.geometry).unwrap();
        let (moved, wanted) = (
            drift.parts_of_stream((&norm(0), &slices(0)), (&norm(1), &slices(1))).unwrap(),
            drift.parts(&contributions(0), &contributions(1)).unwrap(),
        );
        for (a, b) in [(&found, &expected), (&moved, &wanted)] {
            for (a, b) in a.writes.iter().zip(&b.writes).chain([(&a.constant, &b.constant)]) {
                close("stream", *a, *b, SUMS);
            }
        }
        let short = &streams[0][0][1..];
        assert!(energy.shares_of_stream(&norm(0), &[short]).is_err());
        let narrow = StreamNorm { gain: &gains[0][..3], ..norm(0) };
        assert!(energy.shares_of_stream(&narrow, &slices(0)).is_err());
        let mut nan = streams[0][0].clone();
        nan[3] = f32::NAN;
        assert!(energy.shares_of_stream(&norm(0), &[&nan]).unwrap_err().to_string().contains("not finite"));
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
        let gf: Vec<f64> = predict(&prev, &next, &shape.geometry).unwrap().iter().map(|p| p.parts.features).collect();
        let total = gf.iter().sum::<f64>() / heads as f64;
        // Parts of large sizes may cancel: rounding is relative to their magnitudes.
        let size = 1.0 + drift.writes.iter().map(|p| p.abs()).sum::<f64>() + gf.iter().map(|g| g.abs()).sum::<f64>();
        prop_assert!((drift.total() - total).abs() < 1e-11 * size, "{drift:?} {total}");
    }
}
