//! Every activation, value and derivative, and the hidden statistics.

use growthpath_kernels::activation::{Activation, backward, forward};

use crate::support::{Bounded, Draw, U, assert_all, assert_close, finite_differences, tensor, values, wide};

const ALL: [Activation; 8] = [
    Activation::Gelu,
    Activation::Relu,
    Activation::Relu2,
    Activation::Silu,
    Activation::Geglu,
    Activation::Swiglu,
    Activation::Reglu,
    Activation::Bilinear,
];
const SHAPES: [(usize, usize); 6] = [(1, 1), (1, 33), (3, 15), (65, 16), (64, 20), (130, 171)];

fn scalar(act: Activation, x: f64) -> f64 {
    match act {
        Activation::Gelu | Activation::Geglu => {
            // 0.5 (1 + tanh u) as a logistic function: 1 + tanh u cancels in float64 too
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            x / (1.0 + (-2.0 * u).exp())
        }
        Activation::Silu | Activation::Swiglu => x / (1.0 + (-x).exp()),
        Activation::Relu | Activation::Reglu => x.max(0.0),
        Activation::Relu2 => x.max(0.0).powi(2),
        Activation::Bilinear => x,
    }
}

fn smooth(act: Activation) -> bool {
    !matches!(act, Activation::Relu | Activation::Reglu | Activation::Relu2)
}

/// Relative error of the value: the sigmoid's argument `z` is rounded some six times (relative, so `6 U |z|` of its
/// exponential), the exponential itself errs by 3 ulp = 6 U, four more operations follow.
fn relative(act: Activation, x: f64) -> f64 {
    match act {
        Activation::Gelu | Activation::Geglu => (12.0 + 6.0 * 1.6 * (x + 0.045 * x.powi(3)).abs()) * U,
        Activation::Silu | Activation::Swiglu => (12.0 + 2.0 * x.abs()) * U,
        _ => 3.0 * U,
    }
}

#[test]
fn values_and_statistics_match_float64() {
    let mut draw = Draw::new();
    for act in ALL {
        for (n, f) in SHAPES {
            let name = format!("{act:?} {n}x{f}");
            let w = if act.gated() { 2 * f } else { f };
            let u = draw.normal(n * w, 2.5);
            let (a, stats) = forward(act, &tensor(&u, &[n, w]), true).unwrap();
            let u = wide(&u);
            let want: Vec<_> = (0..n * f)
                .map(|e| {
                    let (t, i) = (e / f, e % f);
                    let up = if act.gated() { u[t * w + f + i] } else { 1.0 };
                    let (x, v) = (u[t * w + i], scalar(act, u[t * w + i]) * up);
                    Bounded::new(v, (relative(act, x) + U) * v.abs())
                })
                .collect();
            assert_all(&name, &values(&a), &want);
            let (plain, none) = forward(act, &tensor(&values(&tensor(&[0.5], &[1])), &[1, 1]), false)
                .map_or((None, None), |(a, s)| (Some(a), s));
            assert_eq!(plain.is_some(), !act.gated(), "{name}: one column is half a gated input");
            assert!(none.is_none(), "{name}: no statistics unless asked for");
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
fn backward_matches_finite_differences_of_the_reference() {
    let mut draw = Draw::new();
    for act in ALL {
        for (n, f) in SHAPES {
            let name = format!("{act:?} backward {n}x{f}");
            let w = if act.gated() { 2 * f } else { f };
            let mut u = draw.normal(n * w, 2.0);
            // a finite difference across a kink is no derivative
            u.iter_mut().filter(|v| v.abs() < 0.01).for_each(|v| *v = 0.5);
            let d = draw.normal(n * f, 0.3);
            let got = backward(act, &tensor(&u, &[n, w]), &tensor(&d, &[n, f])).unwrap();
            let (u, d) = (wide(&u), wide(&d));
            let mut want = Vec::new();
            for t in 0..n {
                let (u, d) = (&u[t * w..(t + 1) * w], &d[t * f..(t + 1) * f]);
                for c in 0..w {
                    let i = c % f;
                    let unit = |x: &[f64]| {
                        let up = if act.gated() { x[1] } else { 1.0 };
                        scalar(act, x[0]) * up
                    };
                    let at = if act.gated() { vec![u[i], u[f + i]] } else { vec![u[i]] };
                    let slope = finite_differences(&at, unit)[c / f];
                    // Derivatives add terms up to |x| s (1 - s) du + s, each with the relative error of the sigmoid;
                    // |x s (1-s) du| < 1.2 for GELU and 0.5 for SiLU, so 2 bounds their sum.
                    let up = if act.gated() && c < f { u[f + i].abs() } else { 1.0 };
                    let scale = if smooth(act) && c < f { 2.0 * up } else { slope.abs() };
                    let bound = d[i].abs() * (scale * (relative(act, u[i]) + 4.0 * U) + 1e-10 * (1.0 + up));
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
        let (a, _) = forward(act, &t, false).unwrap();
        let d = backward(act, &t, &tensor(&[1.0; 6], &[1, 6])).unwrap();
        for ((x, a), d) in u.iter().zip(values(&a)).zip(values(&d)) {
            // sigmoid(-87) = 1e-38 is where the exponential saturates: |x| 1e-37 is left of it
            let (want, slope) = if *x > 0.0 { (*x, 1.0) } else { (0.0, 0.0) };
            assert!((a - want).abs() <= 1e-6 * want + 1e-20, "{act:?}({x}) = {a}");
            assert!((d - slope).abs() <= 1e-6, "{act:?}'({x}) = {d}");
        }
    }
}
