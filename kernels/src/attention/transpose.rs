//! Transposition of one head's matrix, `[t, d]` to `[d, t]`, both whole lanes.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Element by element, as any compiler and machine can.
#[inline(always)]
pub(super) fn plain(t: usize, d: usize, src: &[f32], dst: &mut [f32]) {
    use crate::simd::LANES;
    for t0 in (0..t).step_by(LANES) {
        let block = &src[t0 * d..(t0 + LANES) * d];
        for c in 0..d {
            let to = &mut dst[c * t + t0..][..LANES];
            for (l, to) in to.iter_mut().enumerate() {
                *to = block[l * d + c];
            }
        }
    }
}

/// In squares of 8 x 8 that stay in registers: no compiler finds these shuffles in [`plain`], which takes thrice as long.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
pub(super) fn avx(t: usize, d: usize, src: &[f32], dst: &mut [f32]) {
    const SIDE: usize = 8;
    assert!(t.is_multiple_of(SIDE) && d.is_multiple_of(SIDE) && src.len() >= t * d && dst.len() >= t * d);
    for t0 in (0..t).step_by(SIDE) {
        for c in (0..d).step_by(SIDE) {
            // SAFETY: rows t0 .. t0 + 8 and columns c .. c + 8 are inside the matrix by the assertion.
            let row = |i: usize| unsafe { _mm256_loadu_ps(src.as_ptr().add((t0 + i) * d + c)) };
            let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
            let (r4, r5, r6, r7) = (row(4), row(5), row(6), row(7));
            // pairs of rows
            let (p0, p1) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
            let (p2, p3) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
            let (p4, p5) = (_mm256_unpacklo_ps(r4, r5), _mm256_unpackhi_ps(r4, r5));
            let (p6, p7) = (_mm256_unpacklo_ps(r6, r7), _mm256_unpackhi_ps(r6, r7));
            // fours: columns (0, 4), (1, 5), (2, 6), (3, 7) of the upper and lower half
            let (u0, u1) = (_mm256_shuffle_ps::<0x44>(p0, p2), _mm256_shuffle_ps::<0xee>(p0, p2));
            let (u2, u3) = (_mm256_shuffle_ps::<0x44>(p1, p3), _mm256_shuffle_ps::<0xee>(p1, p3));
            let (l0, l1) = (_mm256_shuffle_ps::<0x44>(p4, p6), _mm256_shuffle_ps::<0xee>(p4, p6));
            let (l2, l3) = (_mm256_shuffle_ps::<0x44>(p5, p7), _mm256_shuffle_ps::<0xee>(p5, p7));
            for (i, (u, l)) in [(u0, l0), (u1, l1), (u2, l2), (u3, l3)].into_iter().enumerate() {
                let (low, high) =
                    (_mm256_permute2f128_ps::<0x20>(u, l), _mm256_permute2f128_ps::<0x31>(u, l));
                // SAFETY: as above, with the sides exchanged.
                unsafe {
                    _mm256_storeu_ps(dst.as_mut_ptr().add((c + i) * t + t0), low);
                    _mm256_storeu_ps(dst.as_mut_ptr().add((c + 4 + i) * t + t0), high);
                }
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #[test]
    fn squares_and_elements_agree() {
        if !is_x86_feature_detected!("avx") {
            return;
        }
        for (t, d) in [(16, 16), (32, 48), (128, 32)] {
            let src: Vec<f32> = (0..t * d).map(|i| i as f32).collect();
            let (mut want, mut got) = (vec![0.0; t * d], vec![0.0; t * d]);
            super::plain(t, d, &src, &mut want);
            // SAFETY: AVX was detected above.
            unsafe { super::avx(t, d, &src, &mut got) };
            assert_eq!(got, want);
        }
    }
}
