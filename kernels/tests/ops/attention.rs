//! Causal attention: outputs, gradients, statistics, (2.1) and (2.5).

use growthpath_kernels::Stats;
use growthpath_kernels::attention::{LogitStats, Shape, average, backward, forward};
use growthpath_kernels::rope::Rope;
use proptest::prelude::*;

use crate::attention_reference::{Grads, Head, block, gradients, head, statistics};
use crate::support::{Bounded, Draw, U, assert_all, assert_close, finite_differences, tensor, values, wide};

const BASE: f64 = 10_000.0;

fn shape(batch: usize, seq_len: usize, heads: usize, head_dim: usize) -> Shape {
    Shape { batch, seq_len, heads, head_dim }
}

fn in_order(s: &LogitStats) -> [(&'static str, f64); 12] {
    [
        ("s_max", s.s_max),
        ("s_min", s.s_min),
        ("s_ms", s.s_ms),
        ("spread", s.spread),
        ("entropy", s.entropy),
        ("sharpness", s.sharpness),
        ("top1", s.top1),
        ("max_distance", s.max_distance),
        ("q_rms", s.q_rms),
        ("k_rms", s.k_rms),
        ("qk_cos", s.qk_cos),
        ("lse_gap", s.lse_gap),
    ]
}

/// Forward, backward, statistics and identities of one call against the reference.
fn check(draw: &mut Draw, shape: Shape, rotary: bool, size: f32) {
    let name = format!("{shape:?} rope={rotary} size={size}");
    let (n, width) = (shape.tokens(), shape.width());
    let qkv = draw.normal(n * 3 * width, size);
    let d_out = draw.normal(n * width, 0.2);
    let rope = rotary.then(|| Rope::new(shape.seq_len, shape.head_dim, BASE));
    let base = rotary.then_some(BASE);
    let (tx, td) = (tensor(&qkv, &[n, 3 * width]), tensor(&d_out, &[n, width]));
    let f = forward(shape, &tx, rope.as_ref(), Stats::Taken).unwrap();
    let quiet = forward(shape, &tx, rope.as_ref(), Stats::Off).unwrap();
    assert!(quiet.stats.is_none());
    assert_eq!(values(&quiet.out), values(&f.out), "{name}: statistics change the output");
    let (dqkv, grad_stats) = backward(shape, &tx, &f, rope.as_ref(), &td).unwrap();
    let (x, d_out, dqkv) = (wide(&qkv), wide(&d_out), wide(&values(&dqkv)));
    let row = |v: &[f64], b: usize, h: usize, t: usize| -> Vec<f64> {
        let at = (b * shape.seq_len + t) * width + h * shape.head_dim;
        v[at..at + shape.head_dim].to_vec()
    };
    let out = wide(&values(&f.out));
    for h in 0..shape.heads {
        let heads: Vec<Head> = (0..shape.batch).map(|b| head(shape, &x, base, b, h)).collect();
        let got = &f.stats.as_ref().unwrap()[h];
        for ((what, got), want) in in_order(got).iter().zip(statistics(&heads.iter().collect::<Vec<_>>())) {
            // Rows that are too short for a statistic leave it undefined, on both sides.
            if !(got.is_nan() && want.value.is_nan()) {
                assert_close(&format!("{name} head {h} {what}"), *got, want);
            }
        }
        assert_eq!(got.sharpness.is_nan(), shape.seq_len < 8, "{name}");
        // (2.5): what is left above zero is the rounding of lse, ln(i) and their differences.
        let size = heads.iter().flat_map(|f| &f.lse).fold(0f64, |m, l| m.max(l.value.abs()));
        assert!(got.lse_gap <= 4.0 * U * (size + 8.0), "{name}: bracket violated by {}", got.lse_gap);
        let (mut gs2, mut sgs) = (Bounded::default(), Bounded::default());
        let mut euler = [Bounded::default(); 2];
        for (b, f64_head) in heads.iter().enumerate() {
            let d: Vec<_> = (0..shape.seq_len).map(|t| row(&d_out, b, h, t)).collect();
            let g: Grads = gradients(shape, f64_head, base, &d);
            gs2 = Bounded::new(gs2.value + g.gs2.value, gs2.bound + g.gs2.bound);
            sgs = Bounded::new(sgs.value + g.sgs.value, sgs.bound + g.sgs.bound);
            for t in 0..shape.seq_len {
                let at = format!("{name} sequence {b} head {h} row {t}");
                let lse = f.lse[(b * shape.heads + h) * shape.seq_len + t];
                assert_close(&format!("{at} lse"), f64::from(lse), f64_head.lse[t]);
                for (got, want) in row(&out, b, h, t).iter().zip(&f64_head.out[t]) {
                    assert_close(&format!("{at} out"), *got, Bounded::new(*want, f64_head.out_bound[t]));
                }
                for kind in 0..3 {
                    let got = block(shape, &dqkv, b, h, t, kind);
                    for (got, want) in got.iter().zip(&g.d[kind][t]) {
                        let want = Bounded::new(*want, g.bound[kind][t]);
                        assert_close(&format!("{at} d{}", ["q", "k", "v"][kind]), *got, want);
                    }
                }
                for (kind, e) in euler.iter_mut().enumerate() {
                    let (v, d) = (block(shape, &x, b, h, t, kind), block(shape, &dqkv, b, h, t, kind));
                    e.value += v.iter().zip(d).map(|(v, d)| v * d).sum::<f64>();
                    e.bound += v.iter().map(|v| v.abs()).sum::<f64>() * g.bound[kind][t];
                }
            }
        }
        let got = grad_stats[h];
        assert_close(&format!("{name} head {h} gs2"), got.gs2, gs2);
        assert_close(&format!("{name} head {h} sgs"), got.sgs, sgs);
        // (2.1): <S, G_S> = <q, dq> = <k, dk>, all three as the kernel computed them.
        for e in euler {
            assert_close(
                &format!("{name} head {h} Euler"),
                got.sgs,
                Bounded::new(e.value, e.bound + sgs.bound),
            );
        }
    }
}

#[test]
fn odd_shapes_match_float64() {
    let mut draw = Draw::new();
    for t in [1, 2, 31, 32, 33, 65] {
        for dh in [2, 8, 20, 32, 64] {
            for rotary in [false, true] {
                check(&mut draw, shape(2, t, 3, dh), rotary, 1.0);
            }
        }
    }
    check(&mut draw, shape(1, 17, 1, 7), false, 1.0);
    check(&mut draw, shape(1, 150, 2, 16), true, 1.5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// From uniform attention (tiny logits) to attention on single keys (logits in the hundreds).
    #[test]
    fn any_shape_and_size_of_logits_matches_float64(
        seed: u64, b in 1usize..3, t in 1usize..70, h in 1usize..4, half in 1usize..12, rotary: bool,
        log_size in -3f32..1.0,
    ) {
        check(&mut Draw::with_seed(seed), shape(b, t, h, 2 * half), rotary, 10f32.powf(log_size));
    }
}

#[test]
fn the_reference_gradient_matches_finite_differences() {
    let mut draw = Draw::new();
    let s = shape(1, 4, 1, 4);
    for base in [None, Some(BASE)] {
        let (x, d) = (wide(&draw.normal(4 * 12, 1.0)), wide(&draw.normal(16, 1.0)));
        let d: Vec<Vec<f64>> = d.chunks(4).map(<[f64]>::to_vec).collect();
        let loss = |x: &[f64]| -> f64 {
            let f = head(s, x, base, 0, 0);
            f.out.iter().zip(&d).map(|(o, d)| o.iter().zip(d).map(|(o, d)| o * d).sum::<f64>()).sum()
        };
        let want = finite_differences(&x, loss);
        let g = gradients(s, &head(s, &x, base, 0, 0), base, &d);
        for kind in 0..3 {
            for t in 0..4 {
                for (got, want) in g.d[kind][t].iter().zip(block(s, &want, 0, 0, t, kind)) {
                    assert!(
                        (got - want).abs() < 1e-9,
                        "base {base:?} block {kind} row {t}: {got} against {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn uniform_ablation_averages_the_values_of_the_named_heads_only() {
    let mut draw = Draw::new();
    let s = shape(2, 33, 3, 5);
    let (n, width) = (s.tokens(), s.width());
    let (qkv, out) = (draw.normal(n * 3 * width, 1.0), draw.normal(n * width, 1.0));
    let mut got = out.clone();
    average(s, &qkv, &mut got, &[0, 2]);
    let x = wide(&qkv);
    let mut want = Vec::new();
    for token in 0..n {
        let (b, t) = (token / s.seq_len, token % s.seq_len);
        for h in 0..s.heads {
            for c in 0..s.head_dim {
                want.push(if h == 1 {
                    Bounded::new(f64::from(out[token * width + h * s.head_dim + c]), 0.0)
                } else {
                    let mean = (0..=t).map(|j| block(s, &x, b, h, j, 2)[c]).sum::<f64>() / (t + 1) as f64;
                    // summed in float64: only the final rounding is left
                    Bounded::new(mean, U * mean.abs() + 1e-14)
                });
            }
        }
    }
    assert_all("uniform", &got, &want);
}
