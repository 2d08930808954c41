//! Averaging neighbouring recorded steps.

use growthpath_trace::{Row, Run, StepRange};

use super::report::{Curve, EstimateCurve, HalfCurves};
use crate::error::Result;
use crate::read::running::Mean;

/// Number of different steps that a table has rows of.
pub(super) fn distinct_steps<R: Row>(run: &Run, range: StepRange) -> Result<u64> {
    let (mut count, mut last) = (0, None);
    for batch in run.stream_columns::<R>(&[], range)? {
        for step in batch?.steps {
            count += u64::from(last != Some(step));
            last = Some(step);
        }
    }
    Ok(count)
}

/// Means of some curves over at most so many groups of consecutive recorded steps. Groups are even in
/// the number of recorded steps, not in steps: where records are dense, so are points.
pub(super) struct Bins {
    /// Recorded steps expected.
    expected: u64,
    /// Step now being added to, and its number among the recorded ones.
    now: Option<(u32, u64)>,
    steps: Vec<Mean>,
    /// By bin, then by curve.
    values: Vec<Vec<Mean>>,
}

/// The bin of one step.
pub(super) struct Point<'a>(&'a mut [Mean]);

impl Point<'_> {
    /// Adds a value to a curve; NaN counts as missing.
    pub fn add(&mut self, curve: usize, value: f64) {
        self.0[curve].add(value);
    }
}

impl Bins {
    /// Bins for so many recorded steps.
    pub fn new(expected: u64, points: usize, curves: usize) -> Self {
        let count = expected.min(points as u64) as usize;
        Self {
            expected,
            now: None,
            steps: vec![Mean::default(); count],
            values: vec![vec![Mean::default(); curves]; count],
        }
    }

    /// The bin of a step; steps must not decrease.
    pub fn at(&mut self, step: u32) -> Point<'_> {
        let ordinal = match self.now {
            Some((now, ordinal)) if now == step => ordinal,
            Some((_, ordinal)) => ordinal + 1,
            None => 0,
        };
        // Should more steps come than were counted, the last bin takes them.
        let bins = self.steps.len() as u64;
        let bin = (ordinal.min(self.expected - 1) * bins / self.expected) as usize;
        if self.now.map(|n| n.0) != Some(step) {
            self.steps[bin].add(step.into());
        }
        self.now = Some((step, ordinal));
        Point(&mut self.values[bin])
    }

    /// Steps of the points, and `N` curves over them.
    pub fn into_curves<const N: usize>(self) -> (Vec<f64>, [Vec<f64>; N]) {
        let (steps, curves) = self.into_all();
        let mut curves = curves.into_iter();
        (steps, std::array::from_fn(|_| curves.next().unwrap_or_default()))
    }

    /// Steps of the points, and all curves over them.
    pub fn into_all(self) -> (Vec<f64>, Vec<Vec<f64>>) {
        let curves = self.values.first().map_or(0, Vec::len);
        let kept: Vec<(f64, Vec<Mean>)> = self
            .steps
            .into_iter()
            .zip(self.values)
            .filter(|(steps, _)| !steps.is_empty())
            .map(|(steps, values)| (steps.value(), values))
            .collect();
        let curve = |c: usize| kept.iter().map(|(_, values)| values[c].value()).collect();
        (kept.iter().map(|(step, _)| *step).collect(), (0..curves).map(curve).collect())
    }

    pub fn into_curve(self) -> Curve {
        let (steps, [values]) = self.into_curves();
        Curve { steps, values }
    }

    /// The first curve with the second as its standard error.
    pub fn into_estimates(self) -> EstimateCurve {
        let (steps, [values, stderr]) = self.into_curves();
        EstimateCurve { steps, values, stderr }
    }

    pub fn into_halves(self) -> HalfCurves {
        let (steps, [lower, upper]) = self.into_curves();
        HalfCurves { steps, lower, upper }
    }
}
