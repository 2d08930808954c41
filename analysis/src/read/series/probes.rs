//! Curves from `probe`.

use growthpath_trace::{ProbeRow, Run};

use super::bins::{Bins, distinct_steps};
use super::report::{
    FactorCurves, GrowthCurves, HalfCurves, LayerCurves, LongIntervals, Pairs, PredictionPairs,
    TightnessCurves,
};
use crate::error::Result;
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::running::Correlation;
use crate::read::sample::Sample;
use crate::read::window::Window;
use crate::recorded;
use crate::statistics::median;

/// Intervals kept for the scatter figure.
const PAIRS: usize = 20_000;

/// Curves with a value for each half, by their place among the bins' curves; cumulative ones come first.
#[derive(Clone, Copy)]
enum Of {
    Measured,
    Predicted,
    Weights,
    Bound,
    StepTerm,
    Energy,
    Coherence,
    Persistent,
    Scale,
    Sharpness,
    Entropy,
    Tight,
    TightMax,
    Cheap,
}

const CUMULATIVE: usize = Of::Bound as usize + 1;
const HALF_CURVES: usize = Of::Cheap as usize + 1;

pub(super) struct Probes {
    pub spread: LayerCurves,
    pub entropy: HalfCurves,
    pub sharpness: HalfCurves,
    pub prediction: PredictionPairs,
    pub growth: GrowthCurves,
    pub factors: FactorCurves,
    pub tightness: TightnessCurves,
    pub long_intervals: LongIntervals,
}

/// One probe being read.
struct Reader {
    grid: Grid,
    window: Window,
    bins: Bins,
    step: Option<u32>,
    /// Cumulative growth of each half, `[curve][half]`.
    cumulative: [[f64; 2]; CUMULATIVE],
    /// Tightness of this probe's heads: `[half]`, (tight, cheap).
    tightness: [Vec<(f64, f64)>; 2],
    correlations: [Correlation; 3],
    pairs: Sample<[(f64, f64); 3]>,
    long: [Vec<(u32, u32)>; 2],
}

pub(super) fn read(run: &Run, grid: Grid, window: Window, points: usize) -> Result<Probes> {
    let expected = distinct_steps::<ProbeRow>(run, window.states())?;
    let mut reader = Reader {
        grid,
        window,
        bins: Bins::new(expected, points, 2 * HALF_CURVES + grid.layers),
        step: None,
        cumulative: [[0.0; 2]; CUMULATIVE],
        tightness: Default::default(),
        correlations: Default::default(),
        pairs: Sample::new(PAIRS),
        long: Default::default(),
    };
    each_row::<ProbeRow>(run, window.states(), |row| reader.row(row))?;
    reader.close();
    Ok(reader.finish())
}

fn place(of: Of, half: usize) -> usize {
    2 * of as usize + half
}

/// Joins an interval to the last one, where they touch.
fn join(intervals: &mut Vec<(u32, u32)>, from: u32, to: u32) {
    match intervals.last_mut() {
        Some(last) if last.1 >= from => last.1 = last.1.max(to),
        _ => intervals.push((from, to)),
    }
}

impl Reader {
    fn row(&mut self, row: &ProbeRow) {
        let Some(layer) = self.grid.layer(row.layer) else { return };
        if self.step != Some(row.step) {
            self.close();
            self.step = Some(row.step);
        }
        let half = self.grid.half(layer);
        let mut point = self.bins.at(row.step);
        point.add(2 * HALF_CURVES + layer, row.spread);
        point.add(place(Of::Entropy, half), row.entropy);
        point.add(place(Of::Sharpness, half), row.sharpness);
        // The first probe of a run has no interval, and the window may begin within one.
        if !self.window.holds(row) {
            return;
        }
        // Per step: intervals differ in length.
        let steps = f64::from(row.step - row.prev_step);
        point.add(place(Of::StepTerm, half), row.eta * row.u / steps);
        point.add(place(Of::Energy, half), row.e);
        point.add(place(Of::Coherence, half), row.c);
        point.add(place(Of::Persistent, half), row.c0);
        point.add(place(Of::Scale, half), row.scale);
        let [cheap, tight] = recorded::tightness(row);
        // Nothing over nothing, where no weight moved.
        if cheap.is_finite() && tight.is_finite() {
            self.tightness[half].push((tight, cheap));
        }
        self.growth(row, half);
    }

    /// Adds an interval's growth.
    fn growth(&mut self, row: &ProbeRow, half: usize) {
        if let (Some(p), Some(m)) = (recorded::predicted_parts(row), recorded::parts(row)) {
            let pairs = [(p.query, m.query), (p.key, m.key), (p.features, m.features)];
            self.pairs.add(pairs);
            self.correlations.iter_mut().zip(pairs).for_each(|(c, (p, m))| c.add(p, m));
        }
        // Layers of a half times heads: at least the one that this row is of.
        let heads = (self.grid.half_layers()[half] * self.grid.heads) as f64;
        let (bound, predicted) = (recorded::weight_growth_bound(row), recorded::predicted_growth(row));
        for (a, b, one, other) in [
            (Of::Measured, Of::Predicted, row.gamma, predicted),
            (Of::Weights, Of::Bound, row.gamma_w_start, bound),
        ] {
            if one.is_finite() && other.is_finite() {
                self.cumulative[a as usize][half] += one / heads;
                self.cumulative[b as usize][half] += other / heads;
            }
        }
        if recorded::is_long(row) {
            join(&mut self.long[half], row.prev_step, row.step);
        }
    }

    /// Adds what is only known once a probe's last row has come.
    fn close(&mut self) {
        let Some(step) = self.step.take() else { return };
        let mut point = self.bins.at(step);
        for half in 0..2 {
            for (curve, sum) in self.cumulative.iter().enumerate() {
                point.add(2 * curve + half, sum[half]);
            }
            let (tight, cheap): (Vec<f64>, Vec<f64>) =
                std::mem::take(&mut self.tightness[half]).into_iter().unzip();
            point.add(place(Of::Tight, half), median(&tight));
            point.add(place(Of::TightMax, half), tight.iter().copied().fold(f64::NAN, f64::max));
            point.add(place(Of::Cheap, half), median(&cheap));
        }
    }

    fn finish(self) -> Probes {
        let of = self.pairs.seen();
        let sample = self.pairs.into_items();
        let pairs = |k: usize| Pairs {
            predicted: sample.iter().map(|p| p[k].0).collect(),
            measured: sample.iter().map(|p| p[k].1).collect(),
            correlation: self.correlations[k].value(),
        };
        let (steps, mut curves) = self.bins.into_all();
        // Without a probe there are no curves at all.
        curves.resize(2 * HALF_CURVES + self.grid.layers, Vec::new());
        let layers = curves.split_off(2 * HALF_CURVES);
        let halves = |of: Of| HalfCurves {
            steps: steps.clone(),
            lower: curves[place(of, 0)].clone(),
            upper: curves[place(of, 1)].clone(),
        };
        let [lower, upper] = self.long;
        Probes {
            entropy: halves(Of::Entropy),
            sharpness: halves(Of::Sharpness),
            prediction: PredictionPairs { query: pairs(0), key: pairs(1), features: pairs(2), of },
            growth: GrowthCurves {
                measured: halves(Of::Measured),
                predicted: halves(Of::Predicted),
                weights: halves(Of::Weights),
                bound: halves(Of::Bound),
            },
            factors: FactorCurves {
                step_term: halves(Of::StepTerm),
                residual_energy: halves(Of::Energy),
                coherence: halves(Of::Coherence),
                persistent: halves(Of::Persistent),
                scale: halves(Of::Scale),
            },
            tightness: TightnessCurves {
                tight: halves(Of::Tight),
                tight_max: halves(Of::TightMax),
                cheap: halves(Of::Cheap),
            },
            long_intervals: LongIntervals { lower, upper },
            spread: LayerCurves { steps, layers },
        }
    }
}
