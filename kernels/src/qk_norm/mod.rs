//! Optional RMS normalization of queries and keys, head by head, before the rotation.

#[cfg(feature = "cuda")]
pub mod gpu;

use candle_core::Tensor;
use multiversion::multiversion;
use rayon::prelude::*;

use crate::attention::Shape;
use crate::error::{Result, shape_error};
use crate::simd::{dot, reduce};
use crate::tensor::{expect_dims, read_as, scratch, wrap};

const EPS: f32 = 1e-6;

/// Result of [`forward`].
pub struct QkNorm {
    /// `[N, 3 D]`: normalized queries and keys, values as they were.
    pub qkv: Tensor,
    /// Reciprocal RMS per (token, q|k, head), `[N, 2 H]`.
    rrms: Vec<f32>,
}

/// `q <- q / rms(q) * q_gain`, likewise k.
///
/// # Shapes
/// `qkv [N, 3 D]`, `q_gain [d_h]`, `k_gain [d_h]`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn forward(shape: Shape, qkv: &Tensor, q_gain: &Tensor, k_gain: &Tensor) -> Result<QkNorm> {
    const OP: &str = "qk_norm";
    check(OP, shape, qkv, q_gain, k_gain)?;
    let (n, width) = (shape.tokens(), shape.width());
    let (x, qg) = (read_as(OP, "qkv", qkv)?, read_as(OP, "q_gain", q_gain)?);
    let kg = read_as(OP, "k_gain", k_gain)?;
    let mut y = scratch(x.len());
    let mut rrms = vec![0f32; n * 2 * shape.heads];
    let gains = Gains { q: &qg, k: &kg, heads: shape.heads };
    y.par_chunks_mut(BLOCK * 3 * width)
        .zip(x.par_chunks(BLOCK * 3 * width))
        .zip(rrms.par_chunks_mut(BLOCK * 2 * shape.heads))
        .for_each(|((y, x), r)| forward_block(gains, x, y, r));
    Ok(QkNorm { qkv: wrap(y, (n, 3 * width))?, rrms })
}

/// Backward: `(d qkv [N, 3 D], d q_gain [d_h], d k_gain [d_h])`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn backward(
    shape: Shape,
    qkv: &Tensor,
    saved: &QkNorm,
    q_gain: &Tensor,
    k_gain: &Tensor,
    d: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    const OP: &str = "qk_norm backward";
    check(OP, shape, qkv, q_gain, k_gain)?;
    let (n, dh, width) = (shape.tokens(), shape.head_dim, shape.width());
    expect_dims(OP, "d", d, &[n, 3 * width])?;
    if saved.rrms.len() != 2 * n * shape.heads {
        return Err(shape_error(OP, "saved", &[saved.rrms.len()], format!("[{n} * 2 * {}]", shape.heads)));
    }
    let (x, g) = (read_as(OP, "qkv", qkv)?, read_as(OP, "d", d)?);
    let (qg, kg) = (read_as(OP, "q_gain", q_gain)?, read_as(OP, "k_gain", k_gain)?);
    let mut dx = scratch(x.len());
    let gains = Gains { q: &qg, k: &kg, heads: shape.heads };
    let partials: Vec<[Vec<f64>; 2]> = dx
        .par_chunks_mut(BLOCK * 3 * width)
        .zip(x.par_chunks(BLOCK * 3 * width).zip(g.par_chunks(BLOCK * 3 * width)))
        .zip(saved.rrms.par_chunks(BLOCK * 2 * shape.heads))
        .map(|((dx, (x, g)), r)| {
            let mut sums = [vec![0f64; dh], vec![0f64; dh]];
            backward_block(gains, x, g, r, dx, &mut sums);
            sums
        })
        .collect();
    let (mut dqg, mut dkg) = (vec![0f64; dh], vec![0f64; dh]);
    for [q, k] in &partials {
        dqg.iter_mut().zip(q).for_each(|(s, v)| *s += v);
        dkg.iter_mut().zip(k).for_each(|(s, v)| *s += v);
    }
    let narrow = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<_>>();
    Ok((wrap(dx, (n, 3 * width))?, wrap(narrow(dqg), dh)?, wrap(narrow(dkg), dh)?))
}

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

fn check(op: &'static str, shape: Shape, qkv: &Tensor, q_gain: &Tensor, k_gain: &Tensor) -> Result<()> {
    shape.check(op)?;
    expect_dims(op, "qkv", qkv, &[shape.tokens(), 3 * shape.width()])?;
    expect_dims(op, "q_gain", q_gain, &[shape.head_dim])?;
    expect_dims(op, "k_gain", k_gain, &[shape.head_dim])
}
