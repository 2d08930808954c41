//! CPU twin: rows in parallel blocks of fixed size, statistics summed in block order.

use multiversion::multiversion;
use rayon::prelude::*;

use super::forms::{Norm, WriteStats};
use crate::Stats;
use crate::simd::{LANES, dot, fold, reduce, sum};

/// Tokens per task: fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 64;

/// Elements whose sums stay in float32 lanes before they join the float64 totals.
const FOLD: usize = 512;
/// Rows that go through each stage together: a reduction's last folds wait for one another, those of other rows do not.
const GROUP: usize = 4;

/// What a forward needs beside the stream.
pub struct Forward<'a> {
    /// Which normalization.
    pub kind: Norm,
    /// Added to the variance.
    pub eps: f32,
    /// Width.
    pub d: usize,
    /// `[d]`.
    pub gain: &'a [f32],
    /// `[d]`.
    pub bias: Option<&'a [f32]>,
    /// Whether to measure the write.
    pub stats: Stats,
}

#[derive(Default)]
struct Partial {
    sums: [f64; 4],
    columns: Vec<f32>,
}

/// `x = Norm(h) * gain + bias`.
///
/// # Shapes
/// `h`, `x` `[N, d]`; `mean_rstd [2, N]`.
///
/// # Panics
/// Slices of other lengths.
pub fn forward_plain(a: &Forward<'_>, h: &[f32], x: &mut [f32], mean_rstd: &mut [f32]) {
    let (mean, rstd) = mean_rstd.split_at_mut(h.len() / a.d);
    h.par_chunks(BLOCK * a.d)
        .zip(x.par_chunks_mut(BLOCK * a.d))
        .zip(mean.par_chunks_mut(BLOCK).zip(rstd.par_chunks_mut(BLOCK)))
        .for_each(|((h, x), (m, r))| normalize_block(a, h, x, m, r));
}

/// `out = h + w; x = Norm(out) * gain + bias`, and the write's statistics where asked for.
///
/// # Shapes
/// As [`forward_plain`]; `w`, `out` `[N, d]`.
///
/// # Panics
/// Slices of other lengths.
pub fn forward_add(
    a: &Forward<'_>,
    h: &[f32],
    w: &[f32],
    out: &mut [f32],
    x: &mut [f32],
    mean_rstd: &mut [f32],
) -> Option<WriteStats> {
    let n = h.len() / a.d;
    let (mean, rstd) = mean_rstd.split_at_mut(n);
    let partials: Vec<Partial> = h
        .par_chunks(BLOCK * a.d)
        .zip(w.par_chunks(BLOCK * a.d))
        .zip(out.par_chunks_mut(BLOCK * a.d).zip(x.par_chunks_mut(BLOCK * a.d)))
        .zip(mean.par_chunks_mut(BLOCK).zip(rstd.par_chunks_mut(BLOCK)))
        .map(|(((h, w), (out, x)), (m, r))| {
            let mut p = Partial { sums: [0.0; 4], columns: vec![0.0; if a.stats.taken() { a.d } else { 0 }] };
            add_block(a, h, w, out, &mut p);
            normalize_block(a, out, x, m, r);
            p
        })
        .collect();
    if !a.stats.taken() {
        return None;
    }
    let mut sums = [0f64; 4];
    let mut columns = vec![0f64; a.d];
    for p in &partials {
        sums.iter_mut().zip(&p.sums).for_each(|(s, v)| *s += v);
        columns.iter_mut().zip(&p.columns).for_each(|(c, v)| *c += f64::from(*v));
    }
    let common = columns.iter().map(|c| (c / n as f64).powi(2)).sum();
    Some(WriteStats::finish(n, sums, common))
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn add_block(a: &Forward<'_>, h: &[f32], w: &[f32], out: &mut [f32], p: &mut Partial) {
    let d = a.d;
    let rows = (FOLD / d).max(1);
    let mut acc = [[0f32; LANES]; 4];
    for (t, ((h, w), out)) in
        h.chunks_exact(d).zip(w.chunks_exact(d)).zip(out.chunks_exact_mut(d)).enumerate()
    {
        if !a.stats.taken() {
            for i in 0..d {
                out[i] = h[i] + w[i];
            }
            continue;
        }
        let whole = d / LANES * LANES;
        let mut i = 0;
        while i < whole {
            let (hc, wc) = (&h[i..i + LANES], &w[i..i + LANES]);
            let (oc, cc) = (&mut out[i..i + LANES], &mut p.columns[i..i + LANES]);
            for l in 0..LANES {
                let (hv, wv) = (hc[l], wc[l]);
                let ov = hv + wv;
                oc[l] = ov;
                cc[l] += wv;
                acc[0][l] = wv.mul_add(wv, acc[0][l]);
                acc[1][l] = wv.mul_add(hv, acc[1][l]);
                acc[2][l] = hv.mul_add(hv, acc[2][l]);
                acc[3][l] = ov.mul_add(ov, acc[3][l]);
            }
            i += LANES;
        }
        for i in whole..d {
            let (hv, wv) = (h[i], w[i]);
            let ov = hv + wv;
            out[i] = ov;
            p.columns[i] += wv;
            acc[0][i - whole] += wv * wv;
            acc[1][i - whole] += wv * hv;
            acc[2][i - whole] += hv * hv;
            acc[3][i - whole] += ov * ov;
        }
        if (t + 1) % rows == 0 {
            fold_all(&mut acc, &mut p.sums);
        }
    }
    fold_all(&mut acc, &mut p.sums);
}

/// Moves the lanes' sums into the float64 totals.
#[inline(always)]
fn fold_all(acc: &mut [[f32; LANES]; 4], sums: &mut [f64; 4]) {
    for (s, a) in sums.iter_mut().zip(acc) {
        *s += f64::from(fold(*a));
        *a = [0.0; LANES];
    }
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn normalize_block(a: &Forward<'_>, h: &[f32], x: &mut [f32], mean: &mut [f32], rstd: &mut [f32]) {
    let d = a.d;
    let inv = 1.0 / d as f32;
    let gain = &a.gain[..d];
    for (g, (h, x)) in h.chunks(GROUP * d).zip(x.chunks_mut(GROUP * d)).enumerate() {
        let at = g * GROUP..g * GROUP + h.len() / d;
        let (mean, rstd) = (&mut mean[at.clone()], &mut rstd[at]);
        for (h, mu) in h.chunks_exact(d).zip(&mut *mean) {
            *mu = match a.kind {
                Norm::LayerNorm => sum(h) * inv,
                Norm::RmsNorm => 0.0,
            };
        }
        for (h, (mu, r)) in h.chunks_exact(d).zip(mean.iter().zip(&mut *rstd)) {
            let var = reduce(h, h, h, |s, h, _, _| (h - mu).mul_add(h - mu, s)) * inv;
            *r = 1.0 / (var + a.eps).sqrt();
        }
        for ((h, x), (mu, r)) in h.chunks_exact(d).zip(x.chunks_exact_mut(d)).zip(mean.iter().zip(&*rstd)) {
            match a.bias {
                Some(b) => {
                    let b = &b[..d];
                    for i in 0..d {
                        x[i] = ((h[i] - mu) * r).mul_add(gain[i], b[i]);
                    }
                }
                None => {
                    for i in 0..d {
                        x[i] = (h[i] - mu) * r * gain[i];
                    }
                }
            }
        }
    }
}

/// What [`backward`] reads, `[N, d]` unless said otherwise.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    /// Which normalization.
    pub kind: Norm,
    /// The stream after the write.
    pub h: &'a [f32],
    /// As the forward left it, `[2, N]`.
    pub mean_rstd: &'a [f32],
    /// `[d]`.
    pub gain: &'a [f32],
    /// Gradient at the normalized stream.
    pub dx: &'a [f32],
    /// Gradient that reaches the stream past this norm.
    pub residual: Option<&'a [f32]>,
}

/// `dh = d_residual + J_norm^T dx`, with the gradients of gain and bias.
///
/// # Shapes
/// `dh [N, d]`, `d_gain [d]`, `d_bias [d]` or none.
///
/// # Panics
/// Slices of other lengths.
pub fn backward(a: &Backward<'_>, dh: &mut [f32], d_gain: &mut [f32], d_bias: Option<&mut [f32]>) {
    let d = a.gain.len();
    let partials: Vec<(Vec<f32>, Vec<f32>)> = dh
        .par_chunks_mut(BLOCK * d)
        .enumerate()
        .map(|(b, dh)| {
            let (mut dg, mut db) = (vec![0f32; d], vec![0f32; d]);
            backward_block(a, b * BLOCK, dh, &mut dg, &mut db);
            (dg, db)
        })
        .collect();
    add_up(d_gain, partials.iter().map(|p| &p.0));
    if let Some(d_bias) = d_bias {
        add_up(d_bias, partials.iter().map(|p| &p.1));
    }
}

/// `total` = the sum of `parts`, in order.
fn add_up<'a>(total: &mut [f32], parts: impl Iterator<Item = &'a Vec<f32>>) {
    total.fill(0.0);
    parts.for_each(|p| total.iter_mut().zip(p).for_each(|(t, v)| *t += v));
}

/// The tokens of `dh`, the first of which is number `first`. With `y = (h - mu) r`, `g = dx * gain`:
/// `dh = r (g - mean(g) - y mean(g y))`, the mean of g only for LayerNorm.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn backward_block(a: &Backward<'_>, first: usize, dh: &mut [f32], dg: &mut [f32], db: &mut [f32]) {
    let d = a.gain.len();
    let inv = 1.0 / d as f32;
    let (mean, rstd) = a.mean_rstd.split_at(a.h.len() / d);
    let (gain, dg, db) = (&a.gain[..d], &mut dg[..d], &mut db[..d]);
    for (t, dh) in (first..).zip(dh.chunks_exact_mut(d)) {
        let (h, dx) = (&a.h[t * d..(t + 1) * d], &a.dx[t * d..(t + 1) * d]);
        let (mu, r) = (mean[t], rstd[t]);
        for i in 0..d {
            let y = (h[i] - mu) * r;
            dg[i] = dx[i].mul_add(y, dg[i]);
            db[i] += dx[i];
            dh[i] = dx[i] * gain[i];
        }
        let mean_g = match a.kind {
            Norm::LayerNorm => sum(dh) * inv,
            Norm::RmsNorm => 0.0,
        };
        // sum(g y) = r (sum(g h) - mu sum(g))
        let mean_gy = match a.kind {
            Norm::LayerNorm => reduce(dh, h, h, |s, g, h, _| g.mul_add(h - mu, s)) * r * inv,
            Norm::RmsNorm => dot(dh, h) * r * inv,
        };
        match a.residual {
            Some(res) => {
                let res = &res[t * d..(t + 1) * d];
                for i in 0..d {
                    let y = (h[i] - mu) * r;
                    dh[i] = r.mul_add(dh[i] - mean_g - y * mean_gy, res[i]);
                }
            }
            None => {
                for i in 0..d {
                    let y = (h[i] - mu) * r;
                    dh[i] = r * (dh[i] - mean_g - y * mean_gy);
                }
            }
        }
    }
}
