//! CPU twin: pieces of fixed size in parallel, their sums added in order.

use multiversion::multiversion;
use rayon::prelude::*;

use super::update::{Decay, HeadUpdateStats, OP, OptimizerState, Rule, Segment, Update, check};
use crate::Stats;
use crate::error::{Result, shape_error};
use crate::simd::{LANES, copy, dot, fold, fold_max, padded};
use crate::tensor::SharedMut;

/// Elements per task: fixed, so that sums do not depend on the number of threads.
const PIECE: usize = 8192;
/// Elements whose sums stay in float32 before they join the float64 totals.
const RUN: usize = 512;

/// Sum of squares, for the global gradient norm.
pub fn sum_squares(g: &[f32]) -> f64 {
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
    stats: Stats,
}

/// [`super::step`] over slices.
///
/// # Errors
/// As [`super::step`].
pub fn step(
    u: &Update<'_>,
    w: &mut [f32],
    g: &[f32],
    (decay, segments): (Decay, &[Segment]),
    moments: &mut OptimizerState,
    slots: &mut [HeadUpdateStats],
) -> Result<()> {
    let len = w.len();
    if g.len() != len {
        return Err(shape_error(OP, "gradient", &[g.len()], format!("[{len}]")));
    }
    let second = if matches!(u.rule, Rule::AdamW { .. }) { len } else { 0 };
    if moments.m.len() != len || moments.v.len() != second {
        let got = [moments.m.len(), moments.v.len()];
        return Err(shape_error(
            OP,
            "moments",
            &got,
            format!("[{len}, {second}]: see OptimizerState::zeros"),
        ));
    }
    check(u, len, segments, slots.len())?;
    for (slot, p) in update(u, w, g, (decay, segments), moments) {
        if let Some(s) = slots.get_mut(slot) {
            s.add(&p);
        }
    }
    Ok(())
}

fn update(
    u: &Update<'_>,
    w: &mut [f32],
    g: &[f32],
    (decay, segments): (Decay, &[Segment]),
    moments: &mut OptimizerState,
) -> Vec<(usize, HeadUpdateStats)> {
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
            let c1 = 1.0 / (1.0 - f64::from(beta1 as f32).powf(t));
            let c2 = 1.0 / (1.0 - f64::from(beta2 as f32).powf(t)).sqrt();
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
                decay: if decay == Decay::Applied { u.weight_decay } else { 0.0 },
                clip: u.clip_scale,
                correction,
                stats: if p.slot.is_some() { u.stats } else { Stats::Off },
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
fn piece(c: &Coefficients, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) -> HeadUpdateStats {
    let mut total = HeadUpdateStats::default();
    let mut old = [0f32; RUN];
    for (i, w) in w.chunks_mut(RUN).enumerate() {
        let at = i * RUN..i * RUN + w.len();
        let (g, m) = (&g[at.clone()], &mut m[at.clone()]);
        if c.stats.taken() {
            copy(&mut old[..w.len()], w);
        }
        match c.rule {
            Rule::AdamW { beta1, beta2, eps } => {
                let v = &mut v[at];
                let (beta1, beta2, eps) = (beta1 as f32, beta2 as f32, eps as f32);
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
                let momentum = momentum as f32;
                for ((w, g), m) in w.iter_mut().zip(g).zip(m) {
                    *m = momentum.mul_add(*m, g * c.clip);
                    *w -= c.lr * c.decay.mul_add(*w, *m);
                }
            }
        }
        if c.stats.taken() {
            accumulate(&old[..w.len()], w, g, &mut total);
        }
    }
    total
}

/// Lane-wise sums of one run, by name: as one nested array some of them would live in memory.
struct Sums {
    g2: Lane,
    w2: Lane,
    d2: Lane,
    wg: Lane,
    wd: Lane,
    gd: Lane,
    top: Lane,
}

type Lane = [f32; LANES];

#[inline(always)]
fn fma(acc: &mut Lane, a: &Lane, b: &Lane) {
    for l in 0..LANES {
        acc[l] = a[l].mul_add(b[l], acc[l]);
    }
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, w: Lane, new: Lane, g: Lane) {
        let mut d = new;
        for l in 0..LANES {
            d[l] -= w[l];
        }
        fma(&mut self.g2, &g, &g);
        fma(&mut self.w2, &w, &w);
        fma(&mut self.d2, &d, &d);
        fma(&mut self.wg, &w, &g);
        fma(&mut self.wd, &w, &d);
        fma(&mut self.gd, &g, &d);
        for l in 0..LANES {
            let a = g[l].abs();
            self.top[l] = if a > self.top[l] { a } else { self.top[l] };
        }
    }
}

#[inline(always)]
fn accumulate(old: &[f32], new: &[f32], g: &[f32], total: &mut HeadUpdateStats) {
    let zero = [0f32; LANES];
    let mut s = Sums { g2: zero, w2: zero, d2: zero, wg: zero, wd: zero, gd: zero, top: zero };
    let (oc, ot) = old.as_chunks::<LANES>();
    let (nc, nt) = new.as_chunks::<LANES>();
    let (gc, gt) = g.as_chunks::<LANES>();
    for ((o, n), g) in oc.iter().zip(nc).zip(gc) {
        s.add(*o, *n, *g);
    }
    if !ot.is_empty() {
        // zeros add nothing to any of the sums
        s.add(padded(ot), padded(nt), padded(gt));
    }
    total.g2 += f64::from(fold(s.g2));
    total.w2 += f64::from(fold(s.w2));
    total.d2 += f64::from(fold(s.d2));
    total.wg += f64::from(fold(s.wg));
    total.wd += f64::from(fold(s.wd));
    total.gd += f64::from(fold(s.gd));
    total.g_max = total.g_max.max(fold_max(s.top));
}
