//! CPU twin: one task a (sequence, head), blocks of query rows inside, scratch reused by each thread.

use rayon::prelude::*;

use super::accumulators::{backward as backward_row, forward as forward_row};
use super::head::{QUERIES, Scratch, add_norms, load, load_output, rope_inverse, scale};
use super::row::{Block, grad_block, softmax_block};
use super::tile::{Left, Right, over_keys, over_queries, scores};
use super::{LogitGradStats, LogitStats, Shape};
use crate::Stats;
use crate::rope::Rope;
use crate::simd::copy;
use crate::tensor::SharedMut;

fn rows(data: &[f32], stride: usize) -> Left<'_> {
    Left { data, row: stride, column: 1 }
}

/// `ln 1, ..., ln len`.
fn logarithms(len: usize) -> Vec<f32> {
    (1..=len).map(|n| (n as f32).ln()).collect()
}

/// Each head's totals over the partial rows `[B, H]` of its sequences.
fn per_head<const N: usize>(
    shape: Shape,
    partials: &[[f64; N]],
    empty: [f64; N],
    merge: fn(&mut [f64; N], &[f64; N]),
) -> impl Iterator<Item = [f64; N]> {
    (0..shape.heads).map(move |h| {
        let mut totals = empty;
        (0..shape.batch).for_each(|b| merge(&mut totals, &partials[b * shape.heads + h]));
        totals
    })
}

/// Forward; one entry of statistics a head, where asked for.
///
/// # Shapes
/// `qkv [N, 3 D]`, `out [N, D]`, `lse [B, H, T]`.
///
/// # Panics
/// Slices of other lengths.
pub fn forward(
    shape: Shape,
    qkv: &[f32],
    rope: Option<&Rope>,
    out: &mut [f32],
    lse: &mut [f32],
    stats: Stats,
) -> Option<Vec<LogitStats>> {
    let partials = forward_rows(shape, qkv, rope, out, lse);
    stats.taken().then(|| {
        per_head(shape, &partials, forward_row::EMPTY, forward_row::merge)
            .map(|totals| LogitStats::finish(shape.counted(), &totals))
            .collect()
    })
}

/// What the backward needs of the forward.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// `[N, 3 D]`.
    pub qkv: &'a [f32],
    /// `[N, D]`.
    pub out: &'a [f32],
    /// `[B, H, T]`.
    pub lse: &'a [f32],
    /// As the forward's.
    pub rope: Option<&'a Rope>,
}

/// Backward: the gradient at the projection, and each head's statistics of the logit gradient.
///
/// # Shapes
/// `d_out [N, D]`, `dqkv [N, 3 D]`.
///
/// # Panics
/// Slices of other lengths.
pub fn backward(shape: Shape, saved: Saved<'_>, d_out: &[f32], dqkv: &mut [f32]) -> Vec<LogitGradStats> {
    let partials = backward_rows(shape, saved, d_out, dqkv);
    per_head(shape, &partials, backward_row::EMPTY, backward_row::merge)
        .map(|totals| LogitGradStats::finish(shape.counted(), &totals))
        .collect()
}

fn forward_rows(
    shape: Shape,
    qkv: &[f32],
    rope: Option<&Rope>,
    out: &mut [f32],
    lse: &mut [f32],
) -> Vec<[f64; forward_row::COUNT]> {
    let (len, dh, width) = (shape.seq_len, shape.head_dim, shape.width());
    let shared = SharedMut::new(out);
    let ln_len = logarithms(len);
    lse.par_chunks_mut(len)
        .enumerate()
        .map_init(
            || Scratch::new(shape, false),
            |w, (task, lse)| {
                let (b, h) = (task / shape.heads, task % shape.heads);
                load(shape, qkv, rope, b, h, w);
                let (t, d) = (w.t, w.d);
                let mut sums = forward_row::EMPTY;
                add_norms(shape, w, &mut sums);
                for first in (0..len).step_by(QUERIES) {
                    let n = QUERIES.min(len - first);
                    let block = Block { stride: t, first, rows: n };
                    let keys = Right { data: &w.kt, stride: t };
                    scores(&mut w.s, rows(&w.q[first * d..], d), keys, n, first, dh);
                    softmax_block(
                        &mut w.s,
                        block,
                        &ln_len,
                        &mut lse[first..first + n],
                        &mut w.row,
                        &mut sums,
                    );
                    over_keys(&mut w.o, rows(&w.s, t), Right { data: &w.v, stride: d }, n, first);
                    for (r, o) in w.o.chunks_exact(d).take(n).enumerate() {
                        // SAFETY: rows of sequence b, columns of head h: this task's own.
                        let dst = unsafe { shared.slice((b * len + first + r) * width + h * dh, dh) };
                        let inv = w.row[r];
                        dst.iter_mut().zip(o).for_each(|(d, v)| *d = v * inv);
                    }
                }
                sums
            },
        )
        .collect()
}

fn backward_rows(
    shape: Shape,
    Saved { qkv, out, lse, rope }: Saved<'_>,
    d_out: &[f32],
    dqkv: &mut [f32],
) -> Vec<[f64; backward_row::COUNT]> {
    let (len, dh, width) = (shape.seq_len, shape.head_dim, shape.width());
    let shared = SharedMut::new(dqkv);
    let ln_len = logarithms(len);
    // Gradient rows of one head into columns `block` (query, key, value) of the packed gradient.
    let scatter = |src: &[f32], d: usize, b: usize, h: usize, first: usize, block: usize| {
        for (r, src) in src.chunks_exact(d).enumerate() {
            let at = (b * len + first + r) * 3 * width + block * width + h * dh;
            // SAFETY: rows of sequence b, columns of head h: the calling task's own.
            copy(unsafe { shared.slice(at, dh) }, &src[..dh]);
        }
    };
    lse.par_chunks(len)
        .enumerate()
        .map_init(
            || Scratch::new(shape, true),
            |w, (task, lse)| {
                let (b, h) = (task / shape.heads, task % shape.heads);
                load(shape, qkv, rope, b, h, w);
                let (t, d) = (w.t, w.d);
                load_output(shape, out, d_out, b, h, w);
                w.dk.fill(0.0);
                w.dv.fill(0.0);
                let mut sums = backward_row::EMPTY;
                for first in (0..len).step_by(QUERIES) {
                    let n = QUERIES.min(len - first);
                    let block = Block { stride: t, first, rows: n };
                    let (q, d_o) = (&w.q[first * d..], &w.d_o[first * d..]);
                    scores(&mut w.s, rows(q, d), Right { data: &w.kt, stride: t }, n, first, dh);
                    scores(&mut w.dp, rows(d_o, d), Right { data: &w.vt, stride: t }, n, first, dh);
                    let (lse, delta) = (&lse[first..first + n], &w.row[first..first + n]);
                    grad_block((&mut w.s, &mut w.dp), block, &ln_len, (lse, delta), &mut sums);
                    over_keys(&mut w.dq, rows(&w.dp, t), Right { data: &w.k, stride: d }, n, first);
                    let by_key = |data| Left { data, row: 1, column: t };
                    over_queries(&mut w.dk, by_key(&w.dp), Right { data: q, stride: d }, n, first);
                    over_queries(&mut w.dv, by_key(&w.s), Right { data: d_o, stride: d }, n, first);
                    rope_inverse(&mut w.dq[..n * d], d, dh, rope, first, scale(dh));
                    scatter(&w.dq[..n * d], d, b, h, first, 0);
                }
                rope_inverse(&mut w.dk[..len * d], d, dh, rope, 0, 1.0);
                scatter(&w.dk[..len * d], d, b, h, 0, 1);
                scatter(&w.dv[..len * d], d, b, h, 0, 2);
                sums
            },
        )
        .collect()
}
