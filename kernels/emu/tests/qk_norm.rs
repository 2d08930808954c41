//! QK-norm against float64, and the invariance that makes (2.1) vanish under it.

mod support;

use growthpath_emu::{Arg, Bf16, Schedule};
use support::*;

const EPS: f32 = 1e-6;

fn check<S: Storage>(n: usize, heads: usize, dh: usize, grid: u32, schedule: Schedule) {
    let mut rng = Rng((n * 1000 + dh) as u64);
    let len = n * 3 * heads * dh;
    let qkv = rng.normals::<S>(len, 0.2, 1.5);
    let gains = [rng.normals::<f32>(dh, 1.0, 0.2), rng.normals::<f32>(dh, 1.0, 0.2)];
    let sizes: [Arg<'_>; 3] = [(n as i32).into(), (heads as i32).into(), (dh as i32).into()];
    let (mut out, mut rstd) = (unwritten::<S>(len), unwritten::<f32>(n * 2 * heads));
    launch(
        &format!("qk_norm_fwd_{}", S::NAME),
        [grid, 1, 1],
        [256, 1, 1],
        schedule,
        &[
            (&qkv).into(),
            (&gains[0]).into(),
            (&gains[1]).into(),
            (&mut out).into(),
            (&mut rstd).into(),
            sizes[0],
            sizes[1],
            sizes[2],
            EPS.into(),
        ],
    );
    let dout = rng.normals::<S>(len, 0.0, 1.0);
    let (mut din, mut partial) = (unwritten::<S>(len), unwritten::<f32>(grid as usize * 2 * dh));
    launch(
        &format!("qk_norm_bwd_{}", S::NAME),
        [grid, 1, 1],
        [256, 1, 1],
        schedule,
        &[
            (&dout).into(),
            (&qkv).into(),
            (&rstd).into(),
            (&gains[0]).into(),
            (&gains[1]).into(),
            (&mut din).into(),
            (&mut partial).into(),
            sizes[0],
            sizes[1],
            sizes[2],
        ],
    );
    let (mut to_gain, mut size) = (vec![0f64; 2 * dh], vec![0f64; 2 * dh]);
    for item in 0..n * 3 * heads {
        let (token, which, head) = (item / (3 * heads), item / heads % 3, item % heads);
        let at = item * dh..(item + 1) * dh;
        let (v, g) = (f64s(&qkv[at.clone()]), f64s(&dout[at.clone()]));
        if which == 2 {
            // values pass untouched, both ways
            assert_eq!(f64s(&out[at.clone()]), v);
            assert_eq!(f64s(&din[at]), g);
            continue;
        }
        let inverse = 1.0 / (v.iter().map(|v| v * v).sum::<f64>() / dh as f64 + f64::from(EPS)).sqrt();
        // nine additions, a division, a root, a reciprocal
        close("rstd", rstd[(token * 2 + which) * heads + head].get(), inverse, 12.0 * U32 * inverse);
        let gain = f64s(&gains[which]);
        let unit: Vec<f64> = v.iter().map(|v| v * inverse).collect();
        let along = (0..dh).map(|c| g[c] * gain[c] * unit[c]).sum::<f64>() / dh as f64;
        let along_size = (0..dh).map(|c| (g[c] * gain[c] * unit[c]).abs()).sum::<f64>() / dh as f64;
        let (mut euler, mut euler_error) = (0.0, 0.0);
        for c in 0..dh {
            let y = unit[c] * gain[c];
            close("out", out[item * dh + c].get(), y, (1.01 * S::U + 15.0 * U32) * y.abs());
            let pull = g[c] * gain[c];
            let d = inverse * (pull - unit[c] * along);
            let tolerance =
                1.01 * S::U * d.abs() + 40.0 * U32 * inverse * (pull.abs() + unit[c].abs() * along_size);
            close("din", din[item * dh + c].get(), d, tolerance);
            euler += v[c] * din[item * dh + c].get();
            euler_error += v[c].abs() * tolerance;
            to_gain[which * dh + c] += g[c] * unit[c];
            size[which * dh + c] += (g[c] * unit[c]).abs();
        }
        // Scaling a vector changes nothing but through eps: <v, dv> = eps inverse^2 sum(pull unit), almost zero.
        let exact = f64::from(EPS) * inverse * inverse * along * dh as f64;
        close("<v, dv>", euler, exact, euler_error);
    }
    let got = reduce(&partial, 1, grid as usize, 2 * dh, 0);
    for c in 0..2 * dh {
        let steps = (n * heads) as f64 + 20.0;
        close("dgain", got[c].get(), to_gain[c], steps * U32 * size[c]);
    }
}

fn all<S: Storage>() {
    for (n, heads, dh, grid) in [(1, 1, 32, 1), (5, 3, 64, 2), (9, 2, 128, 4), (4, 1, 48, 3), (2, 2, 100, 1)]
    {
        for schedule in Schedule::ALL {
            check::<S>(n, heads, dh, grid, schedule);
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
