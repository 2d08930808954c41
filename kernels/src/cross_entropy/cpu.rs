//! CPU twin: one token's logits to its loss and, in place, to the loss's gradient.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::simd::{LANES, exp, fold, max};

/// Replace logits by `(softmax - onehot) * scale` where a scale is given; returns the largest logit.
pub(super) fn rows(
    logits: &mut [f32],
    v: usize,
    targets: &[u32],
    scale: Option<f32>,
    losses: &mut [f32],
) -> f32 {
    logits
        .par_chunks_mut(8 * v)
        .zip(targets.par_chunks(8).zip(losses.par_chunks_mut(8)))
        .map(|(l, (t, o))| block(l, v, t, scale, o))
        .reduce(|| f32::NEG_INFINITY, f32::max)
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn block(logits: &mut [f32], v: usize, targets: &[u32], scale: Option<f32>, losses: &mut [f32]) -> f32 {
    let mut top = f32::NEG_INFINITY;
    for ((row, t), loss) in logits.chunks_exact_mut(v).zip(targets).zip(losses) {
        let m = max(row);
        top = top.max(m);
        let target = row[*t as usize];
        let mut z = [0f32; LANES];
        let (chunks, tail) = row.as_chunks_mut::<LANES>();
        for c in chunks {
            for l in 0..LANES {
                let e = exp(c[l] - m);
                z[l] += e;
                c[l] = e;
            }
        }
        for (l, c) in tail.iter_mut().enumerate() {
            let e = exp(*c - m);
            z[l] += e;
            *c = e;
        }
        let z = fold(z);
        // m - target first: beside a large m the logarithm would lose its digits.
        *loss = z.ln() + (m - target);
        if let Some(scale) = scale {
            let s = scale / z;
            row.iter_mut().for_each(|e| *e *= s);
            row[*t as usize] -= scale;
        }
    }
    top
}
