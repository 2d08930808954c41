//! CPU twin, over slices: token blocks in parallel, gain gradients summed in block order.

use multiversion::multiversion;
use rayon::prelude::*;

use super::EPS;
use crate::attention::Shape;
use crate::simd::{dot, reduce};

/// Tokens per task: fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 64;

#[derive(Clone, Copy)]
struct Gains<'a> {
    q: &'a [f32],
    k: &'a [f32],
    heads: usize,
}

impl<'a> Gains<'a> {
    /// Gain of vector `i` of a token (query heads, then key heads), and which of the two it is.
    #[inline(always)]
    fn of(&self, i: usize) -> (&'a [f32], usize) {
        if i < self.heads { (self.q, 0) } else { (self.k, 1) }
    }
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn forward_block(gains: Gains<'_>, x: &[f32], y: &mut [f32], rrms: &mut [f32]) {
    let dh = gains.q.len();
    let token = 3 * gains.heads * dh;
    let tokens = x.chunks_exact(token).zip(y.chunks_exact_mut(token));
    for ((x, y), rrms) in tokens.zip(rrms.chunks_exact_mut(2 * gains.heads)) {
        for (i, r) in rrms.iter_mut().enumerate() {
            let v = &x[i * dh..(i + 1) * dh];
            *r = 1.0 / (dot(v, v) / dh as f32 + EPS).sqrt();
            for ((y, v), g) in y[i * dh..(i + 1) * dh].iter_mut().zip(v).zip(gains.of(i).0) {
                *y = v * *r * g;
            }
        }
        y[2 * gains.heads * dh..].copy_from_slice(&x[2 * gains.heads * dh..]);
    }
}

/// With `y = x r`, `g = dy gain`: `dx = r (g - x r^2 mean(g x))`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn backward_block(
    gains: Gains<'_>,
    x: &[f32],
    dy: &[f32],
    rrms: &[f32],
    dx: &mut [f32],
    sums: &mut [Vec<f64>; 2],
) {
    let dh = gains.q.len();
    let token = 3 * gains.heads * dh;
    let tokens = x.chunks_exact(token).zip(dy.chunks_exact(token)).zip(dx.chunks_exact_mut(token));
    for (((x, dy), dx), rrms) in tokens.zip(rrms.chunks_exact(2 * gains.heads)) {
        for (i, &r) in rrms.iter().enumerate() {
            let at = i * dh..(i + 1) * dh;
            let (x, dy, dx) = (&x[at.clone()], &dy[at.clone()], &mut dx[at]);
            let (gain, which) = gains.of(i);
            let inner = reduce(dy, gain, x, |s, dy, g, x| (dy * g).mul_add(x, s));
            let k = inner * r * r / dh as f32;
            for c in 0..dh {
                dx[c] = r * (dy[c] * gain[c] - x[c] * k);
            }
            for (s, (dy, x)) in sums[which].iter_mut().zip(dy.iter().zip(x)) {
                *s += f64::from(dy * x * r);
            }
        }
        dx[2 * gains.heads * dh..].copy_from_slice(&dy[2 * gains.heads * dh..]);
    }
}

/// Normalized queries and keys, values as they are; `rrms` has what the reverse pass needs.
///
/// # Shapes
/// `x`, `y` `[N, 3 D]`; `gains` of queries and keys `[d_h]`; `rrms [N, 2 H]`.
///
/// # Panics
/// Slices of other lengths.
pub fn forward(shape: Shape, x: &[f32], gains: [&[f32]; 2], y: &mut [f32], rrms: &mut [f32]) {
    let (width, gains) = (shape.width(), Gains { q: gains[0], k: gains[1], heads: shape.heads });
    y.par_chunks_mut(BLOCK * 3 * width)
        .zip(x.par_chunks(BLOCK * 3 * width))
        .zip(rrms.par_chunks_mut(BLOCK * 2 * shape.heads))
        .for_each(|((y, x), r)| forward_block(gains, x, y, r));
}

/// `dx` from `dy`, and the gradients of the two gains.
///
/// # Shapes
/// As [`forward`]'s.
///
/// # Panics
/// Slices of other lengths.
pub fn backward(
    shape: Shape,
    (x, rrms): (&[f32], &[f32]),
    gains: [&[f32]; 2],
    dy: &[f32],
    dx: &mut [f32],
    d_gains: [&mut [f32]; 2],
) {
    let (width, dh) = (shape.width(), shape.head_dim);
    let gains = Gains { q: gains[0], k: gains[1], heads: shape.heads };
    let partials: Vec<[Vec<f64>; 2]> = dx
        .par_chunks_mut(BLOCK * 3 * width)
        .zip(x.par_chunks(BLOCK * 3 * width).zip(dy.par_chunks(BLOCK * 3 * width)))
        .zip(rrms.par_chunks(BLOCK * 2 * shape.heads))
        .map(|((dx, (x, g)), r)| {
            let mut sums = [vec![0f64; dh], vec![0f64; dh]];
            backward_block(gains, x, g, r, dx, &mut sums);
            sums
        })
        .collect();
    for (i, to) in d_gains.into_iter().enumerate() {
        let mut total = vec![0f64; dh];
        partials.iter().for_each(|p| total.iter_mut().zip(&p[i]).for_each(|(s, v)| *s += v));
        to.iter_mut().zip(total).for_each(|(t, v)| *t = v as f32);
    }
}
