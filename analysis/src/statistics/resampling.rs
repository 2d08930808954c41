//! Errors and tests by resampling.

use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::present;
use crate::error::{AnalysisError, Result};
use crate::sum::CompensatedSum;

/// Most values that [`sign_flip`] takes: half of their sign changes, 2^20 sums, are held at a time.
pub const MOST_SIGNS: usize = 40;

/// Half-samples of [`half_sample_error`]: their number leaves its result uncertain by `1/sqrt(2 x 400)` = 3.5 %.
pub const HALVES: u32 = 400;

/// Result of [`sign_flip`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SignFlip {
    /// Fraction of all sign changes whose sum is at least as large in absolute value: the two-sided p.
    pub p: f64,
    /// The smallest p that this many values can reach, `2 / 2^count`, which they do when all have one sign; 1
    /// without values. A level below it can never be passed.
    pub smallest: f64,
    /// Values that are neither NaN nor zero: zero has no sign to change.
    pub count: usize,
}

/// The exact sign-flip test (paired permutation test) that differences are symmetric about zero, as those between
/// two exchangeable arms are: the sum of the values against the sums under all `2^n` changes of sign. It supposes
/// nothing of the distribution; for exchangeable arms `p <= level` happens with probability at most `level`.
/// Sums that agree to rounding count as equal, so that p is rather too large than too small.
///
/// # Errors
/// [`AnalysisError::Statistics`] for infinite values or more than [`MOST_SIGNS`].
pub fn sign_flip(values: &[f64]) -> Result<SignFlip> {
    let values: Vec<f64> = present(values).into_iter().filter(|v| *v != 0.0).collect();
    let count = values.len();
    if count > MOST_SIGNS {
        return Err(AnalysisError::Statistics(format!(
            "the exact sign-flip test takes at most {MOST_SIGNS} values, found {count}; use the Student interval"
        )));
    }
    let size: f64 = values.iter().map(|v| v.abs()).sum();
    if !size.is_finite() {
        return Err(AnalysisError::Statistics(
            "the sign-flip test needs finite values; leave runs that diverged out".to_owned(),
        ));
    }
    let all = 2f64.powi(count as i32);
    let smallest = (2.0 / all).min(1.0);
    // A sum of n terms is off by at most n eps times the sum of sizes, and two sums are compared.
    let slack = 2.0 * count as f64 * f64::EPSILON * size;
    let least = values.iter().sum::<f64>().abs() - slack;
    if least <= 0.0 {
        return Ok(SignFlip { p: 1.0, smallest, count });
    }
    // Sums of opposite sign come in pairs: those above are counted, and doubled.
    let above = count_at_least(&values, least);
    Ok(SignFlip { p: (2.0 * above as f64 / all).min(1.0), smallest, count })
}

/// How many of the `2^n` signed sums are at least `least`: sums of the two halves, sorted, and two pointers.
fn count_at_least(values: &[f64], least: f64) -> u64 {
    let (left, right) = values.split_at(values.len() / 2);
    let (left, right) = (signed_sums(left), signed_sums(right));
    let (mut total, mut from) = (0, right.len());
    // As the left sum rises, ever smaller right sums suffice.
    for l in left {
        while from > 0 && l + right[from - 1] >= least {
            from -= 1;
        }
        total += (right.len() - from) as u64;
    }
    total
}

/// All sums over changes of sign, ascending.
fn signed_sums(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for v in values {
        sums = sums.iter().flat_map(|s| [s - v, s + v]).collect();
    }
    sums.sort_by(f64::total_cmp);
    sums
}

/// Standard error of a statistic of `count` independent observations by half-sampling (the delete-half
/// jackknife of Shao and Wu): `of(chosen)` is the statistic of half of the observations, by index, and `whole` that of all.
/// The mean of half of a sample, drawn without replacement, scatters about that of the whole just as this
/// does about the truth. Unlike leaving out one observation, that moves a statistic with kinks, such as the place where a
/// curve first crosses a level, as far as chance does. The [`HALVES`] halves are drawn from a fixed seed: the same data give the
/// same error. NaN below two observations, and when the statistic is undefined for a half.
pub fn half_sample_error(count: usize, whole: f64, mut of: impl FnMut(&[usize]) -> f64) -> f64 {
    let half = count / 2;
    if half == 0 {
        return f64::NAN;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut squares = CompensatedSum::default();
    for _ in 0..HALVES {
        let chosen = sample(&mut rng, count, half).into_vec();
        squares.add((of(&chosen) - whole).powi(2));
    }
    // A mean of m of n scatters by s^2 (1/m - 1/n) about the whole, which itself has s^2/n.
    let scale = half as f64 / (count - half) as f64;
    (scale * squares.value() / f64::from(HALVES)).sqrt()
}
