//! Sums over a plane that vectorize and always run in the same order.

use crate::element::{Element, vectorized};

const LANES: usize = 16;

/// `sum of f(a, b)` over two slices of one length: lane by lane within runs of 4,096 elements, float64 between runs.
#[inline(always)]
pub(crate) fn sum2<T: Element>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> f64 {
    vectorized(
        #[inline(always)]
        || {
            let mut total = 0.0;
            for (a, b) in a.chunks(4096).zip(b.chunks(4096)) {
                let mut lanes = [T::zero(); LANES];
                let ((ac, at), (bc, bt)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
                for (a, b) in ac.iter().zip(bc) {
                    for l in 0..LANES {
                        lanes[l] += f(a[l], b[l]);
                    }
                }
                for ((s, a), b) in lanes.iter_mut().zip(at).zip(bt) {
                    *s += f(*a, *b);
                }
                total += lanes.iter().map(|v| v.to_f64()).sum::<f64>();
            }
            total
        },
    )
}

/// `f(a, b)` element by element into `out`.
#[inline(always)]
pub(crate) fn map2<T: Element>(out: &mut [T], a: &[T], b: &[T], f: impl Fn(T, T) -> T) {
    vectorized(
        #[inline(always)]
        || {
            for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                *o = f(*a, *b);
            }
        },
    )
}
