//! Totals over the residual writes of one block, in one pass over its tokens.

use std::borrow::Cow;
use std::ops::Range;

use multiversion::multiversion;
use numpy::ndarray::{ArrayView2, Axis};

use super::lanes::{FOLD, LANES};
use super::parallel::each;

/// Names of the scalar totals, in order: both writes (attention's 0, the FFN's 1), then the hidden activation.
pub const SCALARS: [&str; 11] = [
    "energy0",
    "dot0",
    "before0",
    "after0",
    "energy1",
    "dot1",
    "before1",
    "after1",
    "tokens",
    "hidden",
    "hidden_tokens",
];
/// Numbers that are worth a thread of their own.
const SPLIT: usize = 1 << 18;

/// Totals of one block.
pub struct Block {
    /// In the order of [`SCALARS`].
    pub scalars: [f64; SCALARS.len()],
    /// Attention's write, the FFN's, and the hidden activation, added over tokens.
    pub sums: [Vec<f64>; 3],
}

/// Totals over tokens: the stream before the block, what attention writes, the stream behind it (`[N, d]` each), and
/// the hidden activation `[M, d_ff]`. The FFN's write is everything else that the block adds.
pub fn block(
    before: ArrayView2<'_, f32>,
    write: ArrayView2<'_, f32>,
    after: ArrayView2<'_, f32>,
    hidden: Option<ArrayView2<'_, f32>>,
) -> Block {
    let width = before.dim().1;
    let at = pieces(before.dim().0, width);
    let parts = each(at.len(), 3 * before.len(), |piece| {
        let mut block = Block::empty(width);
        for i in at[piece].clone() {
            token(&mut block, &contiguous(before, i), &contiguous(write, i), &contiguous(after, i));
        }
        block.scalars[8] = at[piece].len() as f64;
        block
    });
    let mut out = parts.into_iter().fold(Block::empty(width), Block::plus);
    if let Some(hidden) = hidden {
        let wide = hidden.dim().1;
        let at = pieces(hidden.dim().0, wide);
        let parts = each(at.len(), hidden.len(), |piece| {
            let (mut squares, mut sums) = (0.0, vec![0.0; wide]);
            for i in at[piece].clone() {
                activation(&mut squares, &mut sums, &contiguous(hidden, i));
            }
            (squares, sums)
        });
        let plus = |a: (f64, Vec<f64>), b: (f64, Vec<f64>)| (a.0 + b.0, added(a.1, &b.1));
        let (squares, sums) = parts.into_iter().fold((0.0, vec![0.0; wide]), plus);
        (out.scalars[9], out.scalars[10], out.sums[2]) = (squares, hidden.dim().0 as f64, sums);
    }
    out
}

/// Rows in pieces of a size that threads can share.
fn pieces(rows: usize, width: usize) -> Vec<Range<usize>> {
    let size = (SPLIT / width.max(1)).max(1);
    (0..rows).step_by(size).map(|first| first..(first + size).min(rows)).collect()
}

/// A row; copied where it does not lie in one piece.
fn contiguous(a: ArrayView2<'_, f32>, row: usize) -> Cow<'_, [f32]> {
    let row = a.index_axis_move(Axis(0), row);
    match row.to_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(row.to_vec()),
    }
}

fn added(mut a: Vec<f64>, b: &[f64]) -> Vec<f64> {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    a
}

impl Block {
    fn empty(width: usize) -> Self {
        Self { scalars: [0.0; SCALARS.len()], sums: [vec![0.0; width], vec![0.0; width], Vec::new()] }
    }

    fn plus(mut self, other: Self) -> Self {
        self.scalars.iter_mut().zip(other.scalars).for_each(|(a, b)| *a += b);
        let [a, b, c] = self.sums;
        self.sums = [added(a, &other.sums[0]), added(b, &other.sums[1]), c];
        self
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn token(block: &mut Block, before: &[f32], write: &[f32], after: &[f32]) {
    let [sum0, sum1, _] = &mut block.sums;
    let pieces = before.chunks(FOLD).zip(write.chunks(FOLD)).zip(after.chunks(FOLD));
    let columns = sum0.chunks_mut(FOLD).zip(sum1.chunks_mut(FOLD));
    for (((h, w), n), (s0, s1)) in pieces.zip(columns) {
        let mut acc = [[0f32; LANES]; 7];
        let whole = h.len() / LANES * LANES;
        let lanes = h[..whole].as_chunks::<LANES>().0.iter();
        let lanes = lanes.zip(w[..whole].as_chunks::<LANES>().0).zip(n[..whole].as_chunks::<LANES>().0);
        let both =
            s0[..whole].as_chunks_mut::<LANES>().0.iter_mut().zip(s1[..whole].as_chunks_mut::<LANES>().0);
        for (((h, w), n), (s0, s1)) in lanes.zip(both) {
            for l in 0..LANES {
                let values = terms(h[l], w[l], n[l]);
                for (a, v) in acc.iter_mut().zip(values) {
                    a[l] += v;
                }
                s0[l] += f64::from(w[l]);
                s1[l] += f64::from(n[l] - (h[l] + w[l]));
            }
        }
        for i in whole..h.len() {
            let values = terms(h[i], w[i], n[i]);
            for (a, v) in acc.iter_mut().zip(values) {
                a[0] += v;
            }
            s0[i] += f64::from(w[i]);
            s1[i] += f64::from(n[i] - (h[i] + w[i]));
        }
        let [energy0, dot0, before0, middle, energy1, dot1, after1] =
            acc.map(|a| f64::from(a.iter().sum::<f32>()));
        let values = [energy0, dot0, before0, middle, energy1, dot1, middle, after1];
        block.scalars.iter_mut().zip(values).for_each(|(a, v)| *a += v);
    }
}

/// What one coordinate adds to the seven sums.
#[inline(always)]
fn terms(h: f32, w: f32, n: f32) -> [f32; 7] {
    let middle = h + w;
    let ffn = n - middle;
    [w * w, w * h, h * h, middle * middle, ffn * ffn, ffn * middle, n * n]
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn activation(squares: &mut f64, sums: &mut [f64], row: &[f32]) {
    *squares += super::lanes::sum(row, |v| v * v);
    for (s, v) in sums.iter_mut().zip(row) {
        *s += f64::from(*v);
    }
}
