//! One block of query rows: softmax with its statistics, and the gradient with respect to the logits.

use multiversion::multiversion;

use super::LogitGradStats;
use crate::simd::{LANES, dot, exp, fold};

/// Sums over the rows of one (sequence, head).
#[derive(Debug, Clone, Copy)]
pub(super) struct RowSums {
    pub max: f32,
    pub s2: f64,
    pub c2: f64,
    pub entropy: f64,
    pub top1: f64,
    pub lse_gap: f32,
}

impl Default for RowSums {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, s2: 0.0, c2: 0.0, entropy: 0.0, top1: 0.0, lse_gap: f32::NEG_INFINITY }
    }
}

/// Turn logits into `exp(s - max)` in place, zero beyond the diagonal; `inv_z` receives 1 / row sum.
///
/// `s [rows, stride]`, row `r` is query `first + r` and has `first + r + 1` keys.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn softmax_block(
    s: &mut [f32],
    stride: usize,
    first: usize,
    lse: &mut [f32],
    inv_z: &mut [f32],
    sums: &mut RowSums,
) {
    for (r, row) in s.chunks_exact_mut(stride).enumerate() {
        let len = first + r + 1;
        let (keys, beyond) = row.split_at_mut(len);
        beyond.fill(0.0);
        let (m, total, s2) = max_sum_squares(keys);
        let mean = total / len as f32;
        let (mut z, mut es, mut c2) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
        let (chunks, tail) = keys.as_chunks_mut::<LANES>();
        for c in chunks {
            for l in 0..LANES {
                let (d, v) = (c[l] - m, c[l] - mean);
                let e = exp(d);
                z[l] += e;
                es[l] = e.mul_add(d, es[l]);
                c2[l] = v.mul_add(v, c2[l]);
                c[l] = e;
            }
        }
        for (l, c) in tail.iter_mut().enumerate() {
            let (d, v) = (*c - m, *c - mean);
            let e = exp(d);
            z[l] += e;
            es[l] += e * d;
            c2[l] += v * v;
            *c = e;
        }
        let (z, es, c2) = (fold(z), fold(es), fold(c2));
        let ln_z = z.ln();
        lse[r] = m + ln_z;
        inv_z[r] = 1.0 / z;
        sums.max = sums.max.max(m);
        sums.s2 += f64::from(s2);
        sums.c2 += f64::from(c2);
        sums.top1 += f64::from(1.0 / z);
        let ln_len = (len as f32).ln();
        if len >= 2 {
            sums.entropy += f64::from((ln_z - es / z) / ln_len);
        }
        sums.lse_gap = sums.lse_gap.max(lse[r] - ln_len - m).max(m - lse[r]);
    }
}

#[inline(always)]
fn max_sum_squares(a: &[f32]) -> (f32, f32, f32) {
    let (mut m, mut s, mut q) = ([f32::NEG_INFINITY; LANES], [0f32; LANES], [0f32; LANES]);
    let (chunks, tail) = a.as_chunks::<LANES>();
    for c in chunks {
        for l in 0..LANES {
            m[l] = if c[l] > m[l] { c[l] } else { m[l] };
            s[l] += c[l];
            q[l] = c[l].mul_add(c[l], q[l]);
        }
    }
    for (l, c) in tail.iter().enumerate() {
        m[l] = m[l].max(*c);
        s[l] += c;
        q[l] += c * c;
    }
    (m.iter().copied().fold(f32::NEG_INFINITY, f32::max), fold(s), fold(q))
}

/// `P = exp(S - lse)` into `p`, `dS = P (dP - delta)` into `dp`, with `sum dS^2` and `sum S dS`.
///
/// `p` enters as S and `dp` as dP, both `[rows, stride]`; `delta_r = <dO_r, O_r>`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn grad_block(
    p: &mut [f32],
    dp: &mut [f32],
    stride: usize,
    first: usize,
    lse: &[f32],
    delta: &[f32],
    sums: &mut LogitGradStats,
) {
    for (r, (p, dp)) in p.chunks_exact_mut(stride).zip(dp.chunks_exact_mut(stride)).enumerate() {
        let len = first + r + 1;
        let (p, p_beyond) = p.split_at_mut(len);
        let (dp, dp_beyond) = dp.split_at_mut(len);
        p_beyond.fill(0.0);
        dp_beyond.fill(0.0);
        let (l_r, d_r) = (lse[r], delta[r]);
        let (mut g2, mut sg) = ([0f32; LANES], [0f32; LANES]);
        let (pc, pt) = p.as_chunks_mut::<LANES>();
        let (dc, dt) = dp.as_chunks_mut::<LANES>();
        for (pc, dc) in pc.iter_mut().zip(dc) {
            for l in 0..LANES {
                let s = pc[l];
                let prob = exp(s - l_r);
                let ds = prob * (dc[l] - d_r);
                pc[l] = prob;
                dc[l] = ds;
                g2[l] = ds.mul_add(ds, g2[l]);
                sg[l] = s.mul_add(ds, sg[l]);
            }
        }
        for (l, (pv, dv)) in pt.iter_mut().zip(dt).enumerate() {
            let s = *pv;
            let prob = exp(s - l_r);
            let ds = prob * (*dv - d_r);
            *pv = prob;
            *dv = ds;
            g2[l] += ds * ds;
            sg[l] += s * ds;
        }
        sums.gs2 += f64::from(fold(g2));
        sums.sgs += f64::from(fold(sg));
    }
}

/// `out_r = <a_r, b_r>` over rows of width `d`, the second matrix with a row stride.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn row_dots(a: &[f32], b: &[f32], d: usize, out: &mut [f32]) {
    for ((a, b), o) in a.chunks_exact(d).zip(b.chunks_exact(d)).zip(out) {
        *o = dot(a, b);
    }
}
