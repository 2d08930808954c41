//! Section 3 against loops over pairs.

mod common;

use common::{Shape, centred, close, flat, inner, logits, rms, zip};
use growthpath_analysis::{LayerState, account, observe, shares};
use proptest::prelude::*;

/// Sums of a few thousand terms of size about one: rounding is near 1e-13.
const SUMS: f64 = 1e-11;

#[test]
fn every_path_matches_its_definition() {
    for (seed, shape) in Shape::zoo().into_iter().enumerate() {
        let g = shape.geometry;
        let (prev, next) = shape.pair(seed as u64, 0.1);
        let found = account(&prev, &next, &g).unwrap();
        assert_eq!(found.len(), g.heads);
        let (dq, dk) = (&next.wq - &prev.wq, &next.wk - &prev.wk);
        for (h, f) in found.iter().enumerate() {
            let at = |x, q, k| centred(&logits(x, q, k, &g, h));
            let s = at(&prev.x, &prev.wq, &prev.wk);
            let s_next = at(&next.x, &next.wq, &next.wk);
            let d = zip(&at(&prev.x, &dq, &prev.wk), &at(&prev.x, &prev.wq, &dk), |a, b| a + b);
            let d2 = at(&prev.x, &dq, &dk);
            let path = zip(&s_next, &at(&prev.x, &next.wq, &next.wk), |a, b| a - b);
            let change = zip(&s_next, &s, |a, b| a - b);
            let ss = inner(&s, &s);
            close("a", f.a_prev, rms(&s), SUMS);
            close("a'", f.next.spread, rms(&s_next), SUMS);
            close("g_d", f.g_d, inner(&s, &d) / ss, SUMS);
            close("g_d2", f.g_d2, inner(&s, &d2) / ss, SUMS);
            close("g_f", f.g_f, inner(&s, &path) / ss, SUMS);
            close("rho2", f.rho2, inner(&change, &change) / ss, SUMS);
            close("r_d", f.r_d, rms(&d), SUMS);
            close("r_d2", f.r_d2, rms(&d2), SUMS);
            close("r_f", f.r_f, rms(&path), SUMS);
            // (3.1): the paths add up to the change, entry by entry.
            let sum = zip(&zip(&d, &d2, |a, b| a + b), &path, |a, b| a + b);
            for (a, b) in flat(&sum).iter().zip(flat(&change)) {
                close("(3.1)", *a, b, SUMS);
            }
            assert!(f.residual < SUMS, "residual {}", f.residual);
            // (3.2)
            close("Gamma", f.gamma, (rms(&s_next) / rms(&s)).ln(), SUMS);
            close("(3.2)", f.gamma_from_rates(), f.gamma, SUMS);
            // (3.3)
            close("(3.3)", f.shares().total(), f.gamma, SUMS);
        }
    }
}

#[test]
fn attention_statistics_match_a_direct_softmax() {
    for (seed, shape) in Shape::zoo().into_iter().enumerate() {
        let g = shape.geometry;
        let (state, _) = shape.pair(100 + seed as u64, 0.1);
        for (h, f) in observe(&state, &g).unwrap().iter().enumerate() {
            let s = logits(&state.x, &state.wq, &state.wk, &g, h);
            let rows: Vec<&Vec<f64>> = s.iter().flatten().collect();
            let softmax = |row: &[f64]| {
                let z: f64 = row.iter().map(|v| v.exp()).sum();
                row.iter().map(|v| v.exp() / z).collect::<Vec<f64>>()
            };
            let relative =
                |row: &[f64]| -softmax(row).iter().map(|p| p * p.ln()).sum::<f64>() / (row.len() as f64).ln();
            let mean = |least: usize, f: &dyn Fn(&[f64]) -> f64| {
                let rows: Vec<f64> = rows.iter().filter(|r| r.len() >= least).map(|r| f(r)).collect();
                rows.iter().sum::<f64>() / rows.len() as f64
            };
            close("entropy", f.entropy, mean(2, &relative), SUMS);
            let sharp = mean(8, &|r| 1.0 - relative(r));
            assert_eq!(f.sharpness.is_nan(), sharp.is_nan());
            if !sharp.is_nan() {
                close("sharpness", f.sharpness, sharp, SUMS);
            }
            let top1 = mean(1, &|r| softmax(r).into_iter().fold(0.0, f64::max));
            close("top1", f.top1, top1, SUMS);
            close("s_max", f.s_max, flat(&s).into_iter().fold(f64::NEG_INFINITY, f64::max), SUMS);
            close("spread", f.spread, rms(&centred(&s)), SUMS);
            // (2.5) with the mean row: LSE_i - ln i <= max_j S_ij <= LSE_i.
            for row in &rows {
                let lse = row.iter().map(|v| v.exp()).sum::<f64>().ln();
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert!(lse - (row.len() as f64).ln() <= top + 1e-12 && top <= lse + 1e-12);
            }
        }
    }
}

#[test]
fn large_logits_neither_overflow_nor_lose_the_entropy() {
    let shape = Shape::new(&[20], 4, 1, 2, false, false);
    let (state, _) = shape.pair(3, 0.1);
    let hot = LayerState { wq: faer::Scale(1e6) * &state.wq, ..state };
    let f = observe(&hot, &shape.geometry).unwrap()[0];
    assert!(f.entropy >= 0.0 && f.entropy < 0.02 && f.top1 > 0.98 && f.spread > 1e4, "{f:?}");
}

#[test]
fn uniform_attention_has_no_rate_but_is_no_error() {
    let shape = Shape::new(&[9], 4, 2, 2, false, false);
    let (mut prev, next) = shape.pair(4, 0.1);
    prev.wq = faer::Mat::zeros(4, 4);
    let f = account(&prev, &next, &shape.geometry).unwrap()[0];
    assert_eq!(f.a_prev, 0.0);
    assert!(f.g_d.is_nan() && f.gamma == f64::INFINITY && f.shares().total().is_nan());
    assert!(f.next.spread > 0.0 && f.residual < SUMS);
}

#[test]
fn large_shared_keys_do_not_hide_the_spread() {
    // A component shared by all keys adds row constants to the logits that centring must remove.
    let mut shape = Shape::new(&[40, 40], 6, 2, 4, false, false);
    shape.common = 1e4;
    let (prev, next) = shape.pair(5, 1e-2);
    for f in account(&prev, &next, &shape.geometry).unwrap() {
        // Raw logits are near 1e8 and the spread near 1e4: 1e-16 * 1e4 relative, times sums.
        assert!(f.residual < 1e-9, "{}", f.residual);
        assert!((f.gamma - f.gamma_from_rates()).abs() < 1e-9);
    }
}

#[test]
fn shares_are_stable_where_nothing_grows() {
    for z in [0.0, 1e-300, 1e-17, -3e-12, 8.9e-5, -9.1e-5, 1e-3, -0.49, 5.0] {
        let gamma = 0.5 * f64::ln_1p(2.0 * z);
        // Rates of size one that cancel down to z, as in a rotation at constant spread.
        let s = shares(gamma, -0.5, 0.125, 0.125 + z, 0.5);
        assert!((s.total() - gamma).abs() < 1e-15 + 4e-16 * gamma.abs(), "z = {z}: {} {gamma}", s.total());
        assert!(s.weight_path.is_finite());
    }
    assert!((shares(0.0, -0.5, 0.125, 0.125, 0.5).weight_path + 0.5).abs() < 1e-15, "m -> 1 as r -> 1");
}

#[test]
fn shares_of_a_window_add_up_to_its_growth() {
    let shape = Shape::new(&[12, 12], 6, 2, 4, true, true);
    let mut rng = common::rng(8);
    let mut state = shape.state(&mut rng);
    let first = observe(&state, &shape.geometry).unwrap();
    let mut total = [growthpath_analysis::PathShares::default(); 2];
    for _ in 0..6 {
        let next = shape.moved(&mut rng, &state, 0.1);
        for (t, f) in total.iter_mut().zip(account(&state, &next, &shape.geometry).unwrap()) {
            *t = t.plus(&f.shares());
        }
        state = next;
    }
    for (t, (a, b)) in total.iter().zip(first.iter().zip(observe(&state, &shape.geometry).unwrap())) {
        close("window", t.total(), (b.spread / a.spread).ln(), SUMS);
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let shape = Shape::new(&[9, 4], 4, 2, 2, true, false);
    let (prev, next) = shape.pair(6, 0.1);
    let text = |r: growthpath_analysis::Result<Vec<_>>| r.unwrap_err().to_string();
    let mut bad = next.clone();
    bad.x[1][(3, 2)] = f64::NAN;
    assert!(
        text(account(&prev, &bad, &shape.geometry))
            .contains("x[1] holds a value that is not finite at row 3")
    );
    let mut bad = next.clone();
    bad.x.pop();
    assert!(text(account(&prev, &bad, &shape.geometry)).contains("sequence lengths"));
    let mut odd = shape.geometry;
    (odd.heads, odd.head_dim) = (1, 3);
    assert!(text(account(&prev, &next, &odd)).contains("even head_dim"));
    let mut wide = shape.geometry;
    wide.heads = 3;
    assert!(text(account(&prev, &next, &wide)).contains("wq: expected 4 x 6, found 4 x 4"));
    let empty = LayerState { x: vec![], ..prev.clone() };
    assert!(text(account(&empty, &next, &shape.geometry)).contains("at least one probe sequence"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// (3.1), (3.2), (3.3) hold to rounding at any step size, from tiny to violent.
    #[test]
    fn identities_hold(
        seed: u64, heads in 1usize..4, half in 1usize..4, width in 1usize..8, t in 2usize..80,
        rope: bool, biases: bool, log_step in -6.0f64..1.5,
    ) {
        let shape = Shape::new(&[t, t / 2 + 1], width, heads, 2 * half, rope, biases);
        let (prev, next) = shape.pair(seed, 10f64.powf(log_step));
        for f in account(&prev, &next, &shape.geometry).unwrap() {
            // Rates grow with the step: rounding is relative to the largest term.
            let size = 1.0 + f.rho2 + (f.g_d.abs() + f.g_d2.abs() + f.g_f.abs()) + (f.r_d + f.r_d2 + f.r_f) / f.a_prev;
            prop_assert!(f.residual * f.next.spread.max(f.a_prev) <= 1e-12 * f.a_prev * size, "{f:?}");
            let r2 = (f.next.spread / f.a_prev).powi(2);
            let rates = 1.0 + 2.0 * (f.g_d + f.g_d2 + f.g_f) + f.rho2;
            prop_assert!((r2 - rates).abs() <= 1e-12 * size, "{r2} {rates}");
            prop_assert!((f.gamma - r2.ln() / 2.0).abs() <= 1e-12 * (1.0 + f.gamma.abs()));
            prop_assert!((f.shares().total() - f.gamma).abs() <= 1e-11 * size);
        }
    }
}
