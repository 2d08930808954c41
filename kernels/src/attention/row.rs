//! One block of query rows: softmax with its statistics, and the gradient with respect to the logits.

use multiversion::multiversion;

use super::accumulators::{SHARP_KEYS, backward, forward};
use super::tile::ROWS;
use crate::simd::{LANES, exp, fold, fold_max};

/// Elements whose sums stay in float32 lanes before they join the float64 totals.
const FOLD: usize = 512;

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
    sums: &mut [f64; forward::COUNT],
) {
    let width = block.width();
    for (r, row) in s.chunks_exact_mut(block.stride).take(block.rows).enumerate() {
        let len = block.first + r + 1;
        let (keys, beyond) = row[..width].split_at_mut(len.next_multiple_of(LANES));
        beyond.fill(0.0);
        let (whole, rest) = (len / LANES, len % LANES);
        let (chunks, _) = keys.as_chunks_mut::<LANES>();
        let RowEnds { max: m, min, total, s2 } = row_ends(chunks, whole, rest);
        let mean = total / len as f32;
        let top = first_of(chunks, m);
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
        sums[forward::SQUARES] += f64::from(s2);
        sums[forward::CENTRED] += f64::from(c2);
        sums[forward::TOP1] += f64::from(1.0 / z);
        if len >= 2 {
            let relative = f64::from((ln_z - es / z) / ln_len[len - 1]);
            sums[forward::ENTROPY] += relative;
            if len >= SHARP_KEYS {
                sums[forward::SHARPNESS] += 1.0 - relative;
            }
        }
        // No key is the largest where a logit is NaN.
        sums[forward::DISTANCE] += top.map_or(f64::NAN, |j| (len - 1) as f64 - j as f64);
        sums[forward::LOGITS] += f64::from(total);
        let broken = (lse[r] - ln_len[len - 1] - m).max(m - lse[r]);
        for (place, value) in [(forward::TOP, m), (forward::DEPTH, -min), (forward::BRACKET, broken)] {
            sums[place] = sums[place].max(f64::from(value));
        }
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

/// What one row is before its softmax.
struct RowEnds {
    max: f32,
    min: f32,
    total: f32,
    s2: f32,
}

#[inline(always)]
fn row_ends(chunks: &[[f32; LANES]], whole: usize, rest: usize) -> RowEnds {
    let (mut m, mut n) = ([f32::NEG_INFINITY; LANES], [f32::INFINITY; LANES]);
    let (mut s, mut q) = ([0f32; LANES], [0f32; LANES]);
    for c in &chunks[..whole] {
        for l in 0..LANES {
            m[l] = if c[l] > m[l] { c[l] } else { m[l] };
            n[l] = if c[l] < n[l] { c[l] } else { n[l] };
            s[l] += c[l];
            q[l] = c[l].mul_add(c[l], q[l]);
        }
    }
    if rest > 0 {
        let c = &chunks[whole];
        for l in 0..LANES {
            let x = if l < rest { c[l] } else { 0.0 };
            m[l] = if l < rest && x > m[l] { x } else { m[l] };
            n[l] = if l < rest && x < n[l] { x } else { n[l] };
            s[l] += x;
            q[l] = x.mul_add(x, q[l]);
        }
    }
    RowEnds { max: fold_max(m), min: -fold_max(n.map(|v| -v)), total: fold(s), s2: fold(q) }
}

/// Place of the first element that equals `value`. What lies beyond the row's end comes after every key of it.
#[inline(always)]
fn first_of(chunks: &[[f32; LANES]], value: f32) -> Option<usize> {
    chunks.iter().enumerate().find_map(|(at, c)| {
        // All lanes at once, then which: a search that stops at a lane would not be a vector's.
        let hit = c.iter().fold(false, |hit, v| hit | (*v == value));
        if hit { c.iter().position(|v| *v == value).map(|l| at * LANES + l) } else { None }
    })
}

/// `P = exp(S - lse)` into `p`, `dS = P (dP - delta)` into `dp`, with `sum dS^2` and `sum (S - c) dS`, c = lse -
/// ln(keys); zero beyond the diagonal and in the rows that pad the last register tile.
///
/// `p` enters as S and `dp` as dP; `delta_r = <dO_r, O_r>`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn grad_block(
    (p, dp): (&mut [f32], &mut [f32]),
    block: Block,
    ln_len: &[f32],
    (lse, delta): (&[f32], &[f32]),
    sums: &mut [f64; backward::COUNT],
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
        let row = GradientRow { lse: lse[r], centre: lse[r] - ln_len[len - 1], delta: delta[r] };
        for (p, dp) in pc[..whole].iter_mut().zip(&mut dc[..whole]) {
            acc.add(p, dp, LANES, row);
        }
        if rest > 0 {
            acc.add(&mut pc[whole], &mut dc[whole], rest, row);
        }
        pending += len;
        if pending >= FOLD || r + 1 == block.rows {
            sums[backward::SQUARES] += f64::from(fold(acc.g2));
            sums[backward::PRODUCT] += f64::from(fold(acc.sg));
            acc = LogitGradient { g2: [0.0; LANES], sg: [0.0; LANES] };
            pending = 0;
        }
    }
}

/// What the gradient of one row needs beside its logits.
#[derive(Clone, Copy)]
struct GradientRow {
    lse: f32,
    centre: f32,
    delta: f32,
}

/// Lane-wise sums of several rows: `dS^2`, `(S - c) dS`.
struct LogitGradient {
    g2: [f32; LANES],
    sg: [f32; LANES],
}

impl LogitGradient {
    /// Adds the first `n` lanes; the others become 0.
    #[inline(always)]
    fn add(&mut self, p: &mut [f32; LANES], dp: &mut [f32; LANES], n: usize, row: GradientRow) {
        for l in 0..LANES {
            let s = if l < n { p[l] } else { 0.0 };
            let prob = exp(if l < n { s - row.lse } else { f32::MIN });
            let ds = prob * if l < n { dp[l] - row.delta } else { 0.0 };
            let about = if l < n { s - row.centre } else { 0.0 };
            p[l] = prob;
            dp[l] = ds;
            self.g2[l] = ds.mul_add(ds, self.g2[l]);
            self.sg[l] = about.mul_add(ds, self.sg[l]);
        }
    }
}
