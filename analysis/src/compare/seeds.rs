//! The same two arms compared over several seeds.

use serde::Serialize;

use super::{Comparison, Layers};
use crate::error::{AnalysisError, Result};
use crate::statistics::{
    ConfidenceInterval, Estimate, Sign, SignFlip, estimate, mean_interval, paired_t, sign_flip,
};

/// One number over seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedMetric {
    /// Its name: that of the field, `shapley.` before a part, `ln_` before the logarithm of a ratio.
    pub name: &'static str,
    /// One value a comparison, in the order given; NaN where it is undefined.
    pub values: Vec<f64>,
    /// Mean, deviation and standard error over the values that are defined, and their number.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Student-t confidence interval of the mean; NaN ends below two values.
    pub interval: ConfidenceInterval,
    /// What the interval says of a difference between the arms: undecided while it covers zero. None for a level
    /// of one arm (names that end in `_a` or `_b`), whose sign is no question.
    pub sign: Option<Sign>,
    /// Exact sign-flip test that the difference is symmetric about zero, with the smallest p that so many seeds
    /// can reach; none for a level of one arm, infinite values, or more seeds than the test takes.
    pub sign_flip: Option<SignFlip>,
    /// Two-sided p of the paired t test; none for a level of one arm. It is at most `1 - level` exactly where the
    /// interval leaves zero out.
    pub t_test: Option<f64>,
}

impl SeedMetric {
    /// A difference between two arms, one value a seed; NaN where a seed has none.
    ///
    /// # Errors
    /// [`AnalysisError::Statistics`] when `level` is not strictly between 0 and 1.
    pub fn difference(name: &'static str, values: Vec<f64>, level: f64) -> Result<Self> {
        Self::new(name, values, level)
    }

    fn new(name: &'static str, values: Vec<f64>, level: f64) -> Result<Self> {
        let interval = mean_interval(&values, level)?;
        let difference = !(name.ends_with("_a") || name.ends_with("_b"));
        Ok(Self {
            name,
            estimate: estimate(&values),
            interval,
            sign: difference.then(|| interval.sign()),
            sign_flip: if difference { sign_flip(&values).ok() } else { None },
            t_test: difference.then(|| paired_t(&values)),
            values,
        })
    }
}

/// Several comparisons of the same two arms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedSummary {
    /// Comparisons summarised.
    pub count: usize,
    /// Comparisons among them whose two runs have the same seeds: pairs, in which what the seed does to both arms
    /// cancels. The others are runs set side by side by hand: their differences are valid, and wider.
    pub paired: usize,
    /// Layers that they are about.
    pub group: Layers,
    /// Confidence level of the intervals.
    pub level: f64,
    /// The numbers. Ratios are summarised by their logarithms, whose mean does not prefer an arm.
    pub metrics: Vec<SeedMetric>,
}

impl SeedSummary {
    /// A metric by name.
    pub fn get(&self, name: &str) -> Option<&SeedMetric> {
        self.metrics.iter().find(|m| m.name == name)
    }
}

type Reading = (&'static str, fn(&Comparison) -> f64);

const READINGS: &[Reading] = &[
    ("measured_gap", |c| c.comparison.measured_gap),
    ("measured_gap.query", |c| c.comparison.measured_gap_parts.query),
    ("measured_gap.key", |c| c.comparison.measured_gap_parts.key),
    ("measured_gap.features", |c| c.comparison.measured_gap_parts.features),
    ("predicted_gap", |c| c.comparison.predicted_gap),
    ("shapley.step_size", |c| c.comparison.shapley.step_size),
    ("shapley.update_geometry", |c| c.comparison.shapley.update_geometry),
    ("shapley.residual_energy", |c| c.comparison.shapley.residual_energy),
    ("shapley.coherence", |c| c.comparison.shapley.coherence),
    ("shapley.features", |c| c.comparison.shapley.features),
    ("shapley.start", |c| c.comparison.shapley.start),
    ("ln_step_size_ratio", |c| c.comparison.step_size_ratio.ln()),
    ("ln_residual_energy_ratio", |c| c.comparison.residual_energy_ratio.ln()),
    ("coherence_difference", |c| c.comparison.coherence_difference),
    ("val_loss_difference", |c| c.final_loss.map_or(f64::NAN, |l| l.difference)),
    ("perplexity_gap", |c| c.final_loss.map_or(f64::NAN, |l| l.perplexity_gap)),
    ("log_token_ratio", |c| c.token_efficiency.map_or(f64::NAN, |t| t.log_token_ratio)),
];

/// Whether the two runs of a comparison have the same seeds.
fn paired(c: &Comparison) -> bool {
    !c.differences.iter().any(|d| d.key == "seed" || d.key.starts_with("seeds."))
}

/// Mean, standard error, Student-t confidence interval and exact sign-flip test of every number over comparisons
/// of the same two arms, one comparison a seed: two runs of the same seed, one of each arm, are a pair.
///
/// # Errors
/// [`AnalysisError::Statistics`] without comparisons, when they are about different groups of layers or
/// windows, or when `level` is not strictly between 0 and 1.
pub fn seeds(comparisons: &[Comparison], level: f64) -> Result<SeedSummary> {
    let Some(first) = comparisons.first() else {
        return Err(AnalysisError::Statistics("no comparisons to summarise; give one a seed".to_owned()));
    };
    for (i, c) in comparisons.iter().enumerate() {
        // Where each seed chose its own probe times, the same stretch is cut into other intervals: growths over it compare.
        let what = |c: &Comparison| (c.group, c.window.first, c.window.last);
        if what(c) != what(first) {
            let show = |c: &Comparison| {
                format!("{} layers, steps {}..{}", c.group.name(), c.window.first, c.window.last)
            };
            return Err(AnalysisError::Statistics(format!(
                "comparison 0 is about {}, comparison {i} about {}; summarise like with like",
                show(first),
                show(c)
            )));
        }
    }
    let metric =
        |(name, read): &Reading| SeedMetric::new(name, comparisons.iter().map(read).collect(), level);
    let metrics = READINGS.iter().map(metric).collect::<Result<_>>()?;
    let paired = comparisons.iter().filter(|c| paired(c)).count();
    Ok(SeedSummary { count: comparisons.len(), paired, group: first.group, level, metrics })
}
