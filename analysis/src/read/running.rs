//! Means and correlations in one pass.

use crate::sum::CompensatedSum;

/// A mean of the values that are not NaN.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    sum: CompensatedSum,
    weight: f64,
}

impl Mean {
    /// Adds a value; NaN counts as missing.
    pub fn add(&mut self, value: f64) {
        self.add_weighted(value, 1.0);
    }

    /// Adds a value that counts `weight` times.
    pub fn add_weighted(&mut self, value: f64, weight: f64) {
        if !value.is_nan() {
            self.sum.add(value * weight);
            self.weight += weight;
        }
    }

    /// The mean; NaN without values.
    pub fn value(&self) -> f64 {
        self.sum.value() / self.weight
    }

    /// The sum; NaN without values.
    pub fn total(&self) -> f64 {
        if self.weight > 0.0 { self.sum.value() } else { f64::NAN }
    }

    /// Whether no value came.
    pub fn is_empty(&self) -> bool {
        self.weight == 0.0
    }
}

/// Mean of the values that are not NaN; NaN without any.
pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut mean = Mean::default();
    values.into_iter().for_each(|v| mean.add(v));
    mean.value()
}

/// The Pearson correlation of pairs, by Welford's updates of the central co-moments: no sums of raw
/// squares, which would cancel.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Correlation {
    count: f64,
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Correlation {
    /// Adds a pair; one with a NaN or an infinity counts as missing.
    pub fn add(&mut self, x: f64, y: f64) {
        if !(x.is_finite() && y.is_finite()) {
            return;
        }
        self.count += 1.0;
        let (dx, dy) = (x - self.mean_x, y - self.mean_y);
        self.mean_x += dx / self.count;
        self.mean_y += dy / self.count;
        // One difference to the old mean and one to the new: exact updates of the central moments.
        self.xx += dx * (x - self.mean_x);
        self.yy += dy * (y - self.mean_y);
        self.xy += dx * (y - self.mean_y);
    }

    /// The correlation; NaN below two pairs or when either side does not vary.
    pub fn value(&self) -> f64 {
        let scale = self.xx.sqrt() * self.yy.sqrt();
        if self.count >= 2.0 && scale > 0.0 { (self.xy / scale).clamp(-1.0, 1.0) } else { f64::NAN }
    }

    /// Pairs that counted.
    pub fn count(&self) -> u64 {
        self.count as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::pearson;

    proptest! {
        #[test]
        fn correlation_is_the_two_pass_one(
            pairs in prop::collection::vec((-1e3..1e3f64, -1e-3..1e-3f64), 3..200),
            shift in -1e4..1e4f64,
        ) {
            let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(a, b)| (a + shift, a * 1e-6 + b)).unzip();
            let mut running = Correlation::default();
            x.iter().zip(&y).for_each(|(a, b)| running.add(*a, *b));
            running.add(f64::NAN, 1.0);
            running.add(1.0, f64::INFINITY);
            prop_assert_eq!(running.count(), pairs.len() as u64);
            // Differences to a mean of up to 1e4 carry 1e-12; the deviations are rarely below 1e-1.
            prop_assert!((running.value() - pearson(&x, &y).unwrap()).abs() < 1e-7);
        }
    }

    #[test]
    fn means_leave_nan_out() {
        let mut m = Mean::default();
        assert!(m.is_empty() && m.value().is_nan() && m.total().is_nan());
        m.add(f64::NAN);
        m.add_weighted(1.0, 3.0);
        m.add(5.0);
        assert_eq!((m.value(), m.total()), (2.0, 8.0));
        assert!(Correlation::default().value().is_nan());
        assert_eq!(mean([f64::NAN, 2.0, 4.0]), 3.0);
    }
}
