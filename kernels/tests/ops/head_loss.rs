//! Vocabulary projection with cross-entropy.

use crate::forms::head_loss;

use crate::support::{Bounded, Draw, U, assert_all, assert_close, dot, tensor, values, wide};

/// (tokens, width, vocabulary): odd vocabularies, one token, more than one chunk of 256 tokens.
const SHAPES: [(usize, usize, usize); 8] = [
    (1, 1, 1),
    (1, 5, 7),
    (2, 20, 15),
    (3, 17, 31),
    (65, 33, 129),
    (256, 16, 33),
    (257, 20, 65),
    (515, 12, 1001),
];

#[test]
fn loss_and_gradients_match_float64() {
    let mut draw = Draw::new();
    for (n, d, v) in SHAPES {
        for size in [0.3f32, 3.0] {
            let name = format!("head_loss {n}x{d} V={v} size={size}");
            let (x, w) = (draw.normal(n * d, size), draw.normal(v * d, 1.0));
            let targets = draw.tokens(n, v);
            let (tx, tw) = (tensor(&x, &[n, d]), tensor(&w, &[v, d]));
            let got = head_loss(&tx, &tw, &targets, true);
            let quiet = head_loss(&tx, &tw, &targets, false);
            assert!(quiet.grads.is_none());
            assert_eq!(
                (quiet.loss, &quiet.losses),
                (got.loss, &got.losses),
                "{name}: gradients change the loss"
            );
            let (x, w) = (wide(&x), wide(&w));
            let mut losses = Vec::new();
            let mut max = Bounded::new(f64::NEG_INFINITY, 0.0);
            // gradient of the logits and its bound
            let (mut g, mut g_bound) = (vec![0.0; n * v], vec![0.0; n * v]);
            for t in 0..n {
                let logits: Vec<_> = (0..v).map(|j| dot(d, 1.0, |c| (x[t * d + c], w[j * d + c]))).collect();
                let top = logits.iter().fold(f64::NEG_INFINITY, |m, l| m.max(l.value));
                let worst = logits.iter().fold(0f64, |m, l| m.max(l.bound));
                let z: f64 = logits.iter().map(|l| (l.value - top).exp()).sum();
                let target = logits[targets[t] as usize].value;
                max = Bounded::new(max.value.max(top), max.bound.max(worst));
                // z: 3 ulp an exponential, V/16 + 5 additions, exponents rounded by U |d| where they matter
                let z_bound = (v as f64 / 16.0 + 20.0) * U;
                let value = z.ln() + (top - target);
                losses.push(Bounded::new(value, 2.0 * worst + z_bound + 3.0 * U * (value + z.ln())));
                for (j, l) in logits.iter().enumerate() {
                    let p = (l.value - top).exp() / z;
                    let hit = if targets[t] as usize == j { 1.0 } else { 0.0 };
                    let depth = (top - l.value).min(90.0);
                    g[t * v + j] = (p - hit) / n as f64;
                    let relative = 2.0 * worst + z_bound + (depth + 12.0) * U;
                    g_bound[t * v + j] = (p * relative + 2.0 * U * hit) / n as f64;
                }
            }
            assert_all(&name, &got.losses, &losses);
            let mean = losses.iter().map(|l| l.value).sum::<f64>() / n as f64;
            let bound = losses.iter().map(|l| l.bound).sum::<f64>() / n as f64;
            assert_close(&name, got.loss, Bounded::new(mean, bound));
            assert_close(&format!("{name} max"), f64::from(got.max_logit), max);
            let (dx, dw) = got.grads.unwrap();
            let carried = |k: usize, term: &dyn Fn(usize) -> (f64, f64, f64)| {
                let e = dot(k, 3.0, |i| (term(i).0, term(i).2));
                Bounded::new(
                    e.value,
                    e.bound + 1.01 * (0..k).map(|i| term(i).1 * term(i).2.abs()).sum::<f64>(),
                )
            };
            let want: Vec<_> = (0..n * d)
                .map(|e| {
                    let (t, c) = (e / d, e % d);
                    carried(v, &|j| (g[t * v + j], g_bound[t * v + j], w[j * d + c]))
                })
                .collect();
            assert_all(&format!("{name} dx"), &values(&dx), &want);
            let want: Vec<_> = (0..v * d)
                .map(|e| {
                    let (j, c) = (e / d, e % d);
                    carried(n, &|t| (g[t * v + j], g_bound[t * v + j], x[t * d + c]))
                })
                .collect();
            assert_all(&format!("{name} dw"), &values(&dw), &want);
        }
    }
}
