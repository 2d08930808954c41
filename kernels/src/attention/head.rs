//! One head's matrices in scratch memory: gathered, rotated, transposed, padded to whole lanes; and back.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

use super::accumulators::forward;
use super::{Shape, transpose};
use crate::rope::Rope;
use crate::simd::{LANES, copy, dot};

/// Query rows per block: the score block `[QUERIES, T]` stays in the second-level cache.
pub(super) const QUERIES: usize = 32;

/// Buffers of one thread. `t` and `d` are T and d_h rounded up to whole lanes; padding is zero and stays zero.
pub(super) struct Scratch {
    pub t: usize,
    pub d: usize,
    /// Queries over sqrt(d_h) `[t, d]`.
    pub q: Vec<f32>,
    /// Keys `[t, d]`, and transposed `[d, t]`.
    pub k: Vec<f32>,
    pub kt: Vec<f32>,
    /// Values `[t, d]`, and transposed `[d, t]` for the backward.
    pub v: Vec<f32>,
    pub vt: Vec<f32>,
    /// Output: a block of queries in the forward, `[t, d]` in the backward.
    pub o: Vec<f32>,
    /// Gradients `[t, d]`: of the output, keys, values; of a block of queries.
    pub d_o: Vec<f32>,
    pub dk: Vec<f32>,
    pub dv: Vec<f32>,
    pub dq: Vec<f32>,
    /// Score blocks `[QUERIES, t]`.
    pub s: Vec<f32>,
    pub dp: Vec<f32>,
    /// One number a query.
    pub row: Vec<f32>,
}

impl Scratch {
    pub fn new(shape: Shape, backward: bool) -> Self {
        let (t, d) = (shape.seq_len.next_multiple_of(LANES), shape.head_dim.next_multiple_of(LANES));
        let zeros = |n: usize, when: bool| vec![0f32; if when { n } else { 0 }];
        Self {
            t,
            d,
            q: zeros(t * d, true),
            k: zeros(t * d, true),
            kt: zeros(t * d, true),
            v: zeros(t * d, true),
            vt: zeros(t * d, backward),
            o: zeros(if backward { t * d } else { QUERIES * d }, true),
            d_o: zeros(t * d, backward),
            dk: zeros(t * d, backward),
            dv: zeros(t * d, backward),
            dq: zeros(QUERIES * d, backward),
            s: zeros(QUERIES * t, true),
            dp: zeros(QUERIES * t, backward),
            row: zeros(t.max(QUERIES), true),
        }
    }
}

/// 1 / sqrt(d_h).
pub(super) fn scale(head_dim: usize) -> f32 {
    (1.0 / (head_dim as f64).sqrt()) as f32
}

/// Copy one head's block of a token-major matrix into `[T, d]` rows.
#[inline(always)]
fn gather(
    shape: Shape,
    (src, stride): (&[f32], usize),
    (b, column): (usize, usize),
    d: usize,
    dst: &mut [f32],
) {
    let dh = shape.head_dim;
    for (t, dst) in dst.chunks_exact_mut(d).take(shape.seq_len).enumerate() {
        let at = (b * shape.seq_len + t) * stride + column;
        copy(&mut dst[..dh], &src[at..at + dh]);
    }
}

/// Queries (scaled by 1/sqrt(d_h)) and keys, rotated where there are rotary positions, and values.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn load(shape: Shape, qkv: &[f32], rope: Option<&Rope>, b: usize, h: usize, w: &mut Scratch) {
    let (dh, width, d) = (shape.head_dim, shape.width(), w.d);
    gather(shape, (qkv, 3 * width), (b, h * dh), d, &mut w.q);
    gather(shape, (qkv, 3 * width), (b, width + h * dh), d, &mut w.k);
    gather(shape, (qkv, 3 * width), (b, 2 * width + h * dh), d, &mut w.v);
    if let Some(r) = rope {
        for (t, (q, k)) in
            w.q.chunks_exact_mut(d).zip(w.k.chunks_exact_mut(d)).take(shape.seq_len).enumerate()
        {
            r.rotate(t, &mut q[..dh], false);
            r.rotate(t, &mut k[..dh], false);
        }
    }
    let scale = scale(dh);
    w.q.iter_mut().for_each(|v| *v *= scale);
    let transpose = |src: &[f32], dst: &mut [f32]| {
        #[cfg(target_arch = "x86_64")]
        if target_cfg_f!(target_feature = "avx2") {
            // SAFETY: taken only in the versions of this function for machines with AVX2.
            #[allow(unused_unsafe)] // in those very versions the compiler knows
            return unsafe { transpose::avx(w.t, d, src, dst) };
        }
        transpose::plain(w.t, d, src, dst);
    };
    transpose(&w.k, &mut w.kt);
    if !w.vt.is_empty() {
        transpose(&w.v, &mut w.vt);
    }
}

/// Adds what [`load`]'s queries and keys are long, over tokens and over the causal pairs that each is in.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn add_norms(shape: Shape, w: &Scratch, sums: &mut [f64; forward::COUNT]) {
    let (len, dh) = (shape.seq_len, shape.head_dim as f64);
    let rows = w.q.chunks_exact(w.d).zip(w.k.chunks_exact(w.d)).take(len);
    for (t, (q, k)) in rows.enumerate() {
        // Queries lie there over sqrt(d_h).
        let (q2, k2) = (dh * f64::from(dot(q, q)), f64::from(dot(k, k)));
        sums[forward::QUERY] += q2;
        sums[forward::KEY] += k2;
        sums[forward::PAIRED_QUERY] += (t + 1) as f64 * q2;
        sums[forward::PAIRED_KEY] += (len - t) as f64 * k2;
    }
}

/// The output and its gradient, and `<dO_t, O_t>` of each row `t`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn load_output(shape: Shape, out: &[f32], d_out: &[f32], b: usize, h: usize, w: &mut Scratch) {
    let (width, column, d) = (shape.width(), h * shape.head_dim, w.d);
    gather(shape, (out, width), (b, column), d, &mut w.o);
    gather(shape, (d_out, width), (b, column), d, &mut w.d_o);
    for ((a, b), o) in w.d_o.chunks_exact(d).zip(w.o.chunks_exact(d)).zip(&mut w.row) {
        *o = dot(a, b);
    }
}

/// Rows of a gradient with respect to rotated vectors: times `factor`, turned back; row 0 is position `first`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn rope_inverse(
    rows: &mut [f32],
    d: usize,
    dh: usize,
    rope: Option<&Rope>,
    first: usize,
    factor: f32,
) {
    if factor != 1.0 {
        rows.iter_mut().for_each(|v| *v *= factor);
    }
    if let Some(r) = rope {
        for (t, row) in rows.chunks_exact_mut(d).enumerate() {
            r.rotate(first + t, &mut row[..dh], true);
        }
    }
}
