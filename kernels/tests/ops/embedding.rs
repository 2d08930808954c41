//! Token and position embedding.

use crate::forms::embedding::{backward, forward};
use crate::support::{Bounded, Draw, U, assert_all, tensor, values};

/// (sequences, length, width, vocabulary)
const SHAPES: [(usize, usize, usize, usize); 5] =
    [(1, 1, 1, 1), (1, 31, 20, 5), (3, 33, 17, 11), (2, 65, 48, 301), (5, 128, 7, 3)];

#[test]
fn gather_is_exact_and_scatter_matches_float64() {
    let mut draw = Draw::new();
    for (b, t, d, v) in SHAPES {
        let name = format!("embedding {b}x{t} d={d} V={v}");
        let (n, positions) = (b * t, t + 3);
        let (wte, wpe) = (draw.normal(v * d, 1.0), draw.normal(positions * d, 0.1));
        let (tokens, dh, before) = (draw.tokens(n, v), draw.normal(n * d, 1.0), draw.normal(v * d, 1.0));
        let (te, tp) = (tensor(&wte, &[v, d]), tensor(&wpe, &[positions, d]));
        for learned in [false, true] {
            let h = values(&forward(&tokens, t, &te, learned.then_some(&tp)));
            for (e, got) in h.iter().enumerate() {
                let (i, c) = (e / d, e % d);
                let p = if learned { wpe[i % t * d + c] } else { 0.0 };
                // one float32 addition: nothing to tolerate
                assert_eq!(*got, wte[tokens[i] as usize * d + c] + p, "{name}[{e}]");
            }
            let dw = tensor(&before, &[v, d]);
            let dp = backward(&tokens, t, &tensor(&dh, &[n, d]), &dw, learned.then_some(positions));
            let add = |start: f64, rows: &dyn Fn(usize) -> bool, c: usize| {
                let terms: Vec<f64> = (0..n).filter(|i| rows(*i)).map(|i| f64::from(dh[i * d + c])).collect();
                let magnitude = terms.iter().map(|v| v.abs()).sum::<f64>() + start.abs();
                Bounded::new(start + terms.iter().sum::<f64>(), terms.len() as f64 * U * magnitude)
            };
            let want: Vec<_> = (0..v * d)
                .map(|e| add(f64::from(before[e]), &|i| tokens[i] as usize == e / d, e % d))
                .collect();
            assert_all(&format!("{name} d_wte"), &values(&dw), &want);
            assert_eq!(dp.is_some(), learned);
            let Some(dp) = dp else { continue };
            assert_eq!(dp.dims(), [positions, d]);
            let want: Vec<_> = (0..positions * d).map(|e| add(0.0, &|i| i % t == e / d, e % d)).collect();
            assert_all(&format!("{name} d_wpe"), &values(&dp), &want);
        }
    }
}
