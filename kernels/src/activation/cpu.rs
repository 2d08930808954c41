//! CPU twin: token blocks in parallel.

use multiversion::multiversion;
use rayon::prelude::*;

use super::forms::{backward_rows, forward_row};
use super::{Activation, HiddenStats};
use crate::Stats;
use crate::simd::{add_columns, dot};

/// Tokens per task: fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 64;

/// Tokens whose activations enter the column sums together.
const ROWS: usize = 8;

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
            forward_row(act, u, a);
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
    backward_rows(act, f, u, d, du);
}

fn input_width(act: Activation, f: usize) -> usize {
    if act.gated() { 2 * f } else { f }
}

/// Forward, with the second moments of what comes out where asked for.
///
/// # Shapes
/// `u [N, f]`, or `[N, 2 f]` when gated (gate block first); `a [N, f]`.
///
/// # Panics
/// Slices of other lengths.
pub fn forward(act: Activation, f: usize, u: &[f32], a: &mut [f32], stats: Stats) -> Option<HiddenStats> {
    let n = a.len() / f;
    let partials: Vec<(f64, Vec<f32>)> = u
        .par_chunks(BLOCK * input_width(act, f))
        .zip(a.par_chunks_mut(BLOCK * f))
        .map(|(u, a)| {
            let mut columns = vec![0f32; if stats.taken() { f } else { 0 }];
            let squares = forward_block(act, f, u, a, &mut columns);
            (squares, columns)
        })
        .collect();
    if !stats.taken() {
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
