//! Curves from `probe`.

use growthpath_trace::{ProbeRow, Run, StepRange, Table};

use super::bins::Bins;
use super::report::{GrowthCurves, HalfCurves, LayerCurves, LayerGrowth, RatePairs, TightnessCurves};
use crate::corners::GrowthParts;
use crate::error::Result;
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::running::{Mean, mean};
use crate::read::sample::Sample;
use crate::recorded as interval;
use crate::statistics::median;

/// Rate pairs kept for the scatter figure.
const PAIRS: usize = 20_000;

/// Curves with a value for each half, by their place among the bins' curves.
#[derive(Clone, Copy)]
enum Of {
    Measured,
    Predicted,
    PathMeasured,
    PathPredicted,
    Bound,
    StepTerm,
    Energy,
    Coherence,
    Scale,
    Sharpness,
    Entropy,
    TightMedian,
    TightMax,
}

const HALF_CURVES: usize = Of::TightMax as usize + 1;
/// Cumulative ones come first.
const CUMULATIVE: usize = Of::Bound as usize + 1;

pub(super) struct Paths {
    pub spread: LayerCurves,
    pub entropy: HalfCurves,
    pub by_layer: Vec<LayerGrowth>,
    pub rates: RatePairs,
    pub growth: GrowthCurves,
    pub step_term: HalfCurves,
    pub residual_energy: HalfCurves,
    pub coherence: HalfCurves,
    pub scale: HalfCurves,
    pub sharpness: HalfCurves,
    pub tightness: TightnessCurves,
}

/// One probe being read.
struct Reader {
    grid: Grid,
    bins: Bins,
    step: Option<u32>,
    /// Cumulative growth of each half, `[curve][half]`.
    cumulative: [[f64; 2]; CUMULATIVE],
    /// Tightness of this probe's heads.
    tightness: [Vec<f64>; 2],
    growth: Vec<Mean>,
    shares: Vec<[Mean; 3]>,
    pairs: Sample<(f64, f64, bool)>,
}

pub(super) fn read(run: &Run, grid: Grid, points: usize) -> Result<Paths> {
    let curves = 2 * HALF_CURVES + grid.layers;
    let mut reader = Reader {
        grid,
        bins: Bins::new(run, Table::Probe, grid.cells(), points, curves),
        step: None,
        cumulative: [[0.0; 2]; CUMULATIVE],
        tightness: Default::default(),
        growth: vec![Mean::default(); grid.cells()],
        shares: vec![[Mean::default(); 3]; grid.cells()],
        pairs: Sample::new(PAIRS),
    };
    each_row::<ProbeRow>(run, StepRange::ALL, |row| reader.row(row))?;
    reader.close();
    Ok(reader.finish())
}

fn place(of: Of, half: usize) -> usize {
    2 * of as usize + half
}

impl Reader {
    fn row(&mut self, row: &ProbeRow) {
        let (Some(layer), Some(cell)) = (self.grid.layer(row.layer), self.grid.cell(row.layer, row.head))
        else {
            return;
        };
        if self.step != Some(row.step) {
            self.close();
            self.step = Some(row.step);
        }
        let half = self.grid.half(layer);
        let mut point = self.bins.at(row.step);
        point.add(2 * HALF_CURVES + layer, row.spread);
        point.add(place(Of::Entropy, half), row.entropy);
        point.add(place(Of::Sharpness, half), row.sharpness);
        point.add(place(Of::Scale, half), row.a_hat);
        // The first probe of a run has no interval.
        if row.prev_step >= row.step {
            return;
        }
        // Per step: intervals differ in length.
        let steps = f64::from(row.step - row.prev_step);
        point.add(place(Of::StepTerm, half), row.dm_i / steps);
        point.add(place(Of::Energy, half), row.e);
        point.add(place(Of::Coherence, half), row.c);
        self.tightness[half].push(interval::tightness(row)[1]);
        let Some(shares) = interval::parts(row) else { return };
        let predicted = row.gamma_q_hat + row.gamma_k_hat;
        if predicted.is_finite() {
            self.pairs.add((predicted, shares.weights(), half == 1));
        }
        self.growth[cell].add(row.gamma);
        let weights = shares.weights();
        let shares = [shares.query, shares.key, shares.features];
        self.shares[cell].iter_mut().zip(shares).for_each(|(sum, share)| sum.add(share));
        // Layers of a half times heads: at least the one that this row is of.
        let heads = (self.grid.half_layers()[half] * self.grid.heads) as f64;
        let terms = [
            row.gamma,
            interval::predicted_growth(row),
            weights,
            predicted,
            interval::weight_growth_bound(row),
        ];
        for (sum, term) in self.cumulative.iter_mut().zip(terms) {
            if term.is_finite() {
                sum[half] += term / heads;
            }
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
            let tightness = std::mem::take(&mut self.tightness[half]);
            point.add(place(Of::TightMedian, half), median(&tightness));
            point.add(place(Of::TightMax, half), tightness.iter().copied().fold(f64::NAN, f64::max));
        }
    }

    fn finish(self) -> Paths {
        let (steps, mut curves) = self.bins.into_all();
        // Without a probe there are no curves at all.
        curves.resize(2 * HALF_CURVES + self.grid.layers, Vec::new());
        let layers = curves.split_off(2 * HALF_CURVES);
        let halves = |of: Of| HalfCurves {
            steps: steps.clone(),
            lower: curves[place(of, 0)].clone(),
            upper: curves[place(of, 1)].clone(),
        };
        let heads = self.grid.heads;
        let over_heads = |l: usize, sum: &dyn Fn(usize) -> f64| mean((l * heads..(l + 1) * heads).map(sum));
        let by_layer = |l: usize| {
            let share = |s: usize| over_heads(l, &|cell| self.shares[cell][s].total());
            LayerGrowth {
                growth: over_heads(l, &|cell| self.growth[cell].total()),
                parts: GrowthParts { query: share(0), key: share(1), features: share(2) },
            }
        };
        let of = self.pairs.seen();
        let pairs = self.pairs.into_items();
        Paths {
            entropy: halves(Of::Entropy),
            by_layer: (0..self.grid.layers).map(by_layer).collect(),
            rates: RatePairs {
                predicted: pairs.iter().map(|p| p.0).collect(),
                measured: pairs.iter().map(|p| p.1).collect(),
                upper: pairs.iter().map(|p| p.2).collect(),
                of,
            },
            growth: GrowthCurves {
                measured: halves(Of::Measured),
                predicted: halves(Of::Predicted),
                path_measured: halves(Of::PathMeasured),
                path_predicted: halves(Of::PathPredicted),
                bound: halves(Of::Bound),
            },
            step_term: halves(Of::StepTerm),
            residual_energy: halves(Of::Energy),
            coherence: halves(Of::Coherence),
            scale: halves(Of::Scale),
            sharpness: halves(Of::Sharpness),
            tightness: TightnessCurves { median: halves(Of::TightMedian), max: halves(Of::TightMax) },
            spread: LayerCurves { steps, layers },
        }
    }
}
