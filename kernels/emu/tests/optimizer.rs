//! Optimizer steps, clipping and slice statistics against float64.

mod support;

use growthpath_emu::Schedule;
use support::*;

/// The kernels' `Chunk`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Chunk {
    param: *mut f32,
    grad: *const f32,
    m: *mut f32,
    v: *mut f32,
    rows: u32,
    cols: u32,
    stride: u32,
    group: u32,
    decay: u32,
    slice: i32,
}

/// A window into the one set of arrays that the test uses: offset, rows, columns, stride, slice.
struct Window(usize, u32, u32, u32, i32);

/// Two slices of several chunks, strided and flat, a chunk of one element, and two outside every slice.
const WINDOWS: &[Window] = &[
    Window(0, 5, 32, 96, 0),
    Window(32, 5, 32, 96, 0),
    Window(480, 1, 7, 7, 0),
    Window(64, 5, 32, 96, 1),
    Window(487, 1, 1, 1, 1),
    Window(488, 1, 1000, 1000, -1),
    Window(1488, 1, 3, 3, -1),
];
const LEN: usize = 1491;

impl Window {
    fn elements(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.1).flat_map(move |r| (0..self.2).map(move |c| self.0 + (r * self.3 + c) as usize))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    AdamW,
    Sgd(f32),
}

fn check(rule: Rule, max_norm: f32, schedule: Schedule) {
    let mut rng = Rng(11);
    let before = rng.normals::<f32>(LEN, 0.0, 0.5);
    let grad = rng.normals::<f32>(LEN, 0.05, 0.3);
    let m0 = rng.normals::<f32>(LEN, 0.0, 0.1);
    let v0: Vec<f32> = rng.normals::<f32>(LEN, 0.0, 0.2).iter().map(|v| v * v).collect();
    let (mut param, mut m, mut v) = (before.clone(), m0.clone(), v0.clone());
    let (lr, beta1, beta2, eps, decay) = (0.01f32, 0.9f32, 0.95f32, 1e-8f32, 0.1f32);
    let (bc1, bc2) = (1.0 - beta1.powi(3), 1.0 - beta2.powi(3));
    let multipliers = [1.0f32, 0.25];
    let mult = |k: usize| multipliers[k % 2];
    let constants = match rule {
        Rule::AdamW => [lr, beta1, beta2, eps, decay, bc1, bc2, max_norm],
        Rule::Sgd(momentum) => [lr, momentum, 0.0, 0.0, decay, 1.0, 1.0, max_norm],
    };
    let step = [&constants[..], &multipliers].concat();
    let chunks: Vec<Chunk> = WINDOWS
        .iter()
        .enumerate()
        .map(|(k, w)| Chunk {
            // Within the arrays: every window ends before LEN.
            param: param.as_mut_ptr().wrapping_add(w.0),
            grad: grad.as_ptr().wrapping_add(w.0),
            m: m.as_mut_ptr().wrapping_add(w.0),
            v: if rule == Rule::AdamW { v.as_mut_ptr().wrapping_add(w.0) } else { std::ptr::null_mut() },
            rows: w.1,
            cols: w.2,
            stride: w.3,
            group: (k % 2) as u32,
            decay: u32::from(k != 2),
            slice: w.4,
        })
        .collect();
    assert_eq!(size_of::<Chunk>(), 56);
    let count = chunks.len();
    let (mut norms, mut clip) = (unwritten::<f32>(count), unwritten::<f32>(2));
    let whole = [count as u32, 1, 1];
    let threads = [256, 1, 1];
    launch("grad_norm_partials", whole, threads, schedule, &[(&chunks).into(), (&mut norms).into()]);
    launch(
        "grad_norm_finish",
        [1, 1, 1],
        threads,
        schedule,
        &[(&norms).into(), (&mut clip).into(), (count as i32).into(), (&step).into()],
    );
    let used = || WINDOWS.iter().flat_map(Window::elements);
    assert_eq!(used().count(), used().collect::<std::collections::BTreeSet<_>>().len());
    let norm = used().map(|i| grad[i].get().powi(2)).sum::<f64>().sqrt();
    // Squares, four elements a thread, ten tree levels; half of the sum's error survives the root.
    close("norm", clip[0].get(), norm, 10.0 * U32 * norm);
    let scale = if max_norm > 0.0 && norm > f64::from(max_norm) { f64::from(max_norm) / norm } else { 1.0 };
    close("clip", clip[1].get(), scale, 12.0 * U32 * scale);

    let mut partial = unwritten::<f32>(count * 7);
    launch(
        if rule == Rule::AdamW { "adamw" } else { "sgd" },
        whole,
        threads,
        schedule,
        &[(&chunks).into(), (&step).into(), (&clip).into(), (&mut partial).into()],
    );
    let begin: Vec<u32> = vec![0, 3, 5];
    let mut stats = unwritten::<f32>(2 * 7);
    launch(
        "slice_stats",
        [1, 2, 1],
        [32, 1, 1],
        schedule,
        &[(&partial).into(), (&begin).into(), (&mut stats).into()],
    );

    let clip = clip[1].get();
    let (mut want, mut size) = ([[0f64; 7]; 2], [[0f64; 7]; 2]);
    for (k, w) in WINDOWS.iter().enumerate() {
        for i in w.elements() {
            let (raw, w0) = (grad[i].get(), before[i].get());
            let g = raw * clip;
            let (direction, error) = match rule {
                Rule::AdamW => {
                    let (b1, b2) = (beta1.get(), beta2.get());
                    let m1 = b1 * m0[i].get() + (1.0 - b1) * g;
                    let m_error = 3.0 * U32 * ((b1 * m0[i].get()).abs() + ((1.0 - b1) * g).abs());
                    let v1 = b2 * v0[i].get() + (1.0 - b2) * g * g;
                    close("m", m[i].get(), m1, m_error);
                    close("v", v[i].get(), v1, 5.0 * U32 * v1);
                    let below = (v1 / bc2.get()).sqrt() + eps.get();
                    let direction = m1 / bc1.get() / below;
                    (direction, m_error / bc1.get() / below + 10.0 * U32 * direction.abs())
                }
                Rule::Sgd(momentum) => {
                    let moved = momentum.get() * m0[i].get();
                    if momentum != 0.0 {
                        close("m", m[i].get(), moved + g, 3.0 * U32 * (moved.abs() + g.abs()));
                    } else {
                        assert_eq!(m[i], m0[i], "no momentum leaves its buffer alone");
                    }
                    (moved + g, 3.0 * U32 * (moved.abs() + g.abs()))
                }
            };
            let rate = f64::from(lr * mult(k));
            let shrink = if k != 2 { decay.get() } else { 0.0 };
            let next = w0 - rate * (direction + shrink * w0);
            let tolerance = rate * (error + 4.0 * U32 * (direction.abs() + (shrink * w0).abs()))
                + U32 * next.abs() * 1.01;
            close("param", param[i].get(), next, tolerance);
            if w.4 >= 0 {
                // The step as stored, exactly what the kernel has to measure.
                let d = param[i].get() - w0;
                let terms = [raw * raw, raw.abs(), w0 * w0, d * d, w0 * raw, w0 * d, raw * d];
                let slice = w.4 as usize;
                for (c, term) in terms.into_iter().enumerate() {
                    let sum = if c == 1 { want[slice][c].max(term) } else { want[slice][c] + term };
                    want[slice][c] = sum;
                    size[slice][c] += term.abs();
                }
            }
        }
    }
    for slice in 0..2 {
        let got = &stats[slice * 7..slice * 7 + 7];
        for c in 0..7 {
            // a product (and d's own rounding), one element a thread, ten tree levels, one store
            let tolerance = if c == 1 { 0.0 } else { 16.0 * U32 * size[slice][c] };
            close(&format!("statistic {c}"), got[c].get(), want[slice][c], tolerance);
        }
        // (2.4) |W + dW|^2 - |W|^2 = 2 <W, dW> + |dW|^2, from the kernel's own sums
        let sum = |w: &[f32]| {
            WINDOWS
                .iter()
                .filter(|x| x.4 == slice as i32)
                .flat_map(Window::elements)
                .map(|i| w[i].get().powi(2))
                .sum::<f64>()
        };
        let tolerance = 16.0 * U32 * (2.0 * size[slice][5] + size[slice][3]);
        close("(2.4)", 2.0 * got[5].get() + got[3].get(), sum(&param) - sum(&before), tolerance);
    }
    // Nothing outside the windows has moved.
    let touched: std::collections::BTreeSet<usize> = used().collect();
    for i in (0..LEN).filter(|i| !touched.contains(i)) {
        assert!(param[i] == before[i] && m[i] == m0[i] && v[i] == v0[i]);
    }
}

#[test]
fn adamw_clipped_and_not() {
    for schedule in Schedule::ALL {
        for max_norm in [1.0, 1e6, 0.0] {
            check(Rule::AdamW, max_norm, schedule);
        }
    }
}

#[test]
fn sgd_with_and_without_momentum() {
    for schedule in Schedule::ALL {
        for momentum in [0.0, 0.9] {
            check(Rule::Sgd(momentum), 1.0, schedule);
            check(Rule::Sgd(momentum), 0.0, schedule);
        }
    }
}

#[test]
fn a_nan_gradient_makes_a_nan_scale() {
    let mut clip = vec![0f32; 2];
    launch(
        "grad_norm_finish",
        [1, 1, 1],
        [256, 1, 1],
        Schedule::Forward,
        &[(&vec![1.0f32, f32::NAN]).into(), (&mut clip).into(), 2i32.into(), (&vec![1.0f32; 8]).into()],
    );
    assert!(clip[0].is_nan() && clip[1].is_nan());
}
