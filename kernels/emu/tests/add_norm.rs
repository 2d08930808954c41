//! Residual add + normalisation against float64.

mod support;

use growthpath_emu::{Arg, Bf16, Schedule};
use support::*;

const EPS: f32 = 1e-5;
/// Additions on the way of one value into a row's total: up to 32 in the thread, five in each of at most two trees; the
/// rest are the handful of operations around it.
const DEPTH: f64 = 48.0;

struct Case {
    n: usize,
    d: usize,
    parts: usize,
    kind: i32,
    write: bool,
    bias: bool,
    mean: f64,
    /// A warp takes a row, in place of a block.
    warps: bool,
}

impl Case {
    /// Kernel, threads of a block and its shared memory, as the launchers choose them.
    fn kernel<S: Storage>(&self, direction: &str) -> (String, [u32; 3], usize) {
        let storage = S::NAME;
        if self.warps {
            let width = self.d.next_multiple_of(256);
            let (warps, held) = if direction == "fwd" { (8, 2) } else { (4, 3) };
            let name = format!("add_norm_{direction}_w{width}_{storage}");
            return (name, [32 * warps as u32, 1, 1], warps * held * self.d * size_of::<S>());
        }
        let threads = self.d.div_ceil(8).next_multiple_of(32) as u32;
        (format!("add_norm_{direction}_{storage}"), [threads, 1, 1], 0)
    }
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (n, d, parts) in
        [(1, 4, 1), (3, 8, 2), (5, 72, 5), (13, 264, 2), (4, 768, 4), (9, 768, 1), (2, 1024, 1), (2, 8192, 2)]
    {
        for kind in [0, 1] {
            // an offset of 50 deviations: the variance has to survive it
            for (write, bias, mean) in [(true, true, 0.0), (false, false, 0.3), (true, false, 50.0)] {
                let case = |warps| Case { n, d, parts, kind, write, bias, mean, warps };
                all.push(case(false));
                if d % 8 == 0 && d <= 1024 {
                    all.push(case(true));
                }
            }
        }
    }
    all
}

fn forward<S: Storage>(c: &Case, schedule: Schedule) {
    let (n, d) = (c.n, c.d);
    let mut rng = Rng(n as u64 * 1000 + d as u64);
    let h = rng.normals::<S>(n * d, c.mean, 1.0);
    let w = c.write.then(|| rng.normals::<S>(n * d, 0.2, 0.5));
    let shift = (c.write && c.bias).then(|| rng.normals::<f32>(d, 0.1, 0.3));
    let gain = rng.normals::<f32>(d, 1.0, 0.1);
    let bias = c.bias.then(|| rng.normals::<f32>(d, 0.0, 0.1));
    let (mut hout, mut x) = (unwritten::<S>(n * d), unwritten::<S>(n * d));
    let (mut mean, mut rstd) = (unwritten::<f32>(n), unwritten::<f32>(n));
    let (mut energy, mut wsum) = (unwritten::<f32>(c.parts * 4), unwritten::<f32>(c.parts * d));
    let (kernel, threads, shared) = c.kernel::<S>("fwd");
    launch_shared(
        &kernel,
        [c.parts as u32, 1, 1],
        threads,
        shared,
        schedule,
        &[
            (&h).into(),
            w.as_ref().into(),
            shift.as_ref().into(),
            (&gain).into(),
            bias.as_ref().into(),
            (&mut hout).into(),
            (&mut x).into(),
            (&mut mean).into(),
            (&mut rstd).into(),
            (&mut energy).into(),
            (&mut wsum).into(),
            (n as i32).into(),
            (d as i32).into(),
            EPS.into(),
            c.kind.into(),
        ],
    );
    let mut want = [0f64; 4];
    let mut size = [0f64; 4];
    for r in 0..n {
        let at = r * d..(r + 1) * d;
        // The write with the bias of its projection: one float32 addition, to the bit.
        let mut write: Vec<f32> =
            w.as_ref().map_or(vec![0.0; d], |w| w[at.clone()].iter().map(|v| v.get32()).collect());
        if let Some(s) = &shift {
            write.iter_mut().zip(s).for_each(|(w, s)| *w += s);
        }
        // one float32 addition and one rounding: to the bit
        let after: Vec<S> = h[at.clone()].iter().zip(&write).map(|(h, w)| S::new(h.get32() + w)).collect();
        for (i, v) in after.iter().enumerate() {
            let (before, wi, after) = (h[r * d + i].get(), f64::from(write[i]), v.get());
            assert_eq!(hout[r * d + i].get(), after);
            for (k, term) in [wi * wi, wi * before, before * before, after * after].into_iter().enumerate() {
                want[k] += term;
                size[k] += term.abs();
            }
        }
        let v = f64s(&after);
        let mu = if c.kind == 0 { v.iter().sum::<f64>() / d as f64 } else { 0.0 };
        let variance = v.iter().map(|v| (v - mu).powi(2)).sum::<f64>() / d as f64;
        let inverse = 1.0 / (variance + f64::from(EPS)).sqrt();
        let mean_size = v.iter().map(|v| v.abs()).sum::<f64>() / d as f64;
        // The mean's error, DEPTH u E|h'|, moves every centred value by as much; its square is in the variance.
        let shift = if c.kind == 0 { DEPTH * U32 * mean_size } else { 0.0 };
        let rstd_error = DEPTH * U32 + 2.0 * shift * inverse;
        close("mean", mean[r].get(), mu, shift);
        close("rstd", rstd[r].get(), inverse, inverse * rstd_error);
        for i in 0..d {
            let (g, b) = (gain[i].get(), bias.as_ref().map_or(0.0, |b| b[i].get()));
            let unit = (v[i] - mu) * inverse;
            let y = unit * g + b;
            let tolerance = S::U * y.abs() * 1.01
                + g.abs() * (inverse * (shift + U32 * v[i].abs()) + unit.abs() * (rstd_error + 4.0 * U32))
                + 2.0 * U32 * b.abs();
            close("x", x[r * d + i].get(), y, tolerance);
        }
    }
    // Up to 32 values a row in one thread, ten additions in the trees, the products.
    let steps = 32.0 * n.div_ceil(c.parts) as f64 + 13.0;
    for (k, got) in reduce(&energy, 1, c.parts, 4, 0).iter().enumerate() {
        close(&format!("energy {k}"), got.get(), want[k], steps * U32 * size[k]);
    }
    let sums = reduce(&wsum, 1, c.parts, d, 0);
    for i in 0..d {
        let add = shift.as_ref().map_or(0.0, |s| s[i]);
        let column = |r: usize| w.as_ref().map_or(0.0, |w| f64::from(w[r * d + i].get32() + add));
        let size: f64 = (0..n).map(|r| column(r).abs()).sum();
        close("column sum", sums[i].get(), (0..n).map(column).sum(), (n as f64 + 1.0) * U32 * size);
    }
}

fn backward<S: Storage>(c: &Case, schedule: Schedule) {
    let (n, d) = (c.n, c.d);
    let mut rng = Rng(7 + n as u64 * 1000 + d as u64);
    let h = rng.normals::<S>(n * d, c.mean, 1.0);
    let dx = rng.normals::<S>(n * d, 0.1, 1.0);
    let dres = c.write.then(|| rng.normals::<S>(n * d, 0.0, 1.0));
    let gain = rng.normals::<f32>(d, 1.0, 0.1);
    let mut mean = vec![0f32; n];
    let mut rstd = vec![0f32; n];
    for r in 0..n {
        let v = f64s(&h[r * d..(r + 1) * d]);
        let mu = if c.kind == 0 { v.iter().sum::<f64>() / d as f64 } else { 0.0 };
        mean[r] = mu as f32;
        let variance = v.iter().map(|v| (v - mu).powi(2)).sum::<f64>() / d as f64;
        rstd[r] = (1.0 / (variance + f64::from(EPS)).sqrt()) as f32;
    }
    let mut dh = unwritten::<S>(n * d);
    let mut dgain = unwritten::<f32>(c.parts * d);
    let mut dbias = c.bias.then(|| unwritten::<f32>(c.parts * d));
    let mut dwrite = (c.write && c.warps).then(|| unwritten::<f32>(c.parts * d));
    let write = [dwrite.as_mut().map_or(Arg::NULL, Arg::from)]; // a block that takes rows one by one does not add them up
    let (kernel, threads, shared) = c.kernel::<S>("bwd");
    launch_shared(
        &kernel,
        [c.parts as u32, 1, 1],
        threads,
        shared,
        schedule,
        &[
            &[
                (&dx).into(),
                dres.as_ref().into(),
                (&h).into(),
                (&mean).into(),
                (&rstd).into(),
                (&gain).into(),
                (&mut dh).into(),
                (&mut dgain).into(),
                dbias.as_mut().map_or(Arg::NULL, Arg::from),
            ][..],
            if c.warps { &write } else { &[] },
            &[(n as i32).into(), (d as i32).into(), c.kind.into()],
        ]
        .concat(),
    );
    let (mut to_gain, mut gain_size) = (vec![0f64; d], vec![0f64; d]);
    let (mut to_bias, mut bias_size) = (vec![0f64; d], vec![0f64; d]);
    for r in 0..n {
        let (mu, inverse) = (mean[r].get(), rstd[r].get());
        // `unit` carries the rounding of h' - mean: u |h' - mean| at most, exact products otherwise.
        let unit: Vec<f64> = (0..d).map(|i| (h[r * d + i].get() - mu) * inverse).collect();
        let pull: Vec<f64> = (0..d).map(|i| dx[r * d + i].get() * gain[i].get()).collect();
        let mean_of = |f: &dyn Fn(usize) -> f64| (0..d).map(f).sum::<f64>() / d as f64;
        let common = if c.kind == 0 { mean_of(&|i| pull[i]) } else { 0.0 };
        let along = mean_of(&|i| pull[i] * unit[i]);
        let (common_size, along_size) =
            (mean_of(&|i| pull[i].abs()), mean_of(&|i| (pull[i] * unit[i]).abs()));
        for i in 0..d {
            let res = dres.as_ref().map_or(0.0, |g| g[r * d + i].get());
            let y = res + inverse * (pull[i] - common - unit[i] * along);
            let size = inverse * (pull[i].abs() + common_size + unit[i].abs() * along_size);
            close("dh", dh[r * d + i].get(), y, S::U * 1.01 * y.abs() + DEPTH * U32 * size + U32 * res.abs());
            to_gain[i] += dx[r * d + i].get() * unit[i];
            gain_size[i] += (dx[r * d + i].get() * unit[i]).abs();
            to_bias[i] += dx[r * d + i].get();
            bias_size[i] += dx[r * d + i].get().abs();
        }
    }
    let steps = n as f64 + 6.0; // the rows of all threads, and the roundings of a term
    let got = reduce(&dgain, 1, c.parts, d, 0);
    for i in 0..d {
        close("dgain", got[i].get(), to_gain[i], steps * U32 * gain_size[i]);
    }
    if let Some(partial) = dwrite {
        let got = reduce(&partial, 1, c.parts, d, 0);
        for i in 0..d {
            // of the values as they were stored
            let column = || (0..n).map(|r| dh[r * d + i].get());
            let size: f64 = column().map(f64::abs).sum();
            close("column sums of dh", got[i].get(), column().sum(), steps * U32 * size);
        }
    }
    if let Some(partial) = dbias {
        let got = reduce(&partial, 1, c.parts, d, 0);
        for i in 0..d {
            close("dbias", got[i].get(), to_bias[i], steps * U32 * bias_size[i]);
        }
    }
}

#[test]
fn forward_matches_in_every_schedule() {
    for c in cases() {
        for schedule in Schedule::ALL {
            forward::<f32>(&c, schedule);
            forward::<Bf16>(&c, schedule);
        }
    }
}

#[test]
fn backward_matches_in_every_schedule() {
    for c in cases() {
        for schedule in Schedule::ALL {
            backward::<f32>(&c, schedule);
            backward::<Bf16>(&c, schedule);
        }
    }
}
