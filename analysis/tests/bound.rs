//! Section 6: the pathwise bounds and their pieces.

mod common;

use common::{Shape, close};
use faer::Mat;
use growthpath_analysis::bound::{residual_energy, tightness};
use growthpath_analysis::eigen::{lambda_max, lambda_max_of_gram};
use growthpath_analysis::{LayerState, account, bound, growth_bound};
use proptest::prelude::*;

/// Largest eigenvalue of X^T X by many power steps: approaches from below.
fn power_iteration(x: &Mat<f64>) -> f64 {
    let mut v = vec![1.0; x.ncols()];
    let mut lambda = 0.0;
    for _ in 0..5000 {
        let xv: Vec<f64> = (0..x.nrows()).map(|i| (0..x.ncols()).map(|j| x[(i, j)] * v[j]).sum()).collect();
        let next: Vec<f64> =
            (0..x.ncols()).map(|j| (0..x.nrows()).map(|i| x[(i, j)] * xv[i]).sum()).collect();
        lambda = next.iter().map(|a| a * a).sum::<f64>().sqrt();
        v = next.iter().map(|a| a / lambda).collect();
    }
    lambda
}

#[test]
fn pieces_match_their_definitions() {
    for (seed, shape) in Shape::zoo().into_iter().enumerate() {
        let g = shape.geometry;
        let (prev, next) = shape.pair(seed as u64, 0.3);
        let squares: f64 = prev.x.iter().map(|x| power_iteration(x).powi(2)).sum();
        let pairs: f64 = prev.lengths().iter().map(|&t| (t * (t + 1)) as f64 / 2.0).sum();
        let e = (squares / pairs).sqrt();
        for (h, b) in bound(&prev, &next, &g).unwrap().iter().enumerate() {
            let square = |m: &Mat<f64>| {
                let m = common::head(m, &g, h);
                (0..m.ncols()).map(|j| (0..m.nrows()).map(|i| m[(i, j)].powi(2)).sum::<f64>()).sum::<f64>()
            };
            let (dq, dk) = (square(&(&next.wq - &prev.wq)), square(&(&next.wk - &prev.wk)));
            let width = g.head_dim as f64;
            close("s", b.s, (dq + dk).sqrt(), 1e-13);
            let mean = |a: &Mat<f64>, b: &Mat<f64>| {
                Mat::from_fn(a.nrows(), a.ncols(), |i, j| 0.5 * (a[(i, j)] + b[(i, j)]))
            };
            let (q, k) = (square(&mean(&prev.wq, &next.wq)), square(&mean(&prev.wk, &next.wk)));
            close("omega", b.omega, ((q + k) / width).sqrt(), 1e-13);
            // Power steps converge geometrically; random inputs leave a gap that 5,000 of them close.
            close("E", b.e, e, 1e-9);
            close("bound", b.ds_w(), b.s * b.e * b.omega, 1e-15);
        }
    }
}

#[test]
fn energy_of_equal_lengths_has_the_short_form() {
    let shape = Shape::new(&[9, 9, 9], 5, 1, 2, false, false);
    let x = shape.inputs(&mut common::rng(1));
    let t = 9.0;
    let mean = x.iter().map(|x| (power_iteration(x) / t).powi(2)).sum::<f64>() / 3.0;
    close("E", residual_energy(&x).unwrap(), (2.0 * t / (t + 1.0)).sqrt() * mean.sqrt(), 1e-9);
}

#[test]
fn the_bound_is_nearly_reached_by_two_equal_directions() {
    // One direction, one head, width one, and a first token whose key alone is large: the bound's
    // losses (causal half, centring) stay, so tightness is below one but not small.
    let column = |first: f64| Mat::from_fn(6, 1, |i, _| if i == 0 { first } else { 0.1 });
    let prev = LayerState { x: vec![column(1.0)], wq: Mat::full(1, 1, 1.0), wk: Mat::full(1, 1, 1.0) };
    let next = LayerState { wq: Mat::full(1, 1, 1.1), wk: Mat::full(1, 1, 1.1), ..prev.clone() };
    let shape = Shape::new(&[6], 1, 1, 1, false, false);
    let b = bound(&prev, &next, &shape.geometry).unwrap()[0];
    let a = account(&prev, &next, &shape.geometry).unwrap()[0];
    let t = tightness(a.ds_w, b.ds_w());
    assert!(t > 0.05 && t < 1.0, "{t}");
    // The tight bound sees the scatter itself.
    let t = tightness(a.ds_w, a.bound_tight);
    assert!(t > 0.9 && t <= 1.0 + 1e-12, "{t}");
}

#[test]
fn largest_eigenvalues_of_known_matrices() {
    let diagonal = Mat::from_fn(4, 4, |i, j| if i == j { [3.0, 2.0, 7.0, 0.5][i] } else { 0.0 });
    close("diagonal", lambda_max(diagonal.as_ref()).unwrap(), 7.0, 1e-13);
    let ones = Mat::<f64>::full(50, 50, 1.0);
    let top = lambda_max(ones.as_ref()).unwrap();
    assert!((50.0..50.0 * (1.0 + 1e-12)).contains(&top), "{top}");
    assert_eq!(lambda_max(Mat::<f64>::zeros(3, 3).as_ref()).unwrap(), 0.0);
    assert_eq!(lambda_max(Mat::<f64>::zeros(0, 0).as_ref()).unwrap(), 0.0);
    close("1 x 1", lambda_max(Mat::<f64>::full(1, 1, 3.0).as_ref()).unwrap(), 3.0, 1e-13);
    assert!(lambda_max(Mat::<f64>::zeros(3, 2).as_ref()).is_err());
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(lambda_max(Mat::<f64>::full(3, 3, bad).as_ref()).is_err());
    }
    // Wide and tall inputs go through different Gram matrices of equal top.
    let x = common::matrix(&mut common::rng(2), 9, 31, 1.0);
    let (a, b) = (lambda_max_of_gram(&x).unwrap(), lambda_max_of_gram(&x.transpose().to_owned()).unwrap());
    close("transposed", a, b, 1e-13);
}

#[test]
fn largest_eigenvalues_agree_with_a_full_solver_and_stay_above_it() {
    for n in [2, 3, 31, 33, 64, 129, 200] {
        for rank in [1, n / 2 + 1, 2 * n] {
            let x = common::matrix(&mut common::rng(n as u64), rank, n, 1.0);
            let m = x.transpose() * &x;
            let all = m.self_adjoint_eigenvalues(faer::Side::Lower).unwrap();
            let (found, expected) = (lambda_max(m.as_ref()).unwrap(), all[n - 1]);
            // The solver is off by a few units of rounding itself; the margin is 8 (n+1) of them.
            assert!(found >= expected && found <= expected * (1.0 + 1e-12), "{n} {rank}: {found} {expected}");
        }
    }
}

/// (6.2) from its definition: blocks that grow by half, scatter of all keys up to a block's end about their mean.
#[test]
fn the_tight_bound_matches_its_definition() {
    let mut tight = Vec::new();
    for (seed, shape) in Shape::zoo().into_iter().enumerate() {
        let g = shape.geometry;
        let (prev, next) = shape.pair(seed as u64, 0.3);
        for (h, found) in account(&prev, &next, &g).unwrap().iter().enumerate() {
            let mut sum = 0.0;
            let mut pairs = 0.0;
            for x in &prev.x {
                let t = x.nrows();
                pairs += (t * (t + 1)) as f64 / 2.0;
                let row = |i: usize, w: &Mat<f64>| common::vector(x, i, w, &g, h, i as f64);
                let join = |i: usize, a: &Mat<f64>, b: &Mat<f64>, step_first: bool| {
                    let (old, new) = (row(i, a), row(i, b));
                    let step: Vec<f64> = old.iter().zip(&new).map(|(a, b)| b - a).collect();
                    let mean: Vec<f64> = old.iter().zip(&new).map(|(a, b)| 0.5 * (a + b)).collect();
                    if step_first { [step, mean].concat() } else { [mean, step].concat() }
                };
                let a: Vec<Vec<f64>> = (0..t).map(|i| join(i, &prev.wq, &next.wq, true)).collect();
                let b: Vec<Vec<f64>> = (0..t).map(|i| join(i, &prev.wk, &next.wk, false)).collect();
                let mut first = 0;
                while first < t {
                    let end = (first + first.div_ceil(2)).max(first + 1).min(t);
                    let mean: Vec<f64> = (0..2 * g.head_dim)
                        .map(|c| b[..end].iter().map(|r| r[c]).sum::<f64>() / end as f64)
                        .collect();
                    for query in &a[first..end] {
                        for key in &b[..end] {
                            let s: f64 =
                                query.iter().zip(key.iter().zip(&mean)).map(|(q, (k, m))| q * (k - m)).sum();
                            sum += s * s;
                        }
                    }
                    first = end;
                }
            }
            close("(6.2)", found.bound_tight, (sum / (pairs * g.head_dim as f64)).sqrt(), 1e-11);
            tight.push(tightness(found.ds_w, found.bound_tight));
        }
    }
    assert!(growthpath_analysis::statistics::median(&tight) > 0.5, "{tight:?}");
}

#[test]
fn growth_is_bounded_by_the_logarithm_of_one_plus_the_ratio() {
    assert_eq!(growth_bound(0.0, 2.0), 0.0);
    close("double", growth_bound(3.0, 3.0), 2.0_f64.ln(), 1e-15);
    assert_eq!(growth_bound(1.0, 0.0), f64::INFINITY);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// (6.1): never violated, whatever the rotation, biases, shared component and step.
    #[test]
    fn weight_path_stays_under_its_bound(
        seed: u64, heads in 1usize..4, half in 1usize..4, width in 1usize..9, t in 1usize..40,
        rope: bool, biases: bool, log_step in -6.0f64..1.5, common in 0.0f64..20.0,
    ) {
        let mut shape = Shape::new(&[t, t / 2 + 1, 1], width, heads, 2 * half, rope, biases);
        shape.common = common;
        let (prev, next) = shape.pair(seed, 10f64.powf(log_step));
        let accounting = account(&prev, &next, &shape.geometry).unwrap();
        for (b, a) in bound(&prev, &next, &shape.geometry).unwrap().iter().zip(&accounting) {
            // A difference of logits of size a rounds by 1e-16 of them.
            prop_assert!(a.ds_w <= b.ds_w() * (1.0 + 1e-12) + 1e-13 * a.a_prev, "{a:?} {b:?}");
        }
    }

    /// Inputs of rank one, aligned with the weights: as near to the bound as its proof gets.
    #[test]
    fn rank_one_inputs_do_not_break_the_bound(seed: u64, t in 1usize..30, rope: bool) {
        let shape = Shape::new(&[t], 1, 1, 2, rope, false);
        let (prev, _) = shape.pair(seed, 0.1);
        let next = LayerState {
            wq: faer::Scale(1.5) * &prev.wq, wk: faer::Scale(1.5) * &prev.wk, x: prev.x.clone(),
        };
        let a = account(&prev, &next, &shape.geometry).unwrap()[0];
        let b = bound(&prev, &next, &shape.geometry).unwrap()[0];
        prop_assert!(a.ds_w <= b.ds_w() * (1.0 + 1e-12), "{a:?} {b:?}");
        prop_assert!(a.ds_w <= a.bound_tight * (1.0 + 1e-12), "{a:?}");
    }
}
