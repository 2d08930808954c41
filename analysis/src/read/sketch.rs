//! Medians of any number of values in bounded memory.

use std::collections::BTreeMap;

/// Values kept as they are before they are counted in bins.
const EXACT: usize = 1 << 16;

/// Mantissa bits that a bin keeps; its midpoint is within `2^-(KEPT + 1)` of every value in it.
const KEPT: u32 = 11;

/// Median of a stream: exact (between the two middle values, halfway) up to 65,536 values, then
/// within a relative error of `2^-12` by counting values in logarithmic bins. The order in which
/// values come makes no difference. Memory: 0.5 MiB, then one entry a bin that occurs.
#[derive(Debug, Clone, Default)]
pub(crate) struct MedianSketch {
    exact: Vec<f64>,
    bins: BTreeMap<u64, u64>,
    count: u64,
}

impl MedianSketch {
    /// Adds a value; NaN counts as missing.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.count += 1;
        if !self.bins.is_empty() {
            *self.bins.entry(bin(value)).or_default() += 1;
            return;
        }
        self.exact.push(value);
        if self.exact.len() > EXACT {
            for value in std::mem::take(&mut self.exact) {
                *self.bins.entry(bin(value)).or_default() += 1;
            }
        }
    }

    /// The median; NaN without values.
    pub fn median(&self) -> f64 {
        if self.bins.is_empty() {
            return crate::statistics::median(&self.exact);
        }
        let (low, high) = (self.ranked((self.count - 1) / 2), self.ranked(self.count / 2));
        if low == high { low } else { low + 0.5 * (high - low) }
    }

    /// The value at a rank from 0, from the bins.
    fn ranked(&self, rank: u64) -> f64 {
        let mut seen = 0;
        for (&bin, &count) in &self.bins {
            seen += count;
            if seen > rank {
                return middle(bin);
            }
        }
        f64::NAN
    }
}

/// Bits that order like the numbers do: sign flipped for positive, all flipped for negative ones.
fn ordered(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The bin of a number: exponent and leading mantissa bits.
fn bin(value: f64) -> u64 {
    ordered(value) >> (52 - KEPT)
}

/// A number in the middle of a bin; zero and infinity stand for themselves.
fn middle(bin: u64) -> f64 {
    let low = bin << (52 - KEPT);
    let value =
        |ordered: u64| f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered });
    if bin == self::bin(0.0) || bin == self::bin(-0.0) {
        return 0.0;
    }
    for end in [f64::INFINITY, f64::NEG_INFINITY] {
        if bin == self::bin(end) {
            return end;
        }
    }
    value(low | 1 << (51 - KEPT))
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::statistics::median;

    #[test]
    fn small_streams_are_exact() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for n in [0, 1, 2, 7, 500, EXACT] {
            let values: Vec<f64> = (0..n).map(|_| rng.random_range(-3.0..3.0)).collect();
            let mut sketch = MedianSketch::default();
            values.iter().for_each(|v| sketch.add(*v));
            sketch.add(f64::NAN);
            assert!(sketch.median().total_cmp(&median(&values)).is_eq(), "{n}");
        }
    }

    #[test]
    fn long_streams_are_within_the_stated_error() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        for shift in [0.0, 4.0, -40.0] {
            let values: Vec<f64> = (0..200_001)
                .map(|_| {
                    (rng.random_range(-9.0..9.0f64) + shift).exp() * if shift < 0.0 { -1.0 } else { 1.0 }
                })
                .collect();
            let mut sketch = MedianSketch::default();
            values.iter().for_each(|v| sketch.add(*v));
            let exact = median(&values);
            assert!((sketch.median() / exact - 1.0).abs() <= 2f64.powi(-12), "{} {exact}", sketch.median());
            // Mixed signs around zero, and the order reversed.
            let mixed = |values: &mut dyn Iterator<Item = f64>| {
                let mut sketch = MedianSketch::default();
                values.for_each(|v| sketch.add(v));
                sketch.median()
            };
            let forward = mixed(&mut values.iter().map(|v| v - exact));
            assert_eq!(forward, mixed(&mut values.iter().rev().map(|v| v - exact)));
        }
    }

    #[test]
    fn bins_are_ordered_and_hold_their_middle() {
        let ladder =
            [f64::NEG_INFINITY, -1e300, -2.0, -1e-300, -0.0, 0.0, 5e-324, 1e-9, 1.0, 1.001, f64::INFINITY];
        assert!(ladder.windows(2).all(|w| bin(w[0]) <= bin(w[1])));
        for value in ladder {
            let middle = middle(bin(value));
            let near = (middle - value).abs() <= value.abs() * 2f64.powi(-12);
            assert!(middle == value || near || value.abs() < f64::MIN_POSITIVE, "{value} {middle}");
        }
    }
}
