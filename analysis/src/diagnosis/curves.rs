//! The curves that a diagnosis rests on.

use serde::Serialize;

use crate::source::AttentionSource;

/// Points of a curve beyond which neighbours are averaged.
const MOST_POINTS: usize = 2000;

/// A mean over each half of the model, over training. NaN (null in JSON) where undefined.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HalfCurve {
    /// Steps done.
    pub steps: Vec<u32>,
    /// Mean over the lower half.
    pub lower: Vec<f64>,
    /// Mean over the upper half.
    pub upper: Vec<f64>,
}

impl HalfCurve {
    /// One point more; steps ascend.
    pub(super) fn push(&mut self, step: u32, lower: f64, upper: f64) {
        self.steps.push(step);
        self.lower.push(lower);
        self.upper.push(upper);
    }

    /// At most [`MOST_POINTS`] points: means over runs of neighbours, at the step in their middle.
    pub(super) fn thinned(&self) -> Self {
        let group = self.steps.len().div_ceil(MOST_POINTS).max(1);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let means = |v: &[f64]| v.chunks(group).map(mean).collect();
        Self {
            steps: self.steps.chunks(group).map(|s| s[s.len() / 2]).collect(),
            lower: means(&self.lower),
            upper: means(&self.upper),
        }
    }
}

/// What the upper half's attention is worth: every measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RelianceCurve {
    /// Steps done.
    pub steps: Vec<u32>,
    /// Loss with the half's attention replaced by the uniform causal average minus loss without, nats a token.
    pub delta: Vec<f64>,
    /// Its standard error over sequences; NaN for one sequence.
    pub stderr: Vec<f64>,
    /// Sequences measured on.
    pub sequences: Vec<u32>,
}

/// Means over halves of the model, each with its own steps; at most about 2,000 points each.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Curves {
    /// Where sharpness was read.
    pub sharpness_source: AttentionSource,
    /// Mean sharpness of heads.
    pub sharpness: HalfCurve,
    /// Lag of the maturity below, in steps; none if it was not measured.
    pub maturity_lag: Option<u32>,
    /// Mean maturity of layers.
    pub maturity: HalfCurve,
    /// Reliance of the upper half.
    pub reliance: RelianceCurve,
    /// Mean cosine of layers to the final key moment.
    pub final_cosine: HalfCurve,
    /// Mean measured spread of heads, at probes.
    pub spread: HalfCurve,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_thinned_by_means() {
        let mut long = HalfCurve::default();
        (0..5001).for_each(|s| long.push(s, f64::from(s), 1.0));
        let thin = long.thinned();
        // Groups of three: 1667 of them.
        assert_eq!((thin.steps.len(), thin.steps[0], thin.lower[0], thin.upper[7]), (1667, 1, 1.0, 1.0));
        assert_eq!(thin.steps.last(), Some(&4999));
        assert_eq!(thin.thinned(), thin);
        assert_eq!(HalfCurve::default().thinned(), HalfCurve::default());
    }
}
