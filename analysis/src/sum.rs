//! Compensated summation.

/// A running sum that carries its rounding error along (Neumaier's variant), so that long sums of
/// mixed signs keep the accuracy of one rounding.
#[derive(Debug, Clone, Copy, Default)]
pub struct CompensatedSum {
    sum: f64,
    lost: f64,
}

impl CompensatedSum {
    /// Adds one term.
    pub fn add(&mut self, term: f64) {
        let total = self.sum + term;
        // The smaller operand is the one that lost digits.
        self.lost +=
            if self.sum.abs() >= term.abs() { (self.sum - total) + term } else { (term - total) + self.sum };
        self.sum = total;
    }

    /// The sum so far.
    pub fn value(&self) -> f64 {
        // An infinite sum leaves NaN in the carry; the sum itself is the right answer then.
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

impl FromIterator<f64> for CompensatedSum {
    fn from_iter<I: IntoIterator<Item = f64>>(terms: I) -> Self {
        let mut sum = Self::default();
        terms.into_iter().for_each(|term| sum.add(term));
        sum
    }
}
