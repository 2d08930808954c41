//! Every activation, value and derivative, and the hidden statistics.

use growthpath_kernels::Stats;
use growthpath_kernels::activation::Activation;

#[path = "../reference/nonlinearity.rs"]
mod nonlinearity;

use nonlinearity::Reference;

use crate::forms::activation::{backward, forward};
use crate::support::{Bounded, Draw, U, assert_all, assert_close, tensor, values, wide};

const SHAPES: [(usize, usize); 6] = [(1, 1), (1, 33), (3, 15), (65, 16), (64, 20), (130, 171)];

fn reference(act: Activation) -> &'static Reference {
    nonlinearity::ALL
        .iter()
        .find(|r| r.code == act.code())
        .unwrap_or_else(|| panic!("no reference of {act:?}"))
}

#[test]
fn values_and_statistics_match_float64() {
    let mut draw = Draw::new();
    for &act in Activation::ALL {
        let of = reference(act);
        for (n, f) in SHAPES {
            let name = format!("{act:?} {n}x{f}");
            let w = if act.gated() { 2 * f } else { f };
            let u = draw.normal(n * w, 2.5);
            let (a, stats) = forward(act, &tensor(&u, &[n, w]), Stats::Taken);
            let single = u;
            let u = wide(&single);
            let want: Vec<_> = (0..n * f)
                .map(|e| {
                    let (t, i) = (e / f, e % f);
                    let up = if act.gated() { u[t * w + f + i] } else { 1.0 };
                    let (x, v) = (u[t * w + i], (of.value)(u[t * w + i]) * up);
                    Bounded::new(v, ((of.roundings)(x) + 1.0) * U * v.abs())
                })
                .collect();
            assert_all(&name, &values(&a), &want);
            let (same, none) = forward(act, &tensor(&single, &[n, w]), Stats::Off);
            assert!(none.is_none() && values(&same) == values(&a), "{name}: statistics only where asked for");
            let s = stats.unwrap();
            // element error enters twice in a square; f/16 + 5 additions a row
            let worst = want.iter().map(|b| if b.value == 0.0 { 0.0 } else { b.bound / b.value.abs() });
            let worst = worst.fold(0.0, f64::max);
            let ms = want.iter().map(|b| b.value.powi(2)).sum::<f64>() / (n * f) as f64;
            let bound = (2.0 * worst + (f as f64 / 16.0 + 8.0) * U) * ms;
            assert_close(&format!("{name} hidden_ms"), s.hidden_ms, Bounded::new(ms, bound));
            let (mut common, mut bound) = (0.0, 0.0);
            for i in 0..f {
                let mean =
                    |g: &dyn Fn(f64) -> f64| (0..n).map(|t| g(want[t * f + i].value)).sum::<f64>() / n as f64;
                // at most 64 tokens in float32
                let (m, e) = (mean(&|v| v), (64.0 * U + worst) * mean(&f64::abs));
                common += m * m / f as f64;
                bound += (2.0 * m.abs() * e + e * e) / f as f64;
            }
            assert_close(&format!("{name} hidden_common"), s.hidden_common, Bounded::new(common, bound));
        }
    }
}

#[test]
fn backward_matches_the_derivative_of_the_reference() {
    let mut draw = Draw::new();
    for &act in Activation::ALL {
        let of = reference(act);
        for (n, f) in SHAPES {
            let name = format!("{act:?} backward {n}x{f}");
            let w = if act.gated() { 2 * f } else { f };
            let mut u = draw.normal(n * w, 2.0);
            // a finite difference across a kink is no derivative
            u.iter_mut().filter(|v| v.abs() < 0.01).for_each(|v| *v = 0.5);
            let d = draw.normal(n * f, 0.3);
            let got = backward(act, &tensor(&u, &[n, w]), &tensor(&d, &[n, f]));
            let (u, d) = (wide(&u), wide(&d));
            let mut want = Vec::new();
            for t in 0..n {
                let (u, d) = (&u[t * w..(t + 1) * w], &d[t * f..(t + 1) * f]);
                for c in 0..w {
                    let i = c % f;
                    let slope = match (act.gated(), c < f) {
                        (false, _) => of.slope(u[i]),
                        (true, true) => u[f + i] * of.slope(u[i]),
                        (true, false) => (of.value)(u[i]),
                    };
                    // Derivatives add terms up to |x| s (1 - s) du + s, each with the relative error of the sigmoid;
                    // |x s (1-s) du| < 1.2 for GELU and 0.5 for SiLU, so 2 bounds their sum.
                    let up = if act.gated() && c < f { u[f + i].abs() } else { 1.0 };
                    let scale = if of.pieces.is_none() && c < f { 2.0 * up } else { slope.abs() };
                    let bound = d[i].abs() * (scale * ((of.roundings)(u[i]) + 4.0) * U + 1e-10 * (1.0 + up));
                    want.push(Bounded::new(d[i] * slope, bound));
                }
            }
            assert_all(&name, &values(&got), &want);
        }
    }
}

#[test]
fn large_inputs_saturate_without_overflow() {
    for act in [Activation::Gelu, Activation::Silu] {
        let u = [1e4f32, -1e4, 60.0, -60.0, 1e10, -1e10];
        let t = tensor(&u, &[1, 6]);
        let (a, _) = forward(act, &t, Stats::Off);
        let d = backward(act, &t, &tensor(&[1.0; 6], &[1, 6]));
        for ((x, a), d) in u.iter().zip(values(&a)).zip(values(&d)) {
            // sigmoid(-87) = 1e-38 is where the exponential saturates: |x| 1e-37 is left of it
            let (want, slope) = if *x > 0.0 { (*x, 1.0) } else { (0.0, 0.0) };
            assert!((a - want).abs() <= 1e-6 * want + 1e-20, "{act:?}({x}) = {a}");
            assert!((d - slope).abs() <= 1e-6, "{act:?}'({x}) = {d}");
        }
    }
}
