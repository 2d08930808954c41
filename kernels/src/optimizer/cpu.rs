//! CPU twin: pieces of fixed size in parallel, their sums added in order.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{Moments, Rule, Segment, SliceStats, Update};
use crate::simd::{LANES, dot, fold};
use crate::tensor::SharedMut;

/// Elements per task: fixed, so that sums do not depend on the number of threads.
const PIECE: usize = 8192;
/// Elements whose sums stay in float32 before they join the float64 totals.
const RUN: usize = 512;

pub(super) fn sum_squares(g: &[f32]) -> f64 {
    g.par_chunks(PIECE).map(squares).collect::<Vec<f64>>().iter().sum()
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn squares(g: &[f32]) -> f64 {
    g.chunks(RUN).map(|c| f64::from(dot(c, c))).sum()
}

/// Per-element coefficients of one piece.
struct Coefficients {
    rule: Rule,
    lr: f32,
    decay: f32,
    clip: f32,
    /// 1 / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
    correction: (f32, f32),
    stats: bool,
}

pub(super) fn step(
    u: &Update<'_>,
    w: &mut [f32],
    g: &[f32],
    decay: bool,
    segments: &[Segment],
    moments: &mut Moments,
) -> Vec<(usize, SliceStats)> {
    let pieces: Vec<Segment> = segments
        .iter()
        .flat_map(|s| {
            (0..s.len).step_by(PIECE).map(|o| Segment {
                start: s.start + o,
                len: PIECE.min(s.len - o),
                group: s.group,
                slot: s.slot,
            })
        })
        .collect();
    let correction = match u.rule {
        Rule::AdamW { beta1, beta2, .. } => {
            let t = f64::from(u.t);
            let c1 = 1.0 / (1.0 - f64::from(beta1).powf(t));
            let c2 = 1.0 / (1.0 - f64::from(beta2).powf(t)).sqrt();
            (c1 as f32, c2 as f32)
        }
        Rule::Sgd { .. } => (1.0, 1.0),
    };
    let adam = matches!(u.rule, Rule::AdamW { .. });
    let (w, m, v) = (SharedMut::new(w), SharedMut::new(&mut moments.m), SharedMut::new(&mut moments.v));
    pieces
        .par_iter()
        .map(|p| {
            // SAFETY: segments partition the parameter (checked by the caller), pieces partition segments.
            let (w, m) = unsafe { (w.slice(p.start, p.len), m.slice(p.start, p.len)) };
            // SAFETY: as above; SGD has no second moment.
            let v = if adam { unsafe { v.slice(p.start, p.len) } } else { &mut [] };
            let c = Coefficients {
                rule: u.rule,
                lr: u.lr * u.multipliers[p.group],
                decay: if decay { u.weight_decay } else { 0.0 },
                clip: u.clip_scale,
                correction,
                stats: u.stats && p.slot.is_some(),
            };
            (p.slot.unwrap_or(usize::MAX), piece(&c, w, &g[p.start..p.start + p.len], m, v))
        })
        .collect()
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn piece(c: &Coefficients, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) -> SliceStats {
    let mut total = SliceStats::default();
    let mut old = [0f32; RUN];
    for (i, w) in w.chunks_mut(RUN).enumerate() {
        let at = i * RUN..i * RUN + w.len();
        let (g, m) = (&g[at.clone()], &mut m[at.clone()]);
        if c.stats {
            old[..w.len()].copy_from_slice(w);
        }
        match c.rule {
            Rule::AdamW { beta1, beta2, eps } => {
                let v = &mut v[at];
                let (rest1, rest2) = (1.0 - beta1, 1.0 - beta2);
                for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
                    let g = g * c.clip;
                    // Not beta (v - g^2) + g^2: from v = 0 that cancels all but 1 - beta of g^2.
                    *m = beta1.mul_add(*m, rest1 * g);
                    *v = beta2.mul_add(*v, rest2 * g * g);
                    let direction = *m * c.correction.0 / (v.sqrt().mul_add(c.correction.1, eps));
                    *w -= c.lr * c.decay.mul_add(*w, direction);
                }
            }
            Rule::Sgd { momentum } => {
                for ((w, g), m) in w.iter_mut().zip(g).zip(m) {
                    *m = momentum.mul_add(*m, g * c.clip);
                    *w -= c.lr * c.decay.mul_add(*w, *m);
                }
            }
        }
        if c.stats {
            accumulate(&old[..w.len()], w, g, &mut total);
        }
    }
    total
}

#[inline(always)]
fn accumulate(old: &[f32], new: &[f32], g: &[f32], total: &mut SliceStats) {
    let mut acc = [[0f32; LANES]; 6];
    let mut top = [0f32; LANES];
    let (oc, ot) = old.as_chunks::<LANES>();
    let (nc, nt) = new.as_chunks::<LANES>();
    let (gc, gt) = g.as_chunks::<LANES>();
    for ((o, n), g) in oc.iter().zip(nc).zip(gc) {
        for l in 0..LANES {
            add_lane(&mut acc, &mut top, l, o[l], n[l], g[l]);
        }
    }
    for (l, ((o, n), g)) in ot.iter().zip(nt).zip(gt).enumerate() {
        add_lane(&mut acc, &mut top, l, *o, *n, *g);
    }
    let s = acc.map(|a| f64::from(fold(a)));
    total.g2 += s[0];
    total.w2 += s[1];
    total.d2 += s[2];
    total.wg += s[3];
    total.wd += s[4];
    total.gd += s[5];
    total.g_max = top.iter().copied().fold(total.g_max, f32::max);
}

#[inline(always)]
fn add_lane(acc: &mut [[f32; LANES]; 6], top: &mut [f32; LANES], l: usize, w: f32, new: f32, g: f32) {
    let d = new - w;
    acc[0][l] = g.mul_add(g, acc[0][l]);
    acc[1][l] = w.mul_add(w, acc[1][l]);
    acc[2][l] = d.mul_add(d, acc[2][l]);
    acc[3][l] = w.mul_add(g, acc[3][l]);
    acc[4][l] = w.mul_add(d, acc[4][l]);
    acc[5][l] = g.mul_add(d, acc[5][l]);
    top[l] = if g.abs() > top[l] { g.abs() } else { top[l] };
}
