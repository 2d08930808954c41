//! RMS normalization of queries and keys head by head.

use growthpath_kernels::attention::Shape;

use crate::forms::qk_norm::{backward, forward};
use crate::support::{Bounded, Draw, U, assert_all, finite_differences, tensor, values, wide};

const EPS: f64 = 1e-6;

fn normalize(x: &[f64], gain: &[f64]) -> Vec<f64> {
    let r = 1.0 / (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64 + f64::from(EPS as f32)).sqrt();
    x.iter().zip(gain).map(|(x, g)| x * r * g).collect()
}

#[test]
fn forward_and_backward_match_float64() {
    let mut draw = Draw::new();
    for (batch, seq_len, heads, head_dim) in
        [(1, 1, 1, 2), (1, 3, 2, 8), (2, 33, 3, 20), (1, 65, 1, 64), (2, 70, 2, 5)]
    {
        let s = Shape { batch, seq_len, heads, head_dim };
        let (n, width, dh) = (s.tokens(), s.width(), head_dim);
        // away from zero: finite differences need room, and the last value of each vector pins its norm
        let mut x = draw.normal(n * 3 * width, 1.0);
        x.iter_mut().skip(dh - 1).step_by(dh).for_each(|v| *v += 3.0 * v.signum());
        let (qg, kg, d) = (draw.normal(dh, 1.0), draw.normal(dh, 1.0), draw.normal(n * 3 * width, 0.3));
        let (tx, tq, tk) = (tensor(&x, &[n, 3 * width]), tensor(&qg, &[dh]), tensor(&kg, &[dh]));
        let y = forward(s, &tx, &tq, &tk);
        let (dx, dqg, dkg) = backward(s, &tx, &y, &tq, &tk, &tensor(&d, &[n, 3 * width]));
        let (x, d) = (wide(&x), wide(&d));
        let gains = [wide(&qg), wide(&kg)];
        let (mut y_want, mut dx_want) = (Vec::new(), Vec::new());
        let mut gain_want = [vec![Bounded::default(); dh], vec![Bounded::default(); dh]];
        // d_h products and additions for the mean square (half of it after the root), five roundings more
        let relative = (dh as f64 + 8.0) * U;
        for (i, (x, d)) in x.chunks(dh).zip(d.chunks(dh)).enumerate() {
            let kind = i % (3 * heads) / heads;
            if kind == 2 {
                y_want.extend(x.iter().map(|v| Bounded::new(*v, 0.0)));
                dx_want.extend(d.iter().map(|v| Bounded::new(*v, 0.0)));
                continue;
            }
            let gain = &gains[kind];
            let y = normalize(x, gain);
            let unit = normalize(x, &vec![1.0; dh]);
            let slope = finite_differences(x, |x| normalize(x, gain).iter().zip(d).map(|(y, d)| y * d).sum());
            let r = unit.iter().zip(x).map(|(u, x)| u / x).fold(0.0, f64::max);
            let gy =
                unit.iter().zip(gain).zip(d).map(|((u, g), d)| (u * g * d).abs()).sum::<f64>() / dh as f64;
            for c in 0..dh {
                y_want.push(Bounded::new(y[c], relative * y[c].abs()));
                // r (g - y mean(g y)): relative to both terms; 1e-10 for the finite difference
                let magnitude = r * ((d[c] * gain[c]).abs() + unit[c].abs() * gy);
                dx_want.push(Bounded::new(slope[c], (2.0 * relative + 4.0 * U) * magnitude + 1e-10));
                gain_want[kind][c].value += d[c] * unit[c];
                // summed in float64, rounded once at the end
                gain_want[kind][c].bound += 2.0 * relative * (d[c] * unit[c]).abs();
            }
        }
        let name = format!("qk_norm {s:?}");
        assert_all(&name, &values(&y.qkv), &y_want);
        assert_all(&format!("{name} dx"), &values(&dx), &dx_want);
        assert_all(&format!("{name} dq_gain"), &values(&dqg), &gain_want[0]);
        assert_all(&format!("{name} dk_gain"), &values(&dkg), &gain_want[1]);
    }
}
