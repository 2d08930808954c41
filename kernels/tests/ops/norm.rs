//! Residual addition with LayerNorm and RMSNorm, both directions, and the statistics of the write.

use growthpath_kernels::Stats;
use growthpath_kernels::norm::{Norm, NormParams, backward, forward};

use crate::support::{Bounded, Draw, U, assert_all, assert_close, finite_differences, tensor, values, wide};

const EPS: f32 = 1e-5;
const KINDS: [Norm; 2] = [Norm::LayerNorm, Norm::RmsNorm];
/// (tokens, width): tokens around the block of 64, widths around the 16 lanes.
const SHAPES: [(usize, usize); 9] =
    [(1, 1), (1, 20), (3, 2), (5, 15), (64, 16), (65, 17), (63, 33), (130, 100), (200, 259)];

/// One row: normalized values before gain and bias, reciprocal deviation, and the bound of each `y`.
struct Row {
    y: Vec<f64>,
    rstd: f64,
    y_bound: Vec<f64>,
}

/// `h_bound`: error that each element of `h` carries already.
fn row(kind: Norm, h: &[f64], h_bound: f64) -> Row {
    let d = h.len() as f64;
    let mean = if kind == Norm::LayerNorm { h.iter().sum::<f64>() / d } else { 0.0 };
    let var = h.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / d;
    let rstd = 1.0 / (var + f64::from(EPS)).sqrt();
    let y: Vec<f64> = h.iter().map(|v| (v - mean) * rstd).collect();
    // Sixteen lanes: d/16 additions and a tree of four, then the division: relative to the sum of magnitudes.
    let sum = (d / 16.0 + 6.0) * U;
    let mean_bound =
        if kind == Norm::LayerNorm { sum * h.iter().map(|v| v.abs()).sum::<f64>() / d } else { 0.0 };
    // The variance takes a wrong mean in at second order only, the input's error at first order.
    let shift = mean_bound + h_bound;
    let relative = sum + 8.0 * U + (shift * rstd).powi(2) + h_bound * rstd;
    let y_bound = y.iter().map(|y| 2.0 * shift * rstd + y.abs() * relative).collect();
    Row { y, rstd, y_bound }
}

#[test]
fn forward_matches_float64() {
    let mut draw = Draw::new();
    for (n, d) in SHAPES {
        for kind in KINDS {
            for (with_write, with_bias, stats) in
                [(true, true, true), (true, false, false), (false, true, true)]
            {
                let name = format!("{kind:?} {n}x{d} write={with_write} bias={with_bias}");
                let (h, w) = (draw.normal(n * d, 2.0), draw.normal(n * d, 0.7));
                let (gain, bias) = (draw.normal(d, 1.0), draw.normal(d, 1.0));
                let (th, tw) = (tensor(&h, &[n, d]), tensor(&w, &[n, d]));
                let (tg, tb) = (tensor(&gain, &[d]), tensor(&bias, &[d]));
                let write = with_write.then_some(&tw);
                let params = NormParams { kind, eps: EPS, gain: &tg, bias: with_bias.then_some(&tb) };
                let got = forward(params, &th, write, Stats::when(stats)).unwrap();
                let (h, w, gain, bias) = (wide(&h), wide(&w), wide(&gain), wide(&bias));
                let after: Vec<f64> =
                    h.iter().zip(&w).map(|(h, w)| if with_write { h + w } else { *h }).collect();
                let stream: Vec<_> = after.iter().map(|v| Bounded::new(*v, U * v.abs())).collect();
                assert_all(&format!("{name} h"), &values(&got.h), &stream);
                let mut x = Vec::new();
                for r in after.chunks_exact(d) {
                    let added = if with_write { U * r.iter().fold(0f64, |m, v| m.max(v.abs())) } else { 0.0 };
                    let norm = row(kind, r, added);
                    for i in 0..d {
                        let (g, b) = (gain[i], if with_bias { bias[i] } else { 0.0 });
                        let bound = g.abs() * (norm.y_bound[i] + 3.0 * U * norm.y[i].abs()) + U * b.abs();
                        x.push(Bounded::new(g * norm.y[i] + b, bound));
                    }
                }
                assert_all(&format!("{name} x"), &values(&got.x), &x);
                assert_eq!(got.stats.is_some(), stats && with_write, "{name}");
                let Some(s) = got.stats else { continue };
                // d/16 + 5 additions in float32 a row, tokens summed in float64; dot relative to its magnitudes.
                let relative = (d as f64 / 16.0 + 8.0) * U;
                let mean = |f: &dyn Fn(usize) -> f64| (0..n * d).map(f).sum::<f64>() / n as f64;
                let check = |what: &str, got: f64, f: &dyn Fn(usize) -> f64| {
                    let magnitude = mean(&|i| f(i).abs());
                    assert_close(&format!("{name} {what}"), got, Bounded::new(mean(f), relative * magnitude));
                };
                check("energy", s.energy, &|i| w[i] * w[i]);
                check("dot", s.dot, &|i| w[i] * h[i]);
                check("h2_before", s.h2_before, &|i| h[i] * h[i]);
                // the sum was rounded to float32 before it was squared
                check("h2_after", s.h2_after, &|i| after[i] * after[i]);
                let (mut common, mut bound) = (0.0, 0.0);
                for c in 0..d {
                    let column = |f: fn(f64) -> f64| (0..n).map(|t| f(w[t * d + c])).sum::<f64>() / n as f64;
                    // at most 64 tokens in float32
                    let (m, e) = (column(|v| v), 64.0 * U * column(f64::abs));
                    common += m * m;
                    bound += 2.0 * m.abs() * e + e * e;
                }
                assert_close(&format!("{name} common"), s.common, Bounded::new(common, bound));
            }
        }
    }
}

/// `dL/dh` of one row through the whole Jacobian `r (I - 1/d - y y^T / d)` (no `1/d` for RMSNorm).
fn through_jacobian(kind: Norm, n: &Row, g: &[f64]) -> Vec<f64> {
    let d = g.len();
    let mean = if kind == Norm::LayerNorm { 1.0 / d as f64 } else { 0.0 };
    let j = |i: usize, j: usize| f64::from(u8::from(i == j)) - mean - n.y[i] * n.y[j] / d as f64;
    (0..d).map(|i| n.rstd * (0..d).map(|k| j(i, k) * g[k]).sum::<f64>()).collect()
}

#[test]
fn the_reference_jacobian_matches_finite_differences() {
    let mut draw = Draw::new();
    for kind in KINDS {
        let (h, g) = (wide(&draw.normal(20, 1.0)), wide(&draw.normal(20, 1.0)));
        let want = finite_differences(&h, |h| row(kind, h, 0.0).y.iter().zip(&g).map(|(y, g)| y * g).sum());
        for (got, want) in through_jacobian(kind, &row(kind, &h, 0.0), &g).iter().zip(&want) {
            // fifth derivatives are of order r^5 |g|
            assert!((got - want).abs() < 1e-9, "{kind:?}: {got} against {want}");
        }
    }
}

#[test]
fn backward_matches_float64() {
    let mut draw = Draw::new();
    for (n, d) in SHAPES {
        for kind in KINDS {
            for (with_residual, with_bias) in [(true, true), (false, false), (true, false)] {
                let name = format!("{kind:?} backward {n}x{d} residual={with_residual} bias={with_bias}");
                let (h, w) = (draw.normal(n * d, 2.0), draw.normal(n * d, 0.7));
                let (gain, bias) = (draw.normal(d, 1.0), draw.normal(d, 1.0));
                let (dx, res) = (draw.normal(n * d, 0.1), draw.normal(n * d, 0.1));
                let (tg, tb) = (tensor(&gain, &[d]), tensor(&bias, &[d]));
                let (tdx, tres) = (tensor(&dx, &[n, d]), tensor(&res, &[n, d]));
                let (th, tw) = (tensor(&h, &[n, d]), tensor(&w, &[n, d]));
                let params = NormParams { kind, eps: EPS, gain: &tg, bias: with_bias.then_some(&tb) };
                let saved = forward(params, &th, Some(&tw), Stats::Off).unwrap();
                let got = backward(params, &saved, &tdx, with_residual.then_some(&tres)).unwrap();
                let after = wide(&values(&saved.h));
                let (gain, dx, res) = (wide(&gain), wide(&dx), wide(&res));
                let mut dh = Vec::new();
                let mut dgain = vec![Bounded::default(); d];
                let mut dbias = vec![Bounded::default(); d];
                for t in 0..n {
                    let (dx, res) = (&dx[t * d..(t + 1) * d], &res[t * d..(t + 1) * d]);
                    let norm = row(kind, &after[t * d..(t + 1) * d], 0.0);
                    let g: Vec<f64> = dx.iter().zip(&gain).map(|(x, g)| x * g).collect();
                    let value = through_jacobian(kind, &norm, &g);
                    let mean = |f: &dyn Fn(usize) -> f64| (0..d).map(f).sum::<f64>() / d as f64;
                    let (g1, gy) = (mean(&|i| g[i].abs()), mean(&|i| (g[i] * norm.y[i]).abs()));
                    let gy_bound = mean(&|i| g[i].abs() * norm.y_bound[i]);
                    // both means: d/16 + 6 roundings; a handful more on the way out
                    let relative = (d as f64 / 16.0 + 16.0) * U;
                    for i in 0..d {
                        let y = norm.y[i].abs();
                        let mut bound =
                            relative * (g[i].abs() + g1 + y * gy) + norm.y_bound[i] * gy + y * gy_bound;
                        bound *= norm.rstd;
                        let r = if with_residual { res[i] } else { 0.0 };
                        dh.push(Bounded::new(value[i] + r, bound + U * (r.abs() + value[i].abs())));
                        // at most 64 tokens, then the blocks: n additions cover both
                        let steps = (n as f64 + 2.0) * U;
                        dgain[i].value += dx[i] * norm.y[i];
                        dgain[i].bound += dx[i].abs() * (norm.y_bound[i] + steps * y);
                        dbias[i].value += dx[i];
                        dbias[i].bound += steps * dx[i].abs();
                    }
                }
                assert_all(&format!("{name} dh"), &values(&got.h), &dh);
                assert_all(&format!("{name} dgain"), &values(&got.gain), &dgain);
                assert_eq!(got.bias.is_some(), with_bias);
                if let Some(b) = got.bias {
                    assert_all(&format!("{name} dbias"), &values(&b), &dbias);
                }
            }
        }
    }
}
