//! Sections 4 and 5 against explicit d x d products and loops over offsets.

mod common;

use common::{Reference, Shape, close, cross_moments, head, metric, moments};
use faer::Mat;
use growthpath_analysis::{Geometry, LayerState, Moments, energy_bound, factorize, predict};
use proptest::prelude::*;

const SUMS: f64 = 1e-11;

/// `<M,M>`, `<M,dM>`, `<dM,dM>` of one head.
fn inner_products(r: &Reference, prev: &LayerState, next: &LayerState, g: &Geometry, h: usize) -> [f64; 3] {
    let lengths = prev.lengths();
    let take = |m: &Mat<f64>| head(m, g, h);
    let (q, k) = (take(&prev.wq), take(&prev.wk));
    let (dq, dk) = (take(&(&next.wq - &prev.wq)), take(&(&next.wk - &prev.wk)));
    let m = |l, r2| metric(r, &lengths, g, l, r2);
    let step = [(&dq, &k), (&q, &dk)];
    [
        m((&q, &k), (&q, &k)),
        step.iter().map(|s| m((&q, &k), *s)).sum(),
        step.iter().flat_map(|a| step.iter().map(move |b| (*a, *b))).map(|(a, b)| m(a, b)).sum(),
    ]
}

fn identity(d: usize) -> Reference {
    let one = || Mat::from_fn(d, d, |i, j| f64::from(u8::from(i == j)));
    Reference { sq: one(), sk: one(), sk_global: one(), mu: vec![0.0; d], mu_y: vec![0.0; d] }
}

fn shapes() -> Vec<Shape> {
    let mut shapes = Shape::zoo();
    // The reference works by offsets and rows: keep sequences short.
    for shape in &mut shapes {
        shape.lengths.iter_mut().for_each(|t| *t = (*t).min(17));
    }
    shapes
}

#[test]
fn predictions_match_their_definitions() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        let g = shape.geometry;
        let (prev, next) = shape.pair(seed as u64, 0.2);
        let (r, r_next) = (moments(&prev.x), moments(&next.x));
        let lengths = prev.lengths();
        for (h, p) in predict(&prev, &next, &g).unwrap().iter().enumerate() {
            let [mm, md, dd] = inner_products(&r, &prev, &next, &g, h);
            close("a_hat", p.a_hat, mm.sqrt(), SUMS);
            close("r_hat", p.r_hat, dd.sqrt(), SUMS);
            close("g_hat", p.g_hat, md / mm, SUMS);
            let m = (&head(&next.wq, &g, h), &head(&next.wk, &g, h));
            let (old, new) = (metric(&r, &lengths, &g, m, m), metric(&r_next, &lengths, &g, m, m));
            close("gf_hat", p.gf_hat, (new - old) / (2.0 * mm), SUMS);
            close("a_hat'", p.a_hat_next, new.sqrt(), SUMS);
            close("gamma_hat", p.gamma_hat(), 0.5 * (new / mm).ln(), SUMS);
            let [_, _, dm] = inner_products(&identity(prev.width()), &prev, &next, &g, h);
            close("|dM|_I", p.dm_i, dm.sqrt(), SUMS);
        }
    }
}

#[test]
fn moments_match_loops_over_pairs() {
    for (seed, shape) in Shape::zoo().into_iter().enumerate() {
        let x = shape.inputs(&mut common::rng(seed as u64));
        let (found, r) = (Moments::new(&x).unwrap(), moments(&x));
        let d = r.mu.len();
        for i in 0..d {
            close("mu", found.mean_key[i], r.mu[i], SUMS);
            for j in 0..d {
                close("Sq", found.sq[(i, j)], r.sq[(i, j)], SUMS);
                close("Sk", found.sk[(i, j)], r.sk[(i, j)], SUMS);
            }
        }
        assert_eq!(found.augmented, shape.biases);
        let features = |m: &Mat<f64>| (0..shape.width).map(|i| m[(i, i)]).sum::<f64>();
        close("tr Sq", found.trace_q(), features(&r.sq), SUMS);
        close("tr Sk", found.trace_k(), features(&r.sk), SUMS);
        if shape.biases {
            assert_eq!((0..d).map(|i| found.sk[(i, d - 1)].abs()).fold(0.0, f64::max), 0.0);
        }
    }
}

#[test]
fn key_moment_survives_a_huge_shared_component() {
    let shape = Shape::new(&[50, 31], 5, 1, 2, false, false);
    let x = shape.inputs(&mut common::rng(1));
    let shifted: Vec<Mat<f64>> =
        x.iter().map(|m| Mat::from_fn(m.nrows(), m.ncols(), |i, j| m[(i, j)] + 1e6)).collect();
    let (a, b) = (Moments::new(&x).unwrap().sk, Moments::new(&shifted).unwrap().sk);
    for i in 0..5 {
        for j in 0..5 {
            // Entries carry 1e6 * 2^-53 of rounding each; a difference of squares would lose 1e-4.
            close("Sk", b[(i, j)], a[(i, j)], 1e-8);
        }
    }
}

#[test]
fn factors_multiply_to_the_predicted_rate() {
    for (seed, shape) in Shape::zoo().into_iter().enumerate() {
        let (prev, next) = shape.pair(seed as u64, 0.01);
        for p in predict(&prev, &next, &shape.geometry).unwrap() {
            let f = factorize(&p, 3e-4).unwrap();
            assert!((f.product() - p.g_hat).abs() <= 1e-14 * p.g_hat.abs(), "{} {}", f.product(), p.g_hat);
            close("eta u", f.step_term(), p.dm_i, 1e-14);
            assert!((-1.0..=1.0).contains(&f.c));
        }
    }
}

#[test]
fn a_head_that_did_not_move_has_no_energy_or_coherence() {
    let shape = Shape::new(&[9], 4, 1, 2, false, false);
    let (prev, next) = shape.pair(2, 0.1);
    let still = LayerState { wq: prev.wq.clone(), wk: prev.wk.clone(), x: next.x };
    let p = predict(&prev, &still, &shape.geometry).unwrap()[0];
    let f = factorize(&p, 0.0).unwrap();
    assert!(p.g_hat == 0.0 && f.u == 0.0 && f.e.is_nan() && f.c.is_nan());
    assert!(factorize(&p, -1.0).is_err() && factorize(&p, f64::NAN).is_err());
}

#[test]
fn coherence_of_a_pure_rescaling_is_one() {
    // W -> (1 + eps) W moves the logits along themselves: c = 1 and g = 2 eps.
    for rope in [false, true] {
        let shape = Shape::new(&[12, 7], 5, 2, 4, rope, true);
        let (prev, _) = shape.pair(9, 0.1);
        let next = LayerState {
            x: prev.x.clone(),
            wq: faer::Scale(1.01) * &prev.wq,
            wk: faer::Scale(1.01) * &prev.wk,
        };
        for p in predict(&prev, &next, &shape.geometry).unwrap() {
            close("c", factorize(&p, 1.0).unwrap().c, 1.0, 1e-13);
            // dW carries a rounding of 1e-16 W over 1e-2 W.
            close("g_hat", p.g_hat, 0.02, 1e-13);
        }
    }
}

#[test]
fn cross_moments_of_the_reference_are_bilinear() {
    // Guards the reference used by the attribution tests: summed over parts it is the whole.
    let shape = Shape::new(&[6, 8], 3, 1, 2, false, false);
    let mut rng = common::rng(5);
    let (x, y) = (shape.inputs(&mut rng), shape.inputs(&mut rng));
    let rest: Vec<Mat<f64>> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
    let whole = moments(&x);
    let parts = [cross_moments(&x, &y), cross_moments(&x, &rest)];
    for i in 0..3 {
        for j in 0..3 {
            close("sum", parts[0].sk[(i, j)] + parts[1].sk[(i, j)], whole.sk[(i, j)], SUMS);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// (5.2): e <= sqrt(lambda_max(Sq) lambda_max(Sk)) without RoPE, for any input and step.
    #[test]
    fn residual_energy_stays_under_its_bound(
        seed: u64, heads in 1usize..4, dim in 1usize..5, width in 1usize..9, t in 2usize..20,
        biases: bool, log_step in -6.0f64..1.0, common in 0.0f64..10.0,
    ) {
        let mut shape = Shape::new(&[t, t + 3], width, heads, dim, false, biases);
        shape.common = common;
        let (prev, next) = shape.pair(seed, 10f64.powf(log_step));
        let bound = energy_bound(&Moments::new(&prev.x).unwrap(), &shape.geometry).unwrap();
        for p in predict(&prev, &next, &shape.geometry).unwrap() {
            let e = factorize(&p, 1.0).unwrap().e;
            // Equality is reached at width 1 without bias: allow the rounding of both sides.
            prop_assert!(e <= bound * (1.0 + 1e-12), "{e} > {bound}");
        }
    }

    /// Fewer dimensions than the bound's maximum can be reached: at width one it is an equality.
    #[test]
    fn the_bound_is_reached_in_one_dimension(seed: u64, t in 2usize..20) {
        let shape = Shape::new(&[t], 1, 1, 3, false, false);
        let (prev, next) = shape.pair(seed, 0.1);
        let bound = energy_bound(&Moments::new(&prev.x).unwrap(), &shape.geometry).unwrap();
        let p = predict(&prev, &next, &shape.geometry).unwrap()[0];
        prop_assert!((p.r_hat - bound * p.dm_i).abs() <= 1e-10 * bound * p.dm_i + 1e-14);
    }
}

#[test]
fn the_energy_bound_is_not_claimed_for_rope() {
    let shape = Shape::new(&[9], 4, 1, 2, true, false);
    let x = shape.inputs(&mut common::rng(1));
    assert!(energy_bound(&Moments::new(&x).unwrap(), &shape.geometry).unwrap().is_nan());
}
