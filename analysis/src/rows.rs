//! Statistics of attention rows: entropy, sharpness, largest probability and logit.

use multiversion::multiversion;

/// Lanes of the sums below.
const LANES: usize = 8;

/// `exp(x)` of a number that is not above zero, to 2 ulp; `exp(-708)` below that, so that no subnormal appears. NaN stays NaN.
#[inline(always)]
fn exp(x: f64) -> f64 {
    // 1.5 * 2^52: adding it leaves the rounded integer in the low mantissa bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    // ln 2 in two parts, the first with room for exact multiples.
    const LN2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    let x = if x < -708.0 { -708.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * LN2[0]) - n * LN2[1];
    // Taylor's series: |r| <= ln 2 / 2, whose 14th power over 14! is 4e-18.
    let mut p = 1.0 / 6_227_020_800.0;
    for factorial in
        [479_001_600.0, 39_916_800.0, 3_628_800.0, 362_880.0, 40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0]
    {
        p = p * r + 1.0 / factorial;
    }
    let y = (p * r * r + r) + 1.0;
    y * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn largest(logits: &[f64]) -> f64 {
    let mut lanes = [f64::NEG_INFINITY; LANES];
    let (main, rest) = logits.as_chunks::<LANES>();
    for x in main {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f64::NEG_INFINITY, f64::max)
}

/// `sum exp(s - top)` and the same of `exp(s - top) (top - s)`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn weights_below(logits: &[f64], top: f64) -> (f64, f64) {
    let (mut z, mut below) = ([0.0; LANES], [0.0; LANES]);
    let (main, rest) = logits.as_chunks::<LANES>();
    for s in main {
        for l in 0..LANES {
            let weight = exp(s[l] - top);
            z[l] += weight;
            below[l] += weight * (top - s[l]);
        }
    }
    for (l, s) in rest.iter().enumerate() {
        let weight = exp(s - top);
        z[l] += weight;
        below[l] += weight * (top - s);
    }
    (z.iter().sum(), below.iter().sum())
}

/// Running statistics over the attention rows of one head.
#[derive(Debug, Clone)]
pub(crate) struct RowStatistics {
    entropy: f64,
    entropy_rows: usize,
    sharp_entropy: f64,
    sharp_rows: usize,
    top1: f64,
    rows: usize,
    s_max: f64,
}

/// Rows with fewer keys than this do not count towards sharpness (section 8).
const SHARP_KEYS: usize = 8;

impl RowStatistics {
    pub(crate) fn new() -> Self {
        Self {
            entropy: 0.0,
            entropy_rows: 0,
            sharp_entropy: 0.0,
            sharp_rows: 0,
            top1: 0.0,
            rows: 0,
            s_max: f64::NEG_INFINITY,
        }
    }

    /// What was added up elsewhere, of sequences of the given lengths: `entropy` over rows of two keys and more,
    /// `sharp_entropy` over those that count towards sharpness.
    pub(crate) fn from_sums(lengths: &[usize], [entropy, sharp_entropy, top1]: [f64; 3], s_max: f64) -> Self {
        let from = |least: usize| lengths.iter().map(|t| (t + 1).saturating_sub(least)).sum();
        Self {
            entropy,
            entropy_rows: from(2),
            sharp_entropy,
            sharp_rows: from(SHARP_KEYS),
            top1,
            rows: from(1),
            s_max,
        }
    }

    /// Adds the logits of one row (its allowed keys only; at least one).
    pub(crate) fn add(&mut self, logits: &[f64]) {
        let top = largest(logits);
        self.s_max = self.s_max.max(top);
        // H = ln Z + E_p[top - s], with Z relative to the row's maximum.
        let (z, below) = weights_below(logits, top);
        self.rows += 1;
        self.top1 += 1.0 / z;
        let keys = logits.len();
        if keys >= 2 {
            let relative = (z.ln() + below / z) / (keys as f64).ln();
            self.entropy += relative;
            self.entropy_rows += 1;
            if keys >= SHARP_KEYS {
                self.sharp_entropy += relative;
                self.sharp_rows += 1;
            }
        }
    }

    /// Mean of `H_i / ln(keys)` over rows with at least two keys; NaN without such rows.
    pub(crate) fn entropy(&self) -> f64 {
        self.entropy / self.entropy_rows as f64
    }

    /// Mean of `1 - H_i / ln(keys)` over rows with at least eight keys; NaN without such rows.
    pub(crate) fn sharpness(&self) -> f64 {
        1.0 - self.sharp_entropy / self.sharp_rows as f64
    }

    /// Mean largest probability over all rows.
    pub(crate) fn top1(&self) -> f64 {
        self.top1 / self.rows as f64
    }

    /// Largest logit.
    pub(crate) fn s_max(&self) -> f64 {
        self.s_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the library's, whose own error is below one unit in the last place.
    #[test]
    fn exp_is_good_to_two_units_in_the_last_place() {
        for i in 0..200_000 {
            let x = -f64::from(i) * 0.003_51;
            let (got, want) = (exp(x), x.exp());
            assert!((got - want).abs() <= 3.0 * f64::EPSILON * want, "{x}: {got:e}, {want:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e9) < 1e-300 && exp(f64::NAN).is_nan());
    }

    #[test]
    fn a_row_of_any_length_has_the_entropy_of_its_softmax() {
        for keys in 1..40 {
            let logits: Vec<f64> = (0..keys).map(|j| f64::from(j * j % 7) * 1.3 - 2.0).collect();
            let mut rows = RowStatistics::new();
            rows.add(&logits);
            let z: f64 = logits.iter().map(|s| s.exp()).sum();
            let p: Vec<f64> = logits.iter().map(|s| s.exp() / z).collect();
            let top = p.iter().copied().fold(0.0, f64::max);
            assert!((rows.top1() - top).abs() < 1e-14);
            if keys >= 2 {
                let entropy = -p.iter().map(|p| p * p.ln()).sum::<f64>() / f64::from(keys).ln();
                assert!((rows.entropy() - entropy).abs() < 1e-14);
            }
        }
    }
}
