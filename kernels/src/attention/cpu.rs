//! CPU twin: one task a (sequence, head), blocks of query rows inside, scratch reused by each thread.

use faer::{Accum, MatMut};
use rayon::prelude::*;

use super::row::{RowSums, grad_block, row_dots, softmax_block};
use super::{LogitGradStats, LogitStats, Shape};
use crate::gemm::{gemm_seq, rows, rows_mut};
use crate::rope::Rope;
use crate::tensor::SharedMut;

/// Query rows per block: the score block `[QUERIES, T]` stays in the second-level cache.
const QUERIES: usize = 32;

struct Scratch {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    o: Vec<f32>,
    d_o: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
    s: Vec<f32>,
    dp: Vec<f32>,
    row: Vec<f32>,
}

impl Scratch {
    fn new(shape: Shape, backward: bool) -> Self {
        let m = shape.seq_len * shape.head_dim;
        let b = if backward { m } else { 0 };
        let block = QUERIES * shape.seq_len;
        Self {
            q: vec![0.0; m],
            k: vec![0.0; m],
            v: vec![0.0; m],
            o: vec![0.0; m],
            d_o: vec![0.0; b],
            dq: vec![0.0; b],
            dk: vec![0.0; b],
            dv: vec![0.0; b],
            s: vec![0.0; block],
            dp: vec![0.0; if backward { block } else { 0 }],
            row: vec![0.0; shape.seq_len.max(QUERIES)],
        }
    }
}

/// Copy one head's block of a token-major matrix into a contiguous `[T, d_h]`.
fn gather(shape: Shape, src: &[f32], stride: usize, b: usize, column: usize, dst: &mut [f32]) {
    let dh = shape.head_dim;
    for (t, d) in dst.chunks_exact_mut(dh).enumerate() {
        let at = (b * shape.seq_len + t) * stride + column;
        d.copy_from_slice(&src[at..at + dh]);
    }
}

/// Queries (scaled by 1/sqrt(d_h)) and keys, rotated where there are rotary positions, and values.
fn load(shape: Shape, qkv: &[f32], rope: Option<&Rope>, b: usize, h: usize, w: &mut Scratch) {
    let (dh, width) = (shape.head_dim, shape.width());
    gather(shape, qkv, 3 * width, b, h * dh, &mut w.q);
    gather(shape, qkv, 3 * width, b, width + h * dh, &mut w.k);
    gather(shape, qkv, 3 * width, b, 2 * width + h * dh, &mut w.v);
    if let Some(r) = rope {
        for t in 0..shape.seq_len {
            r.rotate(t, &mut w.q[t * dh..(t + 1) * dh], false);
            r.rotate(t, &mut w.k[t * dh..(t + 1) * dh], false);
        }
    }
    let scale = scale(dh);
    w.q.iter_mut().for_each(|v| *v *= scale);
}

fn scale(head_dim: usize) -> f32 {
    (1.0 / (head_dim as f64).sqrt()) as f32
}

pub(super) fn forward(
    shape: Shape,
    qkv: &[f32],
    rope: Option<&Rope>,
    out: &mut [f32],
    lse: &mut [f32],
) -> Vec<RowSums> {
    let (t, dh, width) = (shape.seq_len, shape.head_dim, shape.width());
    let shared = SharedMut::new(out);
    lse.par_chunks_mut(t)
        .enumerate()
        .map_init(
            || Scratch::new(shape, false),
            |w, (task, lse)| {
                let (b, h) = (task / shape.heads, task % shape.heads);
                load(shape, qkv, rope, b, h, w);
                let mut sums = RowSums::default();
                for i0 in (0..t).step_by(QUERIES) {
                    let i1 = (i0 + QUERIES).min(t);
                    let n = i1 - i0;
                    let s = &mut w.s[..n * i1];
                    let q = rows(&w.q[i0 * dh..i1 * dh], n, dh);
                    gemm_seq(
                        rows_mut(s, n, i1),
                        Accum::Replace,
                        q,
                        rows(&w.k[..i1 * dh], i1, dh).transpose(),
                    );
                    softmax_block(s, i1, i0, &mut lse[i0..i1], &mut w.row[..n], &mut sums);
                    let o = &mut w.o[..n * dh];
                    gemm_seq(
                        rows_mut(o, n, dh),
                        Accum::Replace,
                        rows(s, n, i1),
                        rows(&w.v[..i1 * dh], i1, dh),
                    );
                    for (r, o) in o.chunks_exact(dh).enumerate() {
                        // SAFETY: rows of sequence b, columns of head h: this task's own.
                        let dst = unsafe { shared.slice((b * t + i0 + r) * width + h * dh, dh) };
                        let inv = w.row[r];
                        dst.iter_mut().zip(o).for_each(|(d, v)| *d = v * inv);
                    }
                }
                sums
            },
        )
        .collect()
}

pub(super) fn merge_stats(shape: Shape, partials: &[RowSums]) -> Vec<LogitStats> {
    let (b, t) = (shape.batch as f64, shape.seq_len as f64);
    let pairs = b * t * (t + 1.0) / 2.0;
    (0..shape.heads)
        .map(|h| {
            let mut all = RowSums::default();
            for p in (0..shape.batch).map(|b| &partials[b * shape.heads + h]) {
                all.max = all.max.max(p.max);
                all.s2 += p.s2;
                all.c2 += p.c2;
                all.entropy += p.entropy;
                all.top1 += p.top1;
                all.lse_gap = all.lse_gap.max(p.lse_gap);
            }
            LogitStats {
                s_max: f64::from(all.max),
                s_ms: all.s2 / pairs,
                spread: (all.c2 / pairs).sqrt(),
                entropy: all.entropy / (b * (t - 1.0)).max(1.0),
                top1: all.top1 / (b * t),
                lse_gap: f64::from(all.lse_gap),
            }
        })
        .collect()
}

pub(super) fn backward(
    shape: Shape,
    qkv: &[f32],
    out: &[f32],
    lse: &[f32],
    rope: Option<&Rope>,
    d_out: &[f32],
    dqkv: &mut [f32],
) -> Vec<LogitGradStats> {
    let (t, dh, width) = (shape.seq_len, shape.head_dim, shape.width());
    let shared = SharedMut::new(dqkv);
    lse.par_chunks(t)
        .enumerate()
        .map_init(
            || Scratch::new(shape, true),
            |w, (task, lse)| {
                let (b, h) = (task / shape.heads, task % shape.heads);
                load(shape, qkv, rope, b, h, w);
                gather(shape, out, width, b, h * dh, &mut w.o);
                gather(shape, d_out, width, b, h * dh, &mut w.d_o);
                row_dots(&w.d_o, &w.o, dh, &mut w.row[..t]);
                w.dk.fill(0.0);
                w.dv.fill(0.0);
                let mut sums = LogitGradStats::default();
                for i0 in (0..t).step_by(QUERIES) {
                    let i1 = (i0 + QUERIES).min(t);
                    let n = i1 - i0;
                    let (s, dp) = (&mut w.s[..n * i1], &mut w.dp[..n * i1]);
                    let (q, d_o) =
                        (rows(&w.q[i0 * dh..i1 * dh], n, dh), rows(&w.d_o[i0 * dh..i1 * dh], n, dh));
                    let (k, v) = (rows(&w.k[..i1 * dh], i1, dh), rows(&w.v[..i1 * dh], i1, dh));
                    gemm_seq(rows_mut(s, n, i1), Accum::Replace, q, k.transpose());
                    gemm_seq(rows_mut(dp, n, i1), Accum::Replace, d_o, v.transpose());
                    grad_block(s, dp, i1, i0, &lse[i0..i1], &w.row[i0..i1], &mut sums);
                    let (p, ds) = (rows(s, n, i1), rows(dp, n, i1));
                    gemm_seq(rows_mut(&mut w.dq[i0 * dh..i1 * dh], n, dh), Accum::Replace, ds, k);
                    gemm_seq(keys_mut(&mut w.dk, i1, dh), Accum::Add, ds.transpose(), q);
                    gemm_seq(keys_mut(&mut w.dv, i1, dh), Accum::Add, p.transpose(), d_o);
                }
                let scale = scale(dh);
                w.dq.iter_mut().for_each(|v| *v *= scale);
                for i in 0..t {
                    if let Some(r) = rope {
                        r.rotate(i, &mut w.dq[i * dh..(i + 1) * dh], true);
                        r.rotate(i, &mut w.dk[i * dh..(i + 1) * dh], true);
                    }
                    for (block, src) in [&w.dq, &w.dk, &w.dv].into_iter().enumerate() {
                        let at = (b * t + i) * 3 * width + block * width + h * dh;
                        // SAFETY: rows of sequence b, columns of head h: this task's own.
                        unsafe { shared.slice(at, dh) }.copy_from_slice(&src[i * dh..(i + 1) * dh]);
                    }
                }
                sums
            },
        )
        .collect()
}

fn keys_mut(v: &mut [f32], n: usize, dh: usize) -> MatMut<'_, f32> {
    rows_mut(&mut v[..n * dh], n, dh)
}
