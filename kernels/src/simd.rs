//! Vectorizable scalar functions and lane-wise reductions.
//!
//! Everything here is `inline(always)`, so that it compiles to the widest registers of the multiversioned
//! function that calls it. Reductions run over `LANES` partial sums in a fixed order: same bits on any thread count.

use std::hint::black_box;

/// Partial sums kept by each reduction.
pub(crate) const LANES: usize = 16;

/// `exp(x)` to about 2 ulp on [-87, 88]; exactly 0 below -87.7, large and finite above.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub(crate) fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it leaves the rounded integer in the low mantissa bits.
    const MAGIC: f32 = 12_582_912.0;
    // -88 rounds to the exponent -127, whose scale below is exactly 0: no subnormal reaches a matrix product.
    let x = x.clamp(-88.0, 88.376_26);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = n.mul_add(-0.693_359_375, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_15e-4_f32;
    p = p.mul_add(r, 1.398_199_950_7e-3);
    p = p.mul_add(r, 8.333_451_907_3e-3);
    p = p.mul_add(r, 4.166_579_589_4e-2);
    p = p.mul_add(r, 1.666_666_545_9e-1);
    p = p.mul_add(r, 5.000_000_120_1e-1);
    let y = (p * r).mul_add(r, r) + 1.0;
    let scale = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    y * scale
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Fold `LANES` partial sums in a fixed tree order.
#[inline(always)]
pub(crate) fn fold(acc: [f32; LANES]) -> f32 {
    tree(acc, |x, y| x + y)
}

/// Largest of `LANES` partial maxima.
#[inline(always)]
pub(crate) fn fold_max(acc: [f32; LANES]) -> f32 {
    tree(acc, |x, y| if x > y { x } else { y })
}

/// Halves against halves: 16, 8, 4, 2, 1.
///
/// Each width passes through memory (`black_box`): the vectorizer would otherwise follow the tree up into the loop
/// that filled the lanes, and cut its 16-wide registers into pairs.
#[inline(always)]
fn tree(a: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let a = black_box(a);
    let mut h = [0f32; LANES / 2];
    for i in 0..LANES / 2 {
        h[i] = f(a[i], a[i + LANES / 2]);
    }
    let h = black_box(h);
    let mut q = [0f32; LANES / 4];
    for i in 0..LANES / 4 {
        q[i] = f(h[i], h[i + LANES / 4]);
    }
    let q = black_box(q);
    f(f(q[0], q[2]), f(q[1], q[3]))
}

/// Copy whole lanes as registers, the rest one by one: rows are too short for a call to `memcpy`.
#[inline(always)]
pub(crate) fn copy(dst: &mut [f32], src: &[f32]) {
    let (dc, dt) = dst.as_chunks_mut::<LANES>();
    let (sc, st) = src.as_chunks::<LANES>();
    for (d, s) in dc.iter_mut().zip(sc) {
        *d = *s;
    }
    for (d, s) in dt.iter_mut().zip(st) {
        *d = *s;
    }
}

type Lane = [f32; LANES];

/// `f(sum, a, b, c)` lane by lane over three slices of one length, from zero, in two chains (one chain would wait for
/// each addition to finish).
///
/// Slices rather than a function of the index: an index would be checked element by element, which no vector survives.
#[inline(always)]
pub(crate) fn reduce(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32, f32) -> f32) -> f32 {
    let n = a.len().min(b.len()).min(c.len());
    let (ac, at) = a[..n].as_chunks::<LANES>();
    let (bc, bt) = b[..n].as_chunks::<LANES>();
    let (cc, ct) = c[..n].as_chunks::<LANES>();
    let (ap, ao) = ac.as_chunks::<2>();
    let (bp, bo) = bc.as_chunks::<2>();
    let (cp, co) = cc.as_chunks::<2>();
    let (mut even, mut odd) = ([0f32; LANES], [0f32; LANES]);
    for (([a0, a1], [b0, b1]), [c0, c1]) in ap.iter().zip(bp).zip(cp) {
        step(&f, &mut even, a0, b0, c0);
        step(&f, &mut odd, a1, b1, c1);
    }
    for ((a, b), c) in ao.iter().zip(bo).zip(co) {
        step(&f, &mut even, a, b, c);
    }
    let rest = at.len();
    if rest > 0 {
        if n >= LANES {
            // the last whole lane again, of which only the new elements count
            let last = |v: &[f32]| -> Lane { std::array::from_fn(|l| v[n - LANES..n][l]) };
            let (a, b, c) = (last(a), last(b), last(c));
            for l in 0..LANES {
                let next = f(odd[l], a[l], b[l], c[l]);
                odd[l] = if l >= LANES - rest { next } else { odd[l] };
            }
        } else {
            let mut few = [0f32; LANES];
            for (s, ((a, b), c)) in few.iter_mut().zip(at.iter().zip(bt).zip(ct)) {
                *s = f(0.0, *a, *b, *c);
            }
            odd = black_box(few);
        }
    }
    for l in 0..LANES {
        even[l] += odd[l];
    }
    fold(even)
}

#[inline(always)]
fn step(f: &impl Fn(f32, f32, f32, f32) -> f32, s: &mut Lane, a: &Lane, b: &Lane, c: &Lane) {
    for l in 0..LANES {
        s[l] = f(s[l], a[l], b[l], c[l]);
    }
}

/// The first elements of a lane, zeros after them.
#[inline(always)]
pub(crate) fn padded(v: &[f32]) -> Lane {
    let mut lane = [0f32; LANES];
    for (l, v) in lane.iter_mut().zip(v) {
        *l = *v;
    }
    lane
}

/// Add every row of a row-major matrix to `sums`, one row after the other.
///
/// Columns in groups whose sums stay in registers: row by row, each sum would be loaded and stored at every row.
#[inline(always)]
pub(crate) fn add_columns(sums: &mut [f32], rows: &[f32]) {
    let width = sums.len();
    let (groups, rest) = sums.as_chunks_mut::<{ 4 * LANES }>();
    for (g, sums) in groups.iter_mut().enumerate() {
        let mut acc = *sums;
        for row in rows.chunks_exact(width) {
            let row = &row[g * 4 * LANES..][..4 * LANES];
            for (a, v) in acc.iter_mut().zip(row) {
                *a += v;
            }
        }
        *sums = acc;
    }
    let done = width - rest.len();
    for row in rows.chunks_exact(width) {
        for (a, v) in rest.iter_mut().zip(&row[done..]) {
            *a += v;
        }
    }
}

/// `<a, b>` over the shorter length.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    reduce(a, b, b, |s, a, b, _| a.mul_add(b, s))
}

/// Plain sum.
#[inline(always)]
pub(crate) fn sum(a: &[f32]) -> f32 {
    reduce(a, a, a, |s, a, _, _| s + a)
}

/// Largest element (`-inf` when empty; NaN is ignored unless all are NaN).
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let larger = |m: f32, x: f32| if x > m { x } else { m };
    let (mut even, mut odd) = ([f32::NEG_INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let (chunks, tail) = a.as_chunks::<LANES>();
    let (pairs, rest) = chunks.as_chunks::<2>();
    for [x, y] in pairs {
        for l in 0..LANES {
            even[l] = larger(even[l], x[l]);
            odd[l] = larger(odd[l], y[l]);
        }
    }
    for x in rest {
        for l in 0..LANES {
            even[l] = larger(even[l], x[l]);
        }
    }
    for (m, x) in odd.iter_mut().zip(tail) {
        *m = larger(*m, *x);
    }
    for l in 0..LANES {
        even[l] = larger(even[l], odd[l]);
    }
    fold_max(even)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_three_ulp() {
        // Cephes' polynomial is good to 2 ulp in its interval; one more for the final product.
        for i in -86_000..88_000 {
            let x = i as f32 * 1e-3;
            let want = (x as f64).exp();
            let got = exp(x) as f64;
            assert!((got - want).abs() <= 3.0 * f32::EPSILON as f64 * want, "exp({x}) = {got}, want {want}");
        }
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(-87.8), 0.0);
        assert!(exp(1e30).is_finite());
    }

    #[test]
    fn reductions_match_float64_at_odd_lengths() {
        for n in [0usize, 1, 7, 15, 16, 17, 33, 100, 1001] {
            let a: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
            let b: Vec<f32> = (0..n).map(|i| ((i * 53 % 97) as f32 - 48.0) / 5.0).collect();
            let abs: f64 = a.iter().zip(&b).map(|(x, y)| (*x as f64 * *y as f64).abs()).sum();
            let want: f64 = a.iter().zip(&b).map(|(x, y)| *x as f64 * *y as f64).sum();
            // n/LANES additions per lane plus the tree: error <= (n/16 + 5) eps sum|terms|
            let tol = (n as f64 / 16.0 + 5.0) * f32::EPSILON as f64 * abs;
            assert!((dot(&a, &b) as f64 - want).abs() <= tol);
            let twice = reduce(&a, &b, &a, |s, a, b, _| s + a * b);
            assert!((twice as f64 - want).abs() <= tol);
            // lanes beyond the end take no part, whatever the function makes of zeros
            let ones = reduce(&a, &a, &a, |s, _, _, _| s + 1.0);
            assert_eq!(ones, n as f32);
            let s: f64 = a.iter().map(|x| *x as f64).sum();
            let sa: f64 = a.iter().map(|x| x.abs() as f64).sum();
            assert!((sum(&a) as f64 - s).abs() <= (n as f64 / 16.0 + 5.0) * f32::EPSILON as f64 * sa);
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
