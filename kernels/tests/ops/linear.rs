//! `y = x W^T + b` and its gradients.

use crate::forms::linear;
use crate::support::{Bounded, Draw, U, assert_all, dot, tensor, values, wide};

/// (tokens, in, out): one of each, odd sizes, widths that are no multiple of a register, more than one depth block.
const SHAPES: [(usize, usize, usize); 10] = [
    (1, 1, 1),
    (1, 7, 5),
    (5, 1, 3),
    (2, 20, 1),
    (31, 16, 33),
    (33, 20, 65),
    (65, 33, 17),
    (129, 48, 97),
    (257, 600, 31),
    (515, 70, 130),
];

#[test]
fn forward_and_backward_match_float64() {
    let mut draw = Draw::new();
    for (n, k, m) in SHAPES {
        for bias in [false, true] {
            let name = format!("linear {n}x{k}->{m} bias={bias}");
            let (x, w) = (draw.normal(n * k, 1.0), draw.normal(m * k, 0.3));
            let (b, dy) = (draw.normal(m, 2.0), draw.normal(n * m, 0.1));
            let (tx, tw) = (tensor(&x, &[n, k]), tensor(&w, &[m, k]));
            let (tb, tdy) = (tensor(&b, &[m]), tensor(&dy, &[n, m]));
            let y = linear::forward(&tx, &tw, bias.then_some(&tb));
            let g = linear::backward(&tdy, &tx, &tw, bias);
            let (x, w, b, dy) = (wide(&x), wide(&w), wide(&b), wide(&dy));
            let mut want = Vec::new();
            for i in 0..n {
                for j in 0..m {
                    let e = dot(k, 2.0, |l| (x[i * k + l], w[j * k + l]));
                    let b = if bias { b[j] } else { 0.0 };
                    // the bias takes part in the sum from its start
                    want.push(Bounded::new(e.value + b, e.bound + (k as f64 + 2.0) * U * b.abs()));
                }
            }
            assert_all(&name, &values(&y), &want);
            let dx: Vec<_> =
                (0..n * k).map(|e| dot(m, 2.0, |j| (dy[e / k * m + j], w[j * k + e % k]))).collect();
            assert_all(&format!("{name} dx"), &values(&g.x), &dx);
            let dw: Vec<_> =
                (0..m * k).map(|e| dot(n, 2.0, |i| (dy[i * m + e / k], x[i * k + e % k]))).collect();
            assert_all(&format!("{name} dw"), &values(&g.weight), &dw);
            assert_eq!(g.bias.is_some(), bias);
            if let Some(db) = g.bias {
                let want: Vec<_> = (0..m).map(|j| dot(n, 2.0, |i| (dy[i * m + j], 1.0))).collect();
                assert_all(&format!("{name} db"), &values(&db), &want);
            }
        }
    }
}

#[test]
fn a_view_that_starts_inside_its_storage_is_read_where_it_starts() {
    let mut draw = Draw::new();
    let (n, k, m) = (9, 6, 4);
    let (x, w) = (draw.normal(n * k, 1.0), tensor(&draw.normal(m * k, 1.0), &[m, k]));
    let view = tensor(&x, &[n, k]).narrow(0, 2, 5).unwrap();
    let copy = tensor(&x[2 * k..7 * k], &[5, k]);
    let a = linear::forward(&view, &w, None);
    let b = linear::forward(&copy, &w, None);
    assert_eq!(values(&a), values(&b));
}
