//! CPU twin: token blocks in parallel; value and derivative of each form in one place.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{Activation, HiddenStats};
use crate::simd::{add_columns, dot, sigmoid};

/// Tokens per task: fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 64;

/// Tokens whose activations enter the column sums together.
const ROWS: usize = 8;

const GELU_C: f32 = 0.797_884_6; // sqrt(2 / pi)
const GELU_K: f32 = 0.044_715;

/// Value and derivative of an ungated nonlinearity.
trait Scalar {
    fn value(x: f32) -> f32;
    fn pair(x: f32) -> (f32, f32);
}

struct Gelu;
impl Scalar for Gelu {
    // 0.5 (1 + tanh u) = sigmoid(2 u)
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(2.0 * GELU_C * (GELU_K * x * x).mul_add(x, x))
    }
    #[inline(always)]
    fn pair(x: f32) -> (f32, f32) {
        let s = sigmoid(2.0 * GELU_C * (GELU_K * x * x).mul_add(x, x));
        let du = 2.0 * GELU_C * (3.0 * GELU_K * x).mul_add(x, 1.0);
        (x * s, (x * s * (1.0 - s)).mul_add(du, s))
    }
}

struct Silu;
impl Scalar for Silu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(x)
    }
    #[inline(always)]
    fn pair(x: f32) -> (f32, f32) {
        let s = sigmoid(x);
        (x * s, (x * s).mul_add(1.0 - s, s))
    }
}

struct Relu;
impl Scalar for Relu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        if x > 0.0 { x } else { 0.0 }
    }
    #[inline(always)]
    fn pair(x: f32) -> (f32, f32) {
        if x > 0.0 { (x, 1.0) } else { (0.0, 0.0) }
    }
}

struct Relu2;
impl Scalar for Relu2 {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        let r = if x > 0.0 { x } else { 0.0 };
        r * r
    }
    #[inline(always)]
    fn pair(x: f32) -> (f32, f32) {
        let r = if x > 0.0 { x } else { 0.0 };
        (r * r, 2.0 * r)
    }
}

struct Identity;
impl Scalar for Identity {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn pair(x: f32) -> (f32, f32) {
        (x, 1.0)
    }
}

#[inline(always)]
fn plain_forward<S: Scalar>(u: &[f32], a: &mut [f32]) {
    a.iter_mut().zip(u).for_each(|(a, u)| *a = S::value(*u));
}

#[inline(always)]
fn plain_backward<S: Scalar>(u: &[f32], d: &[f32], du: &mut [f32]) {
    du.iter_mut().zip(u.iter().zip(d)).for_each(|(o, (u, d))| *o = d * S::pair(*u).1);
}

#[inline(always)]
fn gated_forward<S: Scalar>(u: &[f32], a: &mut [f32]) {
    let (gate, up) = u.split_at(a.len());
    a.iter_mut().zip(gate.iter().zip(up)).for_each(|(a, (g, u))| *a = S::value(*g) * u);
}

#[inline(always)]
fn gated_backward<S: Scalar>(f: usize, u: &[f32], d: &[f32], du: &mut [f32]) {
    for ((u, d), du) in u.chunks_exact(2 * f).zip(d.chunks_exact(f)).zip(du.chunks_exact_mut(2 * f)) {
        let ((gate, up), (dgate, dup)) = (u.split_at(f), du.split_at_mut(f));
        let up = &up[..f];
        let dup = &mut dup[..f];
        for i in 0..f {
            let (v, dv) = S::pair(gate[i]);
            dgate[i] = d[i] * up[i] * dv;
            dup[i] = d[i] * v;
        }
    }
}

/// A few rows at a time, so that the statistics read what the first-level cache still holds.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn forward_block(act: Activation, f: usize, u: &[f32], a: &mut [f32], columns: &mut [f32]) -> f64 {
    let w = input_width(act, f);
    let mut squares = 0.0;
    for (u, a) in u.chunks(ROWS * w).zip(a.chunks_mut(ROWS * f)) {
        for (u, a) in u.chunks_exact(w).zip(a.chunks_exact_mut(f)) {
            match act {
                Activation::Gelu => plain_forward::<Gelu>(u, a),
                Activation::Relu => plain_forward::<Relu>(u, a),
                Activation::Relu2 => plain_forward::<Relu2>(u, a),
                Activation::Silu => plain_forward::<Silu>(u, a),
                Activation::Geglu => gated_forward::<Gelu>(u, a),
                Activation::Swiglu => gated_forward::<Silu>(u, a),
                Activation::Reglu => gated_forward::<Relu>(u, a),
                Activation::Bilinear => gated_forward::<Identity>(u, a),
            }
            if !columns.is_empty() {
                squares += f64::from(dot(a, a));
            }
        }
        if !columns.is_empty() {
            add_columns(columns, a);
        }
    }
    squares
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn backward_block(act: Activation, f: usize, u: &[f32], d: &[f32], du: &mut [f32]) {
    match act {
        Activation::Gelu => plain_backward::<Gelu>(u, d, du),
        Activation::Relu => plain_backward::<Relu>(u, d, du),
        Activation::Relu2 => plain_backward::<Relu2>(u, d, du),
        Activation::Silu => plain_backward::<Silu>(u, d, du),
        Activation::Geglu => gated_backward::<Gelu>(f, u, d, du),
        Activation::Swiglu => gated_backward::<Silu>(f, u, d, du),
        Activation::Reglu => gated_backward::<Relu>(f, u, d, du),
        Activation::Bilinear => gated_backward::<Identity>(f, u, d, du),
    }
}

fn input_width(act: Activation, f: usize) -> usize {
    if act.gated() { 2 * f } else { f }
}

/// Forward: see [`super::forward`].
///
/// # Shapes
/// `u [N, f]`, or `[N, 2 f]` when gated; `a [N, f]`.
///
/// # Panics
/// Slices of other lengths.
pub fn forward(act: Activation, f: usize, u: &[f32], a: &mut [f32], stats: bool) -> Option<HiddenStats> {
    let n = a.len() / f;
    let partials: Vec<(f64, Vec<f32>)> = u
        .par_chunks(BLOCK * input_width(act, f))
        .zip(a.par_chunks_mut(BLOCK * f))
        .map(|(u, a)| {
            let mut columns = vec![0f32; if stats { f } else { 0 }];
            let squares = forward_block(act, f, u, a, &mut columns);
            (squares, columns)
        })
        .collect();
    if !stats {
        return None;
    }
    let mut columns = vec![0f64; f];
    for (_, c) in &partials {
        columns.iter_mut().zip(c).for_each(|(s, v)| *s += f64::from(*v));
    }
    let squares = partials.iter().map(|p| p.0).sum();
    let common = columns.iter().map(|c| (c / n as f64).powi(2)).sum();
    Some(HiddenStats::finish(n, f, squares, common))
}

/// Backward: `du` from `d [N, f]`, as long as `u`.
///
/// # Panics
/// Slices of other lengths.
pub fn backward(act: Activation, f: usize, u: &[f32], d: &[f32], du: &mut [f32]) {
    let w = input_width(act, f);
    u.par_chunks(BLOCK * w)
        .zip(d.par_chunks(BLOCK * f))
        .zip(du.par_chunks_mut(BLOCK * w))
        .for_each(|((u, d), du)| backward_block(act, f, u, d, du));
}
