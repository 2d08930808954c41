//! Sums on all threads.

use rayon::prelude::*;

/// Elements that are worth waking other threads for: below, handing over and the spinning that follows cost more than the sums.
const PARALLEL: usize = 1 << 22;

/// `f` of every index, on all threads where there are `elements` enough to sum over.
pub fn each<T: Send>(count: usize, elements: usize, f: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    if elements < PARALLEL {
        (0..count).map(f).collect()
    } else {
        (0..count).into_par_iter().map(f).collect()
    }
}
