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

/// Sum of `f(i)` over `0..n`, lane-wise.
#[inline(always)]
pub(crate) fn sum_by(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut acc = [0f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (l, a) in acc.iter_mut().enumerate() {
            *a += f(i + l);
        }
        i += LANES;
    }
    for (l, a) in acc.iter_mut().enumerate().take(n - whole) {
        *a += f(whole + l);
    }
    fold(acc)
}

/// `<a, b>` over the shorter length.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut acc = [0f32; LANES];
    let (ac, at) = a.as_chunks::<LANES>();
    let (bc, bt) = b.as_chunks::<LANES>();
    for (x, y) in ac.iter().zip(bc) {
        for l in 0..LANES {
            acc[l] = x[l].mul_add(y[l], acc[l]);
        }
    }
    for (l, (x, y)) in at.iter().zip(bt).enumerate() {
        acc[l] = x.mul_add(*y, acc[l]);
    }
    fold(acc)
}

/// Plain sum.
#[inline(always)]
pub(crate) fn sum(a: &[f32]) -> f32 {
    let mut acc = [0f32; LANES];
    let (ac, at) = a.as_chunks::<LANES>();
    for x in ac {
        for l in 0..LANES {
            acc[l] += x[l];
        }
    }
    for (l, x) in at.iter().enumerate() {
        acc[l] += x;
    }
    fold(acc)
}

/// Largest element (`-inf` when empty; NaN is ignored unless all are NaN).
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut acc = [f32::NEG_INFINITY; LANES];
    let (ac, at) = a.as_chunks::<LANES>();
    for x in ac {
        for l in 0..LANES {
            acc[l] = if x[l] > acc[l] { x[l] } else { acc[l] };
        }
    }
    for (l, x) in at.iter().enumerate() {
        acc[l] = acc[l].max(*x);
    }
    fold_max(acc)
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
            assert!((sum_by(n, |i| a[i] * b[i]) as f64 - want).abs() <= tol);
            let s: f64 = a.iter().map(|x| *x as f64).sum();
            let sa: f64 = a.iter().map(|x| x.abs() as f64).sum();
            assert!((sum(&a) as f64 - s).abs() <= (n as f64 / 16.0 + 5.0) * f32::EPSILON as f64 * sa);
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
