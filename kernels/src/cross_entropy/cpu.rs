//! CPU twin: chunks of logits; one token's logits to its loss and, in place, to the loss's gradient.

use faer::Accum;
use multiversion::multiversion;
use rayon::prelude::*;

use crate::gemm::{gemm, rows as matrix, rows_mut};
use crate::simd::{LANES, exp, fold, max};

/// Tokens whose logits exist at the same time.
const CHUNK: usize = 256;

/// Floats of room for logits that [`head_loss`] needs for `n` tokens.
pub fn logits_len(n: usize, v: usize) -> usize {
    CHUNK.min(n) * v
}

/// Mean loss and largest logit; each token's loss, and the gradients of the mean loss where there is room for them.
///
/// # Shapes
/// `x [n, d]`, `w [v, d]`, `targets [n]` below `v`; `logits` of at least [`logits_len`]; `losses [n]`;
/// `grads`: at `x [n, d]` and at `w [v, d]`.
///
/// # Panics
/// Slices of other lengths, a target of `v` or more.
pub fn head_loss(
    x: &[f32],
    (w, v): (&[f32], usize),
    targets: &[u32],
    logits: &mut [f32],
    losses: &mut [f32],
    mut grads: Option<(&mut [f32], &mut [f32])>,
) -> (f64, f32) {
    let (n, d) = (targets.len(), w.len() / v);
    let w = matrix(w, v, d);
    let mut max_logit = f32::NEG_INFINITY;
    let scale = grads.is_some().then_some(1.0 / n as f32);
    if let Some((_, dw)) = &mut grads {
        dw.fill(0.0);
    }
    for start in (0..n).step_by(CHUNK) {
        let end = (start + CHUNK).min(n);
        let m = end - start;
        let block = &mut logits[..m * v];
        let xc = matrix(&x[start * d..end * d], m, d);
        gemm(rows_mut(block, m, v), Accum::Replace, xc, w.transpose());
        max_logit = max_logit.max(rows(block, v, &targets[start..end], scale, &mut losses[start..end]));
        if let Some((dx, dw)) = &mut grads {
            let dl = matrix(block, m, v);
            gemm(rows_mut(&mut dx[start * d..end * d], m, d), Accum::Replace, dl, w);
            gemm(rows_mut(dw, v, d), Accum::Add, dl.transpose(), xc);
        }
    }
    (losses.iter().map(|l| f64::from(*l)).sum::<f64>() / n as f64, max_logit)
}

/// Replace logits by `(softmax - onehot) * scale` where a scale is given; returns the largest logit.
fn rows(logits: &mut [f32], v: usize, targets: &[u32], scale: Option<f32>, losses: &mut [f32]) -> f32 {
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
