//! Statistics of attention rows: entropy, sharpness, largest probability and logit.

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
        let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        self.s_max = self.s_max.max(top);
        // H = ln Z + E_p[top - s], with Z relative to the row's maximum.
        let (mut z, mut below) = (0.0, 0.0);
        for &s in logits {
            let weight = (s - top).exp();
            z += weight;
            below += weight * (top - s);
        }
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
