//! Activations against float64, ungated and gated, both directions.

#[path = "../../tests/reference/nonlinearity.rs"]
#[allow(dead_code)] // the roundings are the CPU's
mod nonlinearity;
mod support;

use growthpath_emu::{Arg, Bf16, Schedule};
use nonlinearity::Reference;
use support::*;

/// Error of act and of its slope: exponents of size x^2 / 2 lose that many roundings, on values of size |x| at most.
fn error(x: f64) -> f64 {
    16.0 * U32 * (1.0 + x.abs()) * (1.0 + x * x / 2.0).min(30.0)
}

fn check<S: Storage>(n: usize, f: usize, parts: usize, of: &Reference, gated: bool, schedule: Schedule) {
    let kind = of.code;
    let act = of.value;
    let mut rng = Rng((n * 1000 + f) as u64 + kind as u64);
    let width = if gated { 2 * f } else { f };
    let mut up = rng.normals::<S>(n * width, 0.0, 2.0);
    // the far tails, zero and a large value as well
    for (v, x) in up.iter_mut().zip([0.0, -0.0, -6.0, 6.0, 30.0, -30.0, 1e-20]) {
        *v = S::new(x);
    }
    // Every third case without a bias.
    let bias = (!f.is_multiple_of(3)).then(|| rng.normals::<f32>(width, 0.0, 1.0));
    // What the kernel activates: one float32 addition, to the bit.
    let input = |i: usize| -> f64 { (up[i].get32() + bias.as_ref().map_or(0.0, |b| b[i % width])).into() };
    let sizes: [Arg<'_>; 4] = [(n as i32).into(), (f as i32).into(), kind.into(), i32::from(gated).into()];
    let grid = [blocks(f, columns_a_block(f)), parts as u32, 1];
    let mut a = unwritten::<S>(n * f);
    let (mut energy, mut colsum) = (unwritten::<f32>(parts * grid[0] as usize), unwritten::<f32>(parts * f));
    let mut args: Vec<Arg<'_>> =
        vec![(&up).into(), bias.as_ref().into(), (&mut a).into(), (&mut energy).into(), (&mut colsum).into()];
    args.extend(sizes);
    launch(&format!("activation_fwd_{}", S::NAME), grid, [128, 1, 1], schedule, &args);
    let mut squares = 0.0;
    for r in 0..n {
        for c in 0..f {
            let x = input(r * width + c);
            let u = if gated { input(r * width + f + c) } else { 1.0 };
            let want = act(x) * u;
            let got = a[r * f + c].get();
            let own = if of.pieces.is_some() { 4.0 * U32 * want.abs() } else { error(x) * u.abs() };
            close(&format!("act {kind} of {x}"), got, want, own + 1.01 * S::U * want.abs());
            squares += got * got;
        }
    }
    // Statistics are of the stored values. Rows a thread adds up, four values each, and ten tree additions.
    let steps = 4.0 * n.div_ceil(parts) as f64 + 12.0;
    let total = reduce(&energy, 1, energy.len(), 1, 0)[0].get();
    close("energy", total, squares, steps * U32 * squares);
    let sums = reduce(&colsum, 1, parts, f, 0);
    for c in 0..f {
        let column = (0..n).map(|r| a[r * f + c].get());
        let size: f64 = column.clone().map(f64::abs).sum();
        close("column sum", sums[c].get(), column.sum(), (n as f64 + 1.0) * U32 * size);
    }

    let da = rng.normals::<S>(n * f, 0.0, 1.0);
    let mut dup = unwritten::<S>(n * width);
    let mut dupsum = unwritten::<f32>(parts * width);
    let mut args: Vec<Arg<'_>> =
        vec![(&da).into(), (&up).into(), bias.as_ref().into(), (&mut dup).into(), (&mut dupsum).into()];
    args.extend(sizes);
    launch(&format!("activation_bwd_{}", S::NAME), grid, [128, 1, 1], schedule, &args);
    for r in 0..n {
        for c in 0..f {
            let (x, g) = (input(r * width + c), da[r * f + c].get());
            let u = if gated { input(r * width + f + c) } else { 1.0 };
            let want = g * u * of.slope(x);
            // 1e-9: the difference quotient's own error
            let own = (error(x) + 1e-9) * (g * u).abs();
            close(
                &format!("slope {kind} at {x}"),
                dup[r * width + c].get(),
                want,
                own + 1.01 * S::U * want.abs(),
            );
            if gated {
                let want = g * act(x);
                let own = (error(x) + 4.0 * U32 * act(x).abs()) * g.abs();
                close("d up", dup[r * width + f + c].get(), want, own + 1.01 * S::U * want.abs());
            }
        }
    }
    let sums = reduce(&dupsum, 1, parts, width, 0);
    for c in 0..width {
        let column = (0..n).map(|r| dup[r * width + c].get());
        let size: f64 = column.clone().map(f64::abs).sum();
        close("bias gradient", sums[c].get(), column.sum(), (n as f64 + 1.0) * U32 * size);
    }
}

#[test]
fn an_unknown_activation_is_loud() {
    let (up, mut a) = (vec![1f32; 8], unwritten::<f32>(8));
    let (mut energy, mut columns) = (unwritten::<f32>(1), unwritten::<f32>(8));
    let args = [
        (&up).into(),
        None::<&Vec<f32>>.into(),
        (&mut a).into(),
        (&mut energy).into(),
        (&mut columns).into(),
        1i32.into(),
        8i32.into(),
        (-1i32).into(),
        0i32.into(),
    ];
    launch("activation_fwd_f32", [1, 1, 1], [128, 1, 1], Schedule::Forward, &args);
    assert!(a.iter().all(|v| v.is_nan()));
}

fn all<S: Storage>() {
    for (n, f, parts) in [(1, 8, 1), (5, 20, 2), (9, 516, 2), (13, 1032, 2)] {
        for of in nonlinearity::ALL {
            for gated in [false, true] {
                for schedule in Schedule::ALL {
                    check::<S>(n, f, parts, of, gated, schedule);
                }
            }
        }
    }
}

#[test]
fn float() {
    all::<f32>();
}

#[test]
fn bf16() {
    all::<Bf16>();
}
