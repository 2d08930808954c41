//! The same two arms compared over several seeds.

use serde::Serialize;

use super::{Comparison, Layers};
use crate::error::{AnalysisError, Result};
use crate::statistics::{ConfidenceInterval, Estimate, estimate, mean_interval};

/// One number over seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedMetric {
    /// Its name: that of the field, `shapley.` before a part, `ln_` before the logarithm of a ratio.
    pub name: &'static str,
    /// One value a comparison, in the order given; NaN where it is undefined.
    pub values: Vec<f64>,
    /// Mean, deviation and standard error over the values that are defined.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Student-t confidence interval of the mean; NaN ends below two values.
    pub interval: ConfidenceInterval,
}

/// Several comparisons of the same two arms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedSummary {
    /// Comparisons summarised.
    pub count: usize,
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
    ("fraction_saved", |c| c.token_efficiency.map_or(f64::NAN, |t| t.fraction_saved)),
];

/// Mean, standard error and Student-t confidence interval of every number over comparisons of the same two
/// arms, one comparison a seed.
///
/// # Errors
/// [`AnalysisError::Statistics`] without comparisons, when they are about different groups of layers or
/// windows, or when `level` is not strictly between 0 and 1.
pub fn seeds(comparisons: &[Comparison], level: f64) -> Result<SeedSummary> {
    let Some(first) = comparisons.first() else {
        return Err(AnalysisError::Statistics("no comparisons to summarise; give one a seed".to_owned()));
    };
    for (i, c) in comparisons.iter().enumerate() {
        if (c.group, c.window) != (first.group, first.window) {
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
    let metric = |(name, read): &Reading| {
        let values: Vec<f64> = comparisons.iter().map(read).collect();
        Ok(SeedMetric { name, estimate: estimate(&values), interval: mean_interval(&values, level)?, values })
    };
    let metrics = READINGS.iter().map(metric).collect::<Result<_>>()?;
    Ok(SeedSummary { count: comparisons.len(), group: first.group, level, metrics })
}
