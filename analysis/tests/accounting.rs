//! Section 3 against loops over pairs.

mod common;

use common::{Shape, centred, close, flat, inner, logits, rms, zip};
use faer::Mat;
use growthpath_analysis::{GrowthParts, LayerState, account, observe};
use proptest::prelude::*;

/// Sums of a few thousand terms of size about one: rounding is near 1e-13.
const SUMS: f64 = 1e-11;

/// `ln a` of a head for any inputs, query weights and key weights.
fn log_spread(x: &[Mat<f64>], wq: &Mat<f64>, wk: &Mat<f64>, shape: &Shape, h: usize) -> f64 {
    rms(&centred(&logits(x, wq, wk, &shape.geometry, h))).ln()
}

/// (3.1) as the mean over orders: features first or last, and within the weights queries or keys first.
fn by_orders(prev: &LayerState, next: &LayerState, shape: &Shape, h: usize) -> GrowthParts {
    let v = |x: bool, q: bool, k: bool| {
        let pick = |new: bool| if new { next } else { prev };
        log_spread(&pick(x).x, &pick(q).wq, &pick(k).wk, shape, h)
    };
    let orders = [["x", "q", "k"], ["x", "k", "q"], ["q", "k", "x"], ["k", "q", "x"]];
    let mut parts = GrowthParts { query: 0.0, key: 0.0, features: 0.0 };
    for order in orders {
        let (mut x, mut q, mut k) = (false, false, false);
        for what in order {
            let before = v(x, q, k);
            *match what {
                "x" => &mut x,
                "q" => &mut q,
                _ => &mut k,
            } = true;
            let step = (v(x, q, k) - before) / orders.len() as f64;
            *match what {
                "x" => &mut parts.features,
                "q" => &mut parts.query,
                _ => &mut parts.key,
            } += step;
        }
    }
    parts
}

#[test]
fn every_part_matches_its_definition() {
    for (seed, shape) in Shape::zoo().into_iter().enumerate() {
        let g = shape.geometry;
        let (prev, next) = shape.pair(seed as u64, 0.1);
        let found = account(&prev, &next, &g).unwrap();
        assert_eq!(found.len(), g.heads);
        for (h, f) in found.iter().enumerate() {
            let at = |x, q, k| centred(&logits(x, q, k, &g, h));
            let s = at(&prev.x, &prev.wq, &prev.wk);
            let s_next = at(&next.x, &next.wq, &next.wk);
            let moved = at(&prev.x, &next.wq, &next.wk);
            close("a", f.a_prev, rms(&s), SUMS);
            close("a'", f.next.spread, rms(&s_next), SUMS);
            close("Gamma", f.gamma, (rms(&s_next) / rms(&s)).ln(), SUMS);
            let parts = by_orders(&prev, &next, &shape, h);
            close("Gamma_Q", f.parts.query, parts.query, SUMS);
            close("Gamma_K", f.parts.key, parts.key, SUMS);
            close("Gamma_F", f.parts.features, parts.features, SUMS);
            close("(3.1)", f.parts.total(), f.gamma, SUMS);
            let cosine = inner(&s, &s_next) / (inner(&s, &s) * inner(&s_next, &s_next)).sqrt();
            close("cos theta", f.cos_theta, cosine, SUMS);
            // Section 6: what the weights did at the first features, and by how much that grew the spread.
            close("dS_W", f.ds_w, rms(&zip(&moved, &s, |a, b| a - b)), SUMS);
            close("at the start", f.gamma_w_start, (rms(&moved) / rms(&s)).ln(), SUMS);
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
fn uniform_attention_has_no_growth_but_is_no_error() {
    let shape = Shape::new(&[9], 4, 2, 2, false, false);
    let (mut prev, next) = shape.pair(4, 0.1);
    prev.wq = Mat::zeros(4, 4);
    let f = account(&prev, &next, &shape.geometry).unwrap()[0];
    assert_eq!(f.a_prev, 0.0);
    assert!(f.gamma.is_nan() && f.parts.total().is_nan() && f.cos_theta.is_nan() && f.gamma_w_start.is_nan());
    assert!(f.next.spread > 0.0 && f.ds_w > 0.0);
}

#[test]
fn large_shared_keys_do_not_hide_the_spread() {
    // A component shared by all keys adds row constants to the logits that centring must remove.
    let mut shape = Shape::new(&[40, 40], 6, 2, 4, false, false);
    shape.common = 1e4;
    let (prev, next) = shape.pair(5, 1e-2);
    for f in account(&prev, &next, &shape.geometry).unwrap() {
        // Raw logits are near 1e8 and the spread near 1e4: 1e-16 * 1e4 relative, times sums.
        assert!((f.parts.total() - f.gamma).abs() < 1e-9 && f.ds_w <= f.bound_tight * (1.0 + 1e-9), "{f:?}");
    }
}

#[test]
fn reversing_time_flips_every_sign() {
    for (seed, shape) in Shape::zoo().into_iter().enumerate() {
        let (prev, next) = shape.pair(60 + seed as u64, 0.3);
        let forth = account(&prev, &next, &shape.geometry).unwrap();
        let back = account(&next, &prev, &shape.geometry).unwrap();
        for (f, b) in forth.iter().zip(&back) {
            close("query", f.parts.query, -b.parts.query, SUMS);
            close("key", f.parts.key, -b.parts.key, SUMS);
            close("features", f.parts.features, -b.parts.features, SUMS);
            close("turning", f.cos_theta, b.cos_theta, SUMS);
        }
    }
}

#[test]
fn parts_of_a_window_add_up_to_its_growth() {
    let shape = Shape::new(&[12, 12], 6, 2, 4, true, true);
    let mut rng = common::rng(8);
    let mut state = shape.state(&mut rng);
    let first = observe(&state, &shape.geometry).unwrap();
    let mut total = [0.0; 2];
    for _ in 0..6 {
        let next = shape.moved(&mut rng, &state, 0.1);
        for (t, f) in total.iter_mut().zip(account(&state, &next, &shape.geometry).unwrap()) {
            *t += f.parts.total();
        }
        state = next;
    }
    for (t, (a, b)) in total.iter().zip(first.iter().zip(observe(&state, &shape.geometry).unwrap())) {
        close("window", *t, (b.spread / a.spread).ln(), SUMS);
    }
}

/// The law's purpose (3.3): along a straight path the split hardly depends on how often one looks.
#[test]
fn the_split_of_a_smooth_path_converges_as_probes_get_dense() {
    let shape = Shape::new(&[14, 9], 6, 1, 4, false, false);
    let (start, end) = shape.pair(11, 0.3);
    let between = |a: &Mat<f64>, b: &Mat<f64>, t: f64| {
        Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] + t * (b[(i, j)] - a[(i, j)]))
    };
    let at = |t: f64| LayerState {
        x: start.x.iter().zip(&end.x).map(|(a, b)| between(a, b, t)).collect(),
        wq: between(&start.wq, &end.wq, t),
        wk: between(&start.wk, &end.wk, t),
    };
    let split = |pieces: usize| {
        let parts = (0..pieces).map(|i| {
            let (from, to) = (i as f64 / pieces as f64, (i + 1) as f64 / pieces as f64);
            account(&at(from), &at(to), &shape.geometry).unwrap()[0].parts
        });
        parts.fold([0.0; 3], |sum, p| [sum[0] + p.query, sum[1] + p.key, sum[2] + p.features])
    };
    let dense = split(256);
    let error =
        |pieces: usize| split(pieces).iter().zip(dense).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // The mean over orders errs in the third order of a step: eight times finer, some sixty times smaller.
    let (coarse, fine) = (error(2), error(16));
    assert!(fine < coarse / 30.0, "{coarse} {fine}");
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

    /// (3.1) holds to rounding and (6.2), (6.3) are never violated, at any step size, from tiny to violent.
    #[test]
    fn identities_and_bounds_hold(
        seed: u64, heads in 1usize..4, half in 1usize..4, width in 1usize..8, t in 2usize..80,
        rope: bool, biases: bool, log_step in -6.0f64..1.5,
    ) {
        let shape = Shape::new(&[t, t / 2 + 1], width, heads, 2 * half, rope, biases);
        let (prev, next) = shape.pair(seed, 10f64.powf(log_step));
        for f in account(&prev, &next, &shape.geometry).unwrap() {
            // Differences of logarithms of sums of squares: a few roundings of numbers near one.
            prop_assert!((f.parts.total() - f.gamma).abs() <= 1e-12, "{f:?}");
            prop_assert!((f.gamma - (f.next.spread / f.a_prev).ln()).abs() <= 1e-12);
            // dS_W is a difference of logits of size a: it rounds by 1e-16 of them.
            let rounding = 1e-12 * f.bound_tight + 1e-13 * f.a_prev;
            prop_assert!(f.ds_w <= f.bound_tight + rounding, "{f:?}");
            let most = growthpath_analysis::growth_bound(f.bound_tight, f.a_prev);
            prop_assert!(f.gamma_w_start <= most + 1e-11, "{f:?}");
        }
    }
}
