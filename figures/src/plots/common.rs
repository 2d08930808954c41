//! What the figures share: series over steps, halves of the layers, step axes, small statistics.

use crate::model::{Axis, Dash, Item, LegendEntry, Stroke};
use crate::scale::Scale;
use crate::style::{ArmStyle, LINE, REFERENCE};

/// A quantity over training steps. `steps` and `values` run in parallel; surplus entries of the longer one are
/// ignored, NaN and infinite values leave gaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Training steps.
    pub steps: Vec<f64>,
    /// Values at those steps.
    pub values: Vec<f64>,
    /// Lower and upper edge of a band around the values (quantiles over heads, range over seeds), at the same steps.
    pub band: Option<(Vec<f64>, Vec<f64>)>,
}

impl Series {
    /// A series without a band.
    pub fn new(steps: Vec<f64>, values: Vec<f64>) -> Self {
        Self { steps, values, band: None }
    }

    /// (step, value) pairs.
    pub fn points(&self) -> Vec<(f64, f64)> {
        self.steps.iter().copied().zip(self.values.iter().copied()).collect()
    }

    /// The series as a line with its band.
    pub fn line(&self, stroke: Stroke) -> Item {
        let band = match &self.band {
            Some((low, high)) => {
                self.steps.iter().zip(low).zip(high).map(|((&s, &l), &h)| (s, l, h)).collect()
            }
            None => Vec::new(),
        };
        Item::Line { points: self.points(), stroke, band }
    }
}

/// The same quantity in both halves of the layers (upper: layer >= L/2).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Halves {
    /// Lower half.
    pub lower: Series,
    /// Upper half.
    pub upper: Series,
}

impl Halves {
    /// Two lines in one colour: upper half solid, lower half dashed.
    pub fn lines(&self, style: ArmStyle) -> [Item; 2] {
        let stroke = |dash| Stroke { colour: style.colour, width: LINE, dash };
        [self.upper.line(stroke(Dash::Solid)), self.lower.line(stroke(Dash::Dashed))]
    }
}

/// How a figure shows training steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepScale {
    /// Evenly.
    #[default]
    Linear,
    /// Logarithmically from the first positive step on; step 0 keeps its place.
    Log,
}

/// The step axis for a figure with the given steps.
pub fn step_axis<'a>(scale: StepScale, steps: impl IntoIterator<Item = &'a f64>) -> Axis {
    let scale = match scale {
        StepScale::Linear => Scale::Linear,
        StepScale::Log => {
            let first = steps
                .into_iter()
                .filter(|s| s.is_finite() && **s > 0.0)
                .fold(f64::INFINITY, |m, s| m.min(*s));
            Scale::SymLog { linear: if first.is_finite() { first } else { 1.0 } }
        }
    };
    Axis::new("training step", scale).tight()
}

/// Legend entries of arms told apart by colour alone.
pub fn arm_legend<S: AsRef<str>>(names: &[S], styles: &[ArmStyle], dashed: bool) -> Vec<LegendEntry> {
    names
        .iter()
        .zip(styles)
        .map(|(name, style)| {
            let dash = if dashed { style.dash } else { Dash::Solid };
            LegendEntry::line(name.as_ref(), Stroke { colour: style.colour, width: 2.0, dash })
        })
        .collect()
}

/// Legend entries for the two halves, in neutral ink.
pub fn half_legend() -> [LegendEntry; 2] {
    let stroke = |dash| Stroke { colour: REFERENCE, width: LINE, dash };
    [
        LegendEntry::line("upper half", stroke(Dash::Solid)),
        LegendEntry::line("lower half", stroke(Dash::Dashed)),
    ]
}

/// A dashed reference line's ink.
pub fn reference() -> Stroke {
    Stroke { colour: REFERENCE, width: 1.0, dash: Dash::Dashed }
}

/// Centred rolling mean over up to `window` points, finite ones only; where the centre is not finite, neither is
/// the mean. Near the ends the window shrinks on both sides alike, so that a slope is not bent.
pub fn rolling_mean(values: &[f64], window: usize) -> Vec<f64> {
    let half = window / 2;
    (0..values.len())
        .map(|i| {
            let reach = half.min(i).min(values.len() - 1 - i);
            let finite: Vec<f64> =
                values[i - reach..=i + reach].iter().copied().filter(|v| v.is_finite()).collect();
            let count = finite.len() as f64;
            if values[i].is_finite() { finite.iter().map(|v| v / count).sum() } else { f64::NAN }
        })
        .collect()
}

/// Order of the usable (finite, distinct) steps and the borders of their cells: midway between neighbours.
pub fn step_cells(steps: &[f64]) -> (Vec<usize>, Vec<f64>) {
    let mut order: Vec<usize> = (0..steps.len()).filter(|&i| steps[i].is_finite()).collect();
    order.sort_by(|&a, &b| steps[a].total_cmp(&steps[b]));
    order.dedup_by(|a, b| steps[*a] == steps[*b]);
    let at = |k: usize| steps[order[k]];
    let edges = match order.len() {
        0 => Vec::new(),
        1 => vec![at(0) - 0.5, at(0) + 0.5],
        n => {
            let mut edges = vec![at(0)];
            edges.extend((1..n).map(|k| at(k - 1) / 2.0 + at(k) / 2.0));
            edges.push(at(n - 1));
            edges
        }
    };
    (order, edges)
}

/// Panels in a row: at most `most`, rows as even as possible.
pub fn columns_for(panels: usize, most: usize) -> usize {
    let most = most.max(1);
    if panels <= most {
        return panels.max(1);
    }
    // As even as possible: 4 panels go 2 + 2 rather than 3 + 1.
    let rows = panels.div_ceil(most);
    panels.div_ceil(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rolling_mean_keeps_slopes_and_gaps() {
        let line: Vec<f64> = (0..50).map(|i| 3.0 - 0.5 * f64::from(i)).collect();
        for (a, b) in rolling_mean(&line, 9).iter().zip(&line) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        let gaps = rolling_mean(&[1.0, f64::NAN, 3.0, 5.0, f64::INFINITY], 3);
        assert_eq!((gaps[0], gaps[2], gaps[3]), (1.0, 4.0, 4.0));
        assert!(gaps[1].is_nan() && gaps[4].is_nan());
        assert_eq!(rolling_mean(&[], 5), Vec::<f64>::new());
    }

    proptest! {
        #[test]
        fn every_step_lies_in_its_cell(steps in proptest::collection::vec(prop_oneof![0.0..1e4f64, Just(f64::NAN)], 0..40)) {
            let (order, edges) = step_cells(&steps);
            prop_assert_eq!(edges.len(), if order.is_empty() { 0 } else { order.len() + 1 });
            prop_assert!(edges.windows(2).all(|w| w[0] < w[1]));
            for (k, &i) in order.iter().enumerate() {
                prop_assert!(edges[k] <= steps[i] && steps[i] <= edges[k + 1]);
            }
        }

        #[test]
        fn columns_hold_all_panels_evenly(n in 0usize..30, most in 1usize..6) {
            let c = columns_for(n, most);
            prop_assert!(c >= 1 && c <= most);
            prop_assert_eq!(n.div_ceil(c), n.div_ceil(most));
        }
    }
}
