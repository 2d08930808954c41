//! The paths of the upper half's heads (5.4), followed again with smaller steps.

use growthpath_trace::ProbeRow;

use crate::paths::PathCell;
use crate::recorded::path_cell;
use crate::statistics::Estimate;

/// One head at one probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HeadPoint {
    /// `ln a`, measured.
    pub ln_spread: f64,
    /// `ln a^`, predicted.
    pub ln_predicted: f64,
    /// The interval that ends here; meaningless at the first probe.
    pub cell: PathCell,
}

/// Every probe of the upper half.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct HeadPaths {
    /// Heads of a layer.
    heads: usize,
    pub steps: Vec<u32>,
    /// One list a probe, one entry a head, layer by layer.
    pub points: Vec<Vec<HeadPoint>>,
}

impl HeadPaths {
    /// No probe yet; `heads` in a layer.
    pub fn new(heads: usize) -> Self {
        Self { heads: heads.max(1), ..Self::default() }
    }

    /// One probe more: the half's rows, layer by layer.
    pub fn push(&mut self, step: u32, rows: &[ProbeRow]) {
        let still = |cell: PathCell| {
            // Where no weight moved, e and c0 do not exist and say nothing.
            if cell.is_still() { PathCell { u: 0.0, e: 0.0, c0: 0.0, ..cell } } else { cell }
        };
        self.steps.push(step);
        self.points.push(
            rows.iter()
                .map(|r| HeadPoint {
                    ln_spread: r.spread.ln(),
                    ln_predicted: r.a_hat.ln(),
                    cell: still(path_cell(r)),
                })
                .collect(),
        );
    }

    /// Mean over heads of `ln a^` at a probe: the half's predicted spread is its exponential.
    pub fn predicted(&self, probe: usize) -> f64 {
        mean(self.points[probe].iter().map(|p| p.ln_predicted))
    }

    /// Mean over heads of `ln a - ln a^` at a probe: what the prediction of the spread misses.
    pub fn missed(&self, probe: usize) -> f64 {
        mean(self.points[probe].iter().map(|p| p.ln_spread - p.ln_predicted))
    }

    /// Mean over heads of `ln a^` at the probes up to `until`, every step size multiplied by `m` and every step by
    /// the spread over the recorded one to the power `elasticity`. NaN from an undefined cell on.
    pub fn slowed(&self, until: usize, m: f64, elasticity: f64) -> Vec<f64> {
        let Some(first) = self.points.first() else { return Vec::new() };
        let mut logs: Vec<f64> = first.iter().map(|p| p.ln_predicted).collect();
        let mut means = vec![mean(logs.iter().copied())];
        for pair in self.points.windows(2).take(until) {
            for ((log, before), now) in logs.iter_mut().zip(&pair[0]).zip(&pair[1]) {
                let change = *log - before.ln_predicted;
                let eta = m * (elasticity * change).exp() * now.cell.eta;
                // What is undefined must not be taken for a step.
                *log =
                    if now.cell.is_defined() { PathCell { eta, ..now.cell }.advance(*log) } else { f64::NAN };
            }
            means.push(mean(logs.iter().copied()));
        }
        means
    }

    /// By which power of the spread the steps grew: over the intervals up to `until`, the slope of `ln (u e)` on the
    /// `ln a^` that a head started from, within layers and intervals, with its standard error. NaN with a single head
    /// a layer, or where nothing moved.
    ///
    /// A head with larger logits also gets larger gradients, of which the updates keep a part; a half that is slowed
    /// has smaller logits, so its steps shrink by more than the multiplier. Heads of one layer see the same features
    /// and the same step size: their differences show how much more.
    pub fn elasticity(&self, until: usize) -> Estimate {
        let mut slopes = Regression::default();
        for pair in self.points.windows(2).take(until) {
            for (before, now) in pair[0].chunks(self.heads).zip(pair[1].chunks(self.heads)) {
                let points: Vec<(f64, f64)> = before
                    .iter()
                    .zip(now)
                    .map(|(b, n)| (b.ln_predicted, (n.cell.u * n.cell.e).ln()))
                    .filter(|(x, y)| x.is_finite() && y.is_finite())
                    .collect();
                slopes.group(&points);
            }
        }
        slopes.slope()
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// A common slope within groups that differ in level.
#[derive(Debug, Clone, Copy, Default)]
struct Regression {
    xx: f64,
    xy: f64,
    yy: f64,
    freedom: f64,
}

impl Regression {
    fn group(&mut self, points: &[(f64, f64)]) {
        if points.len() < 2 {
            return;
        }
        let x = mean(points.iter().map(|p| p.0));
        let y = mean(points.iter().map(|p| p.1));
        for p in points {
            let (dx, dy) = (p.0 - x, p.1 - y);
            self.xx += dx * dx;
            self.xy += dx * dy;
            self.yy += dy * dy;
        }
        self.freedom += points.len() as f64 - 1.0;
    }

    fn slope(&self) -> Estimate {
        let slope = self.xy / self.xx;
        let left = (self.yy - slope * self.xy).max(0.0) / (self.freedom - 1.0);
        Estimate {
            count: self.freedom as usize,
            mean: slope,
            deviation: left.sqrt(),
            error: (left / self.xx).sqrt(),
        }
    }
}
