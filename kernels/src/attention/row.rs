//! One block of query rows: softmax with its statistics, and the gradient with respect to the logits.

use multiversion::multiversion;

use super::LogitGradStats;
use super::tile::ROWS;
use crate::simd::{LANES, exp, fold, fold_max};

/// Elements whose sums stay in float32 lanes before they join the float64 totals.
const FOLD: usize = 512;

/// Sums over the rows of one (sequence, head).
#[derive(Debug, Clone, Copy)]
pub(super) struct RowSums {
    pub max: f32,
    pub s2: f64,
    pub c2: f64,
    pub entropy: f64,
    pub top1: f64,
    pub lse_gap: f32,
}

impl Default for RowSums {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, s2: 0.0, c2: 0.0, entropy: 0.0, top1: 0.0, lse_gap: f32::NEG_INFINITY }
    }
}

/// A block of scores: row `r` is query `first + r`, has `first + r + 1` keys and starts at `r * stride`.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Whole lanes.
    pub stride: usize,
    pub first: usize,
    pub rows: usize,
}

impl Block {
    /// Columns that any row of the block or of its last register tile may read.
    #[inline(always)]
    fn width(&self) -> usize {
        (self.first + self.rows + ROWS).next_multiple_of(LANES).min(self.stride)
    }

    /// Rows that register tiles read.
    #[inline(always)]
    fn padded_rows(&self) -> usize {
        self.rows.next_multiple_of(ROWS)
    }
}

/// Turn logits into `exp(s - max)` in place, zero beyond the diagonal; `inv_z` receives 1 / row sum.
///
/// `ln_len[n - 1] = ln(n)`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn softmax_block(
    s: &mut [f32],
    block: Block,
    ln_len: &[f32],
    lse: &mut [f32],
    inv_z: &mut [f32],
    sums: &mut RowSums,
) {
    let width = block.width();
    for (r, row) in s.chunks_exact_mut(block.stride).take(block.rows).enumerate() {
        let len = block.first + r + 1;
        let (keys, beyond) = row[..width].split_at_mut(len.next_multiple_of(LANES));
        beyond.fill(0.0);
        let (whole, rest) = (len / LANES, len % LANES);
        let (chunks, _) = keys.as_chunks_mut::<LANES>();
        let (m, total, s2) = max_sum_squares(chunks, whole, rest);
        let mean = total / len as f32;
        let mut acc = Softmax { z: [0.0; LANES], es: [0.0; LANES], c2: [0.0; LANES] };
        for c in &mut chunks[..whole] {
            acc.add(c, LANES, m, mean);
        }
        if rest > 0 {
            acc.add(&mut chunks[whole], rest, m, mean);
        }
        let (z, es, c2) = (fold(acc.z), fold(acc.es), fold(acc.c2));
        let ln_z = z.ln();
        lse[r] = m + ln_z;
        inv_z[r] = 1.0 / z;
        sums.max = sums.max.max(m);
        sums.s2 += f64::from(s2);
        sums.c2 += f64::from(c2);
        sums.top1 += f64::from(1.0 / z);
        if len >= 2 {
            sums.entropy += f64::from((ln_z - es / z) / ln_len[len - 1]);
        }
        sums.lse_gap = sums.lse_gap.max(lse[r] - ln_len[len - 1] - m).max(m - lse[r]);
    }
}

/// Lane-wise sums of one row: `e = exp(s - max)`, `e (s - max)`, `(s - mean)^2`.
struct Softmax {
    z: [f32; LANES],
    es: [f32; LANES],
    c2: [f32; LANES],
}

impl Softmax {
    /// Adds the first `n` lanes; the others become 0.
    #[inline(always)]
    fn add(&mut self, c: &mut [f32; LANES], n: usize, max: f32, mean: f32) {
        for (l, c) in c.iter_mut().enumerate() {
            // selected, not multiplied: whatever lies beyond the diagonal must not count
            let d = if l < n { *c - max } else { f32::MIN };
            let v = if l < n { *c - mean } else { 0.0 };
            let e = exp(d);
            self.z[l] += e;
            self.es[l] = e.mul_add(d, self.es[l]);
            self.c2[l] = v.mul_add(v, self.c2[l]);
            *c = e;
        }
    }
}

#[inline(always)]
fn max_sum_squares(chunks: &[[f32; LANES]], whole: usize, rest: usize) -> (f32, f32, f32) {
    let (mut m, mut s, mut q) = ([f32::NEG_INFINITY; LANES], [0f32; LANES], [0f32; LANES]);
    for c in &chunks[..whole] {
        for l in 0..LANES {
            m[l] = if c[l] > m[l] { c[l] } else { m[l] };
            s[l] += c[l];
            q[l] = c[l].mul_add(c[l], q[l]);
        }
    }
    if rest > 0 {
        let c = &chunks[whole];
        for l in 0..LANES {
            let x = if l < rest { c[l] } else { 0.0 };
            m[l] = if l < rest && x > m[l] { x } else { m[l] };
            s[l] += x;
            q[l] = x.mul_add(x, q[l]);
        }
    }
    (fold_max(m), fold(s), fold(q))
}

/// `P = exp(S - lse)` into `p`, `dS = P (dP - delta)` into `dp`, with `sum dS^2` and `sum S dS`; zero beyond the
/// diagonal and in the rows that pad the last register tile.
///
/// `p` enters as S and `dp` as dP; `delta_r = <dO_r, O_r>`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn grad_block(
    p: &mut [f32],
    dp: &mut [f32],
    block: Block,
    lse: &[f32],
    delta: &[f32],
    sums: &mut LogitGradStats,
) {
    let width = block.width();
    let rows = p.chunks_exact_mut(block.stride).zip(dp.chunks_exact_mut(block.stride));
    let mut acc = LogitGradient { g2: [0.0; LANES], sg: [0.0; LANES] };
    let mut pending = 0;
    for (r, (p, dp)) in rows.take(block.padded_rows()).enumerate() {
        let len = if r < block.rows { block.first + r + 1 } else { 0 };
        let (p, p_beyond) = p[..width].split_at_mut(len.next_multiple_of(LANES));
        let (dp, dp_beyond) = dp[..width].split_at_mut(len.next_multiple_of(LANES));
        p_beyond.fill(0.0);
        dp_beyond.fill(0.0);
        if len == 0 {
            continue;
        }
        let (whole, rest) = (len / LANES, len % LANES);
        let (pc, _) = p.as_chunks_mut::<LANES>();
        let (dc, _) = dp.as_chunks_mut::<LANES>();
        for (p, dp) in pc[..whole].iter_mut().zip(&mut dc[..whole]) {
            acc.add(p, dp, LANES, lse[r], delta[r]);
        }
        if rest > 0 {
            acc.add(&mut pc[whole], &mut dc[whole], rest, lse[r], delta[r]);
        }
        pending += len;
        if pending >= FOLD || r + 1 == block.rows {
            sums.gs2 += f64::from(fold(acc.g2));
            sums.sgs += f64::from(fold(acc.sg));
            acc = LogitGradient { g2: [0.0; LANES], sg: [0.0; LANES] };
            pending = 0;
        }
    }
}

/// Lane-wise sums of several rows: `dS^2`, `S dS`.
struct LogitGradient {
    g2: [f32; LANES],
    sg: [f32; LANES],
}

impl LogitGradient {
    /// Adds the first `n` lanes; the others become 0.
    #[inline(always)]
    fn add(&mut self, p: &mut [f32; LANES], dp: &mut [f32; LANES], n: usize, lse: f32, delta: f32) {
        for l in 0..LANES {
            let s = if l < n { p[l] } else { 0.0 };
            let prob = exp(if l < n { s - lse } else { f32::MIN });
            let ds = prob * if l < n { dp[l] - delta } else { 0.0 };
            p[l] = prob;
            dp[l] = ds;
            self.g2[l] = ds.mul_add(ds, self.g2[l]);
            self.sg[l] = s.mul_add(ds, self.sg[l]);
        }
    }
}
