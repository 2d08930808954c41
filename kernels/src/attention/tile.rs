//! Products of one head's small matrices, without packing: rows of `b` are read as they lie, elements of `a` broadcast.
//!
//! A general matrix product packs its operands at each call, which at `d_h = 32` and blocks of 32 queries costs as much
//! as the arithmetic. Here every right operand already lies in rows of whole lanes, and what the causal mask excludes is
//! not computed. One fixed order of summation: same bits on any number of threads.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

use crate::simd::LANES;

/// Rows of a register tile; buffers hold a multiple of it.
pub(super) const ROWS: usize = 4;

/// The broadcast operand: element `(i, l)` is `data[i * row + l * column]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub column: usize,
}

impl Left<'_> {
    #[inline(always)]
    fn from(self, i: usize, l: usize) -> Self {
        Self { data: &self.data[i * self.row + l * self.column..], ..self }
    }
}

/// A row-major matrix whose rows start `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub data: &'a [f32],
    pub stride: usize,
}

type Lane = [f32; LANES];

#[inline(always)]
fn fma(acc: &mut Lane, x: f32, b: &Lane) {
    for i in 0..LANES {
        acc[i] = x.mul_add(b[i], acc[i]);
    }
}

/// Rows that start `stride` apart, and whether a product is added to what they hold.
struct Target<'a> {
    data: &'a mut [f32],
    stride: usize,
    add: bool,
}

impl Target<'_> {
    /// A register of row `r`, from `column` on.
    #[inline(always)]
    fn store(&mut self, r: usize, column: usize, acc: &Lane) {
        for (c, a) in self.data[r * self.stride + column..][..LANES].iter_mut().zip(acc) {
            *c = if self.add { *c + a } else { *a };
        }
    }
}

/// The indices that a tile of `width` columns reads are all in bounds.
#[inline(always)]
fn check(a: Left<'_>, b: Right<'_>, column: usize, width: usize, k: usize) {
    assert!(a.data.len() > (ROWS - 1) * a.row + (k - 1) * a.column);
    assert!(b.data.len() >= (k - 1) * b.stride + column + width);
}

/// `c [ROWS, LANES] = or += a [ROWS, k] b [k, LANES]`, `k > 0`.
#[inline(always)]
fn narrow(c: &mut Target<'_>, a: Left<'_>, b: Right<'_>, column: usize, k: usize) {
    check(a, b, column, LANES, k);
    let mut acc = [[0f32; LANES]; ROWS];
    for l in 0..k {
        // SAFETY: `check`.
        let lane = unsafe { &*b.data.as_ptr().add(l * b.stride + column).cast::<Lane>() };
        for (r, acc) in acc.iter_mut().enumerate() {
            // SAFETY: `check`.
            fma(acc, unsafe { *a.data.get_unchecked(r * a.row + l * a.column) }, lane);
        }
    }
    for (r, acc) in acc.iter().enumerate() {
        c.store(r, column, acc);
    }
}

/// `c [ROWS, 2 LANES] = or += a [ROWS, k] b [k, 2 LANES]`, `k > 0`.
///
/// Eight accumulators by name and lanes by value: as nested arrays they would live in memory.
#[inline(always)]
fn wide(c: &mut Target<'_>, a: Left<'_>, b: Right<'_>, column: usize, k: usize) {
    check(a, b, column, 2 * LANES, k);
    let zero = [0f32; LANES];
    let (mut a00, mut a01, mut a10, mut a11) = (zero, zero, zero, zero);
    let (mut a20, mut a21, mut a30, mut a31) = (zero, zero, zero, zero);
    for l in 0..k {
        let at = b.data.as_ptr();
        // SAFETY: `check`.
        let b0 = unsafe { at.add(l * b.stride + column).cast::<Lane>().read() };
        // SAFETY: `check`.
        let b1 = unsafe { at.add(l * b.stride + column + LANES).cast::<Lane>().read() };
        // SAFETY: `check`.
        let x = |r: usize| unsafe { *a.data.get_unchecked(r * a.row + l * a.column) };
        let (x0, x1, x2, x3) = (x(0), x(1), x(2), x(3));
        fma(&mut a00, x0, &b0);
        fma(&mut a01, x0, &b1);
        fma(&mut a10, x1, &b0);
        fma(&mut a11, x1, &b1);
        fma(&mut a20, x2, &b0);
        fma(&mut a21, x2, &b1);
        fma(&mut a30, x3, &b0);
        fma(&mut a31, x3, &b1);
    }
    for (r, (left, right)) in [(a00, a01), (a10, a11), (a20, a21), (a30, a31)].iter().enumerate() {
        c.store(r, column, left);
        c.store(r, column + LANES, right);
    }
}

/// All columns `0..n` (whole lanes) of `ROWS` rows. `WIDE`: 32 registers of 16 floats hold the wide tile.
#[inline(always)]
fn strip<const WIDE: bool>(mut c: Target<'_>, a: Left<'_>, b: Right<'_>, n: usize, k: usize) {
    let mut column = 0;
    if WIDE {
        while column + 2 * LANES <= n {
            wide(&mut c, a, b, column, k);
            column += 2 * LANES;
        }
    }
    while column < n {
        narrow(&mut c, a, b, column, k);
        column += LANES;
    }
}

/// Scores `c = a b` of query rows `first..first + rows` against the keys that their strip may see.
///
/// `a [rows, d]`, `b [d, keys]`, `c [rows, keys]` with rows `b.stride` apart.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn scores(c: &mut [f32], a: Left<'_>, b: Right<'_>, rows: usize, first: usize, d: usize) {
    for r in (0..rows).step_by(ROWS) {
        let keys = (first + r + ROWS).next_multiple_of(LANES).min(b.stride);
        let c = Target { data: &mut c[r * b.stride..], stride: b.stride, add: false };
        let a = a.from(r, 0);
        if target_cfg_f!(target_feature = "avx512f") {
            strip::<true>(c, a, b, keys, d);
        } else {
            strip::<false>(c, a, b, keys, d);
        }
    }
}

/// Weighted sums over keys `c = a b` for query rows `first..first + rows`.
///
/// `a [rows, keys]`, zero beyond the diagonal; `b [keys, b.stride]`, `c` alike.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn over_keys(c: &mut [f32], a: Left<'_>, b: Right<'_>, rows: usize, first: usize) {
    for r in (0..rows).step_by(ROWS) {
        let c = Target { data: &mut c[r * b.stride..], stride: b.stride, add: false };
        let (a, k) = (a.from(r, 0), first + r + ROWS);
        if target_cfg_f!(target_feature = "avx512f") {
            strip::<true>(c, a, b, b.stride, k);
        } else {
            strip::<false>(c, a, b, b.stride, k);
        }
    }
}

/// Weighted sums over queries `c += a^T b`, for every key that one of query rows `first..first + rows` sees.
///
/// `a [rows, a.column]`, zero beyond the diagonal, its element `(key, query)` at `key + query * a.column`;
/// `b [rows, b.stride]`; `c [keys, b.stride]`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub(super) fn over_queries(c: &mut [f32], a: Left<'_>, b: Right<'_>, rows: usize, first: usize) {
    for key in (0..first + rows).step_by(ROWS) {
        // queries before the first key of this strip see none of it
        let from = key.saturating_sub(first);
        let seen = Right { data: &b.data[from * b.stride..], ..b };
        let c = Target { data: &mut c[key * b.stride..], stride: b.stride, add: true };
        let (a, k) = (a.from(key, from), rows - from);
        if target_cfg_f!(target_feature = "avx512f") {
            strip::<true>(c, a, seen, b.stride, k);
        } else {
            strip::<false>(c, a, seen, b.stride, k);
        }
    }
}
