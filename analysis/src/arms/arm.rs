//! One arm over its seeds.

use serde::Serialize;

use super::metrics::{METRICS, Metric, Unit};
use super::run::RunSummary;
use crate::diagnosis::Verdict;
use crate::error::Result;
use crate::statistics::{ConfidenceInterval, estimate, mean_interval};

/// One number of an arm over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmMetric {
    /// Its name.
    pub name: &'static str,
    /// How it is averaged.
    pub unit: Unit,
    /// Runs in which it is defined.
    pub count: usize,
    /// Mean over them; the geometric one for [`Unit::Positive`].
    pub mean: f64,
    /// Student-t interval of the mean, for [`Unit::Positive`] that of the logarithm, raised again. NaN ends below two
    /// values.
    pub interval: ConfidenceInterval,
}

/// How often each verdict was reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VerdictCounts {
    /// The upper half committed before the lower half had settled.
    pub premature: usize,
    /// It did not.
    pub not_premature: usize,
    /// The record does not tell.
    pub undecided: usize,
    /// Runs without probes to tell by.
    pub unmeasured: usize,
}

/// The complete runs of one arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmSummary {
    /// Complete runs behind these numbers; those that diverged or were stopped are left out.
    pub complete: usize,
    /// One entry for each of [`METRICS`].
    pub metrics: Vec<ArmMetric>,
    /// Verdicts.
    pub verdicts: VerdictCounts,
    /// Confidence level of the intervals.
    pub level: f64,
}

impl ArmMetric {
    /// A metric over seeds; NaN values are left out.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Statistics`] when `level` is not strictly between 0 and 1.
    pub fn new(metric: &Metric, values: &[f64], level: f64) -> Result<Self> {
        let logs = metric.unit == Unit::Positive;
        let values: Vec<f64> = values.iter().map(|v| if logs { v.ln() } else { *v }).collect();
        let (e, i) = (estimate(&values), mean_interval(&values, level)?);
        let back = |v: f64| if logs { v.exp() } else { v };
        Ok(Self {
            name: metric.name,
            unit: metric.unit,
            count: e.count,
            mean: back(e.mean),
            interval: ConfidenceInterval { low: back(i.low), high: back(i.high) },
        })
    }
}

impl ArmSummary {
    /// Puts the runs of one arm together, one a seed.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Statistics`] when `level` is not strictly between 0 and 1.
    pub fn over(runs: &[&RunSummary], level: f64) -> Result<Self> {
        let complete: Vec<&&RunSummary> = runs.iter().filter(|r| r.complete()).collect();
        let metric = |(i, m): (usize, &Metric)| {
            ArmMetric::new(m, &complete.iter().map(|r| r.values[i]).collect::<Vec<_>>(), level)
        };
        let mut verdicts = VerdictCounts::default();
        for run in &complete {
            match run.verdict {
                Some(Verdict::Premature) => verdicts.premature += 1,
                Some(Verdict::NotPremature) => verdicts.not_premature += 1,
                Some(Verdict::Undecided) => verdicts.undecided += 1,
                None => verdicts.unmeasured += 1,
            }
        }
        Ok(Self {
            complete: complete.len(),
            metrics: METRICS.iter().enumerate().map(metric).collect::<Result<_>>()?,
            verdicts,
            level,
        })
    }

    /// A metric by name.
    pub fn get(&self, name: &str) -> Option<&ArmMetric> {
        self.metrics.iter().find(|m| m.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(unit: Unit) -> Metric {
        Metric { name: "x", about: "", unit, read: |_| f64::NAN }
    }

    #[test]
    fn positive_quantities_are_averaged_in_logarithms() {
        let m = ArmMetric::new(&metric(Unit::Positive), &[1.0, 4.0, f64::NAN], 0.95).unwrap();
        assert_eq!(m.count, 2);
        assert!((m.mean - 2.0).abs() < 1e-12);
        // The interval is symmetric in logarithms: its ends multiply to the mean's square.
        assert!((m.interval.low * m.interval.high - 4.0).abs() < 1e-9, "{m:?}");
        let plain = ArmMetric::new(&metric(Unit::Ln), &[1.0, 4.0], 0.95).unwrap();
        assert!((plain.mean - 2.5).abs() < 1e-12);
        // t(0.975, 1) = 12.706; the error of two values 3 apart is 1.5.
        assert!((plain.interval.high - plain.mean - 12.706_204_7 * 1.5).abs() < 1e-5, "{plain:?}");
    }

    #[test]
    fn one_value_has_no_interval() {
        let m = ArmMetric::new(&metric(Unit::Loss), &[3.0], 0.95).unwrap();
        assert_eq!((m.count, m.mean), (1, 3.0));
        assert!(m.interval.low.is_nan() && m.interval.high.is_nan());
    }
}
