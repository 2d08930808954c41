//! Exactly representable and extreme logits.

use growthpath_kernels::Stats;
use growthpath_kernels::attention::{Attention, LogitGradStats, Shape, backward, forward};

use crate::forms::head_loss;
use crate::support::{Bounded, Draw, U, assert_close, tensor, values};

/// One head of width 4 (so that 1/sqrt(d_h) = 1/2 is exact) whose logits are `a_i b_j + c_i`.
///
/// Queries `2 (a, c, 0, 0)`, keys `(b, 1, 0, 0)`, values random.
fn attention(draw: &mut Draw, a: &[f32], b: &[f32], c: &[f32]) -> (Attention, Vec<f32>, Vec<LogitGradStats>) {
    let t = a.len();
    let shape = Shape { batch: 1, seq_len: t, heads: 1, head_dim: 4 };
    let v = draw.normal(4 * t, 1.0);
    let mut x = Vec::new();
    for i in 0..t {
        x.extend([2.0 * a[i], 2.0 * c[i], 0.0, 0.0, b[i], 1.0, 0.0, 0.0]);
        x.extend(&v[4 * i..4 * i + 4]);
    }
    let x = tensor(&x, &[t, 12]);
    let f = forward(shape, &x, None, Stats::Taken).unwrap();
    let d = tensor(&draw.normal(4 * t, 1.0), &[t, 4]);
    let (g, s) = backward(shape, &x, &f, None, &d).unwrap();
    (f, values(&g), s)
}

#[test]
fn logits_of_ten_thousand_do_not_overflow() {
    let mut draw = Draw::new();
    for t in [2, 33, 70] {
        let a: Vec<f32> = (0..t).map(|i| if i % 2 == 0 { 100.0 } else { -100.0 }).collect();
        let b: Vec<f32> = (0..t).map(|i| if i % 3 == 0 { 100.0 } else { -100.0 }).collect();
        let (f, g, s) = attention(&mut draw, &a, &b, &vec![0.0; t]);
        let stats = f.stats.unwrap()[0];
        assert_eq!(stats.s_max, 1e4);
        assert_close("s_ms", stats.s_ms, Bounded::new(1e8, 1e8 * (t as f64 / 16.0 + 6.0) * U));
        // every row attends evenly to the keys of its larger logit
        let mut top1 = 0.0;
        for i in 0..t {
            let same = (0..=i).filter(|j| a[i] * b[*j] > 0.0).count();
            let even = if same == 0 { i + 1 } else { same };
            top1 += 1.0 / even as f64 / t as f64;
        }
        assert_close("top1", stats.top1, Bounded::new(top1, 4.0 * U));
        assert!(stats.lse_gap <= 4.0 * U * 1e4);
        assert!((0.0..=1.0).contains(&stats.entropy));
        assert!(values(&f.out).iter().chain(&f.lse).chain(&g).all(|v| v.is_finite()));
        assert!(s[0].gs2.is_finite() && s[0].sgs.is_finite());
    }
}

#[test]
fn a_huge_common_offset_leaves_the_spread_accurate() {
    let mut draw = Draw::new();
    let t = 65;
    let (offset, a) = (16_384f32, vec![1.0f32; t]);
    // eighths up to 4: offset + b needs 14 + 3 bits, exact in float32
    let b: Vec<f32> = (0..t).map(|_| (draw.below(65) as f32 - 32.0) / 8.0).collect();
    let (f, ..) = attention(&mut draw, &a, &b, &vec![offset; t]);
    let (plain, ..) = attention(&mut draw, &a, &b, &vec![0.0; t]);
    let (got, near) = (f.stats.unwrap()[0], plain.stats.unwrap()[0]);
    let (mut c2, mut pairs) = (0.0, 0.0);
    for i in 0..t {
        let row = &b[..=i];
        let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / row.len() as f64;
        c2 += row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
        pairs += row.len() as f64;
    }
    let want = (c2 / pairs).sqrt();
    // The logits are exact, so only the mean is off: by the lanes' roundings at the size of the offset. It enters
    // squared. A mean of squares minus a squared mean would be off by U offset^2 = 16.
    let mean_error = (t as f64 / 16.0 + 6.0) * U * f64::from(offset);
    let bound = mean_error.powi(2) / (2.0 * want) + (t as f64 / 16.0 + 8.0) * U * want;
    assert!(bound < 1e-4 * want);
    assert_close("spread", got.spread, Bounded::new(want, bound));
    // softmax sees differences only
    assert_close("entropy", got.entropy, Bounded::new(near.entropy, 2e-6));
    assert_close("top1", got.top1, Bounded::new(near.top1, 2e-6));
}

#[test]
fn equal_logits_are_uniform_attention() {
    let mut draw = Draw::new();
    for (t, c) in [(1, 3.0), (2, 0.0), (33, -7.25), (64, 1000.0)] {
        let (f, ..) = attention(&mut draw, &vec![0.0; t], &vec![1.0; t], &vec![c; t]);
        let s = f.stats.unwrap()[0];
        let size = f64::from(c.abs());
        // the mean of equal numbers is off by its own rounding
        assert!(s.spread <= (t as f64 / 16.0 + 6.0) * U * size, "spread {}", s.spread);
        assert_close("entropy", s.entropy, Bounded::new(if t == 1 { 0.0 } else { 1.0 }, 4.0 * U));
        let harmonic: f64 = (1..=t).map(|i| 1.0 / i as f64).sum();
        assert_close("top1", s.top1, Bounded::new(harmonic / t as f64, 4.0 * U));
        assert_close("s_max", s.s_max, Bounded::new(f64::from(c), 0.0));
    }
}

#[test]
fn vocabulary_logits_of_ten_thousand_give_finite_accurate_losses() {
    // logits +-1e4 exactly: x = 100, weights +-100; targets on the large and on the small side
    let w: Vec<f32> = (0..37).map(|v| if v == 5 { 100.0 } else { -100.0 }).collect();
    let h = head_loss(&tensor(&[100.0, 100.0], &[2, 1]), &tensor(&w, &[37, 1]), &[5, 9], true);
    assert_eq!(h.max_logit, 1e4);
    assert!(h.losses[0].abs() < 1e-30, "certain and right: {}", h.losses[0]);
    assert_eq!(h.losses[1], 2e4, "certain and wrong");
    assert_eq!(h.loss, 1e4);
    let (dx, dw) = h.grads.unwrap();
    let (dx, dw) = (values(&dx), values(&dw));
    // first token: p = onehot; second: (e_5 - e_9) / 2
    assert!(dx[0].abs() < 1e-30, "{dx:?}");
    assert_eq!(dx[1], 100.0);
    for (v, g) in dw.iter().enumerate() {
        let want = [(5, 50.0), (9, -50.0)].iter().find(|(i, _)| *i == v).map_or(0.0, |(_, g)| *g);
        assert!((g - want).abs() < 1e-30, "dw[{v}] = {g}");
    }
}

#[test]
fn a_large_common_logit_does_not_cost_the_loss_its_digits() {
    // logits 8192 + {0, 1/8, ...}: exact in float32; a sum ln z + max would round to 2^-10
    let x = tensor(&[1.0, 8192.0], &[1, 2]);
    let w: Vec<f32> = (0..9).flat_map(|v| [v as f32 / 8.0, 1.0]).collect();
    let h = head_loss(&x, &tensor(&w, &[9, 2]), &[4], false);
    let want = (0..9).map(|v| (v as f64 / 8.0 - 0.5).exp()).sum::<f64>().ln();
    assert_close("loss", h.loss, Bounded::new(want, 16.0 * U));
}
