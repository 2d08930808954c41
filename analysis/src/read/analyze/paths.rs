//! One pass over `probe`: growth and its parts, prediction, factors, bounds.

use growthpath_trace::{ProbeRow, Run};

use super::heads::{EndTracker, Ends};
use super::report::{
    Accounting, BoundHalf, BoundSummary, FactorLayer, LayerSplit, PartPrediction, PredictionSummary,
    Tightness,
};
use crate::corners::GrowthParts;
use crate::error::Result;
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::running::{Correlation, Mean, mean};
use crate::read::sketch::MedianSketch;
use crate::read::window::Window;
use crate::recorded as interval;

/// Rounding that a bound may be exceeded by, relatively (see `verify`).
const BOUND_ROUNDING: f64 = 1e-9;

/// The parts of a growth in a fixed order: query, key, features, all together.
fn four(parts: &GrowthParts, total: f64) -> [f64; 4] {
    [parts.query, parts.key, parts.features, total]
}

/// Sums over the intervals of one (layer, head).
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// Measured parts and growth.
    measured: [Mean; 4],
    /// Predicted less measured, where both are defined.
    error: [Mean; 4],
    turning: Mean,
    long: u64,
    /// What the weights made of the spread at the intervals' first features, and its bound.
    weights: Mean,
    bound: Mean,
    eta: Mean,
}

/// Means over the intervals and heads of one layer.
#[derive(Debug, Clone, Copy, Default)]
struct LayerFactors {
    step_term: Mean,
    residual_energy: Mean,
    coherence: Mean,
    persistent: Mean,
    scale: Mean,
    scale_step: u32,
}

/// A median and a largest value.
#[derive(Default)]
struct Spread {
    median: MedianSketch,
    max: Option<f64>,
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.median.add(value);
        if !value.is_nan() {
            self.max = Some(self.max.map_or(value, |max| max.max(value)));
        }
    }

    fn summary(&self) -> Tightness {
        Tightness { median: self.median.median(), max: self.max.unwrap_or(f64::NAN) }
    }
}

pub(super) struct PathPass {
    pub rows: u64,
    grid: Grid,
    max_residual: f64,
    intervals: u64,
    undefined: u64,
    longest_steps: u32,
    cells: Vec<Cell>,
    factors: Vec<LayerFactors>,
    ends: EndTracker,
    correlations: [Correlation; 4],
    violations: u64,
    tightness: [Spread; 2],
}

pub(super) fn read(run: &Run, grid: Grid, window: &Window) -> Result<PathPass> {
    let mut pass = PathPass {
        rows: 0,
        grid,
        max_residual: f64::NAN,
        intervals: 0,
        undefined: 0,
        longest_steps: 0,
        cells: vec![Cell::default(); grid.cells()],
        factors: vec![LayerFactors::default(); grid.layers],
        ends: EndTracker::new(grid.layers),
        correlations: Default::default(),
        violations: 0,
        tightness: Default::default(),
    };
    each_row::<ProbeRow>(run, window.states(), |row| pass.row(row, window))?;
    Ok(pass)
}

impl PathPass {
    fn row(&mut self, row: &ProbeRow, window: &Window) {
        let (Some(layer), Some(cell)) = (self.grid.layer(row.layer), self.grid.cell(row.layer, row.head))
        else {
            return;
        };
        self.rows += 1;
        self.ends.add(row.step, layer, row.spread, row.entropy, row.top1);
        let factors = &mut self.factors[layer];
        if factors.scale_step != row.step {
            (factors.scale, factors.scale_step) = (Mean::default(), row.step);
        }
        factors.scale.add(row.a_hat);
        if window.holds(row) {
            self.measured(row, cell);
            self.predicted(row, cell);
            self.factor(row, layer, cell);
            self.bounded(row, cell);
        }
    }

    fn measured(&mut self, row: &ProbeRow, cell: usize) {
        self.longest_steps = self.longest_steps.max(row.step - row.prev_step);
        let Some(parts) = interval::parts(row) else {
            self.undefined += 1;
            return;
        };
        self.intervals += 1;
        self.max_residual = self.max_residual.max(interval::additivity(row));
        let cell = &mut self.cells[cell];
        cell.measured.iter_mut().zip(four(&parts, row.gamma)).for_each(|(sum, part)| sum.add(part));
        cell.turning.add(1.0 - row.cos_theta);
        cell.long += u64::from(interval::is_long(row));
    }

    fn predicted(&mut self, row: &ProbeRow, cell: usize) {
        // Correlations and sums need the same intervals on both sides.
        let (Some(measured), Some(predicted)) = (interval::parts(row), interval::predicted_parts(row)) else {
            return;
        };
        let measured = four(&measured, row.gamma);
        let predicted = four(&predicted, interval::predicted_growth(row));
        for part in 0..4 {
            self.correlations[part].add(predicted[part], measured[part]);
            self.cells[cell].error[part].add(predicted[part] - measured[part]);
        }
    }

    fn factor(&mut self, row: &ProbeRow, layer: usize, cell: usize) {
        self.cells[cell].eta.add(row.eta);
        let factors = &mut self.factors[layer];
        factors.step_term.add(row.dm_i);
        factors.residual_energy.add_weighted(row.e, f64::from(row.step - row.prev_step));
        factors.coherence.add(row.c);
        factors.persistent.add(row.c0);
    }

    fn bounded(&mut self, row: &ProbeRow, cell: usize) {
        let beyond = |bound: f64| row.ds_w > bound * (1.0 + BOUND_ROUNDING);
        let bound = interval::weight_growth_bound(row);
        self.violations += u64::from(
            beyond(row.bound_cheap) || beyond(row.bound_tight) || row.gamma_w_start > bound + BOUND_ROUNDING,
        );
        if row.gamma_w_start.is_finite() && bound.is_finite() {
            self.cells[cell].weights.add(row.gamma_w_start);
            self.cells[cell].bound.add(bound);
        }
        self.tightness.iter_mut().zip(interval::tightness(row)).for_each(|(t, value)| t.add(value));
    }

    /// Whether the window has any state of the probe.
    pub fn states_seen(&self) -> bool {
        self.rows > 0
    }

    fn cells_of(&self, layer: usize) -> &[Cell] {
        &self.cells[layer * self.grid.heads..(layer + 1) * self.grid.heads]
    }

    /// Mean over a layer's heads of a sum over intervals.
    fn over_heads(&self, layer: usize, sum: impl Fn(&Cell) -> f64) -> f64 {
        mean(self.cells_of(layer).iter().map(sum))
    }

    pub fn ends(&self, layer: usize) -> Ends {
        self.ends.layer(layer)
    }

    /// Log growth of a layer over the window.
    pub fn growth(&self, layer: usize) -> f64 {
        self.over_heads(layer, |c| c.measured[3].total())
    }

    pub fn accounting(&self) -> Accounting {
        let layer = |l: usize| {
            let part = |p: usize| self.over_heads(l, |c| c.measured[p].total());
            LayerSplit {
                layer: l as u16,
                query: part(0),
                key: part(1),
                features: part(2),
                growth: part(3),
                turning: self.over_heads(l, |c| c.turning.value()),
                long: self.cells_of(l).iter().map(|c| c.long).sum(),
            }
        };
        Accounting {
            layers: (0..self.grid.layers).map(layer).collect(),
            max_residual: self.max_residual,
            intervals: self.intervals,
            undefined: self.undefined,
            long: self.cells.iter().map(|c| c.long).sum(),
            longest_steps: self.longest_steps,
        }
    }

    pub fn prediction(&self) -> PredictionSummary {
        let part = |p: usize| {
            let error = |l: usize| self.over_heads(l, |c| c.error[p].total()).abs();
            let worst = (0..self.grid.layers)
                .map(|l| (l as u16, error(l)))
                .filter(|(_, e)| !e.is_nan())
                .max_by(|a, b| a.1.total_cmp(&b.1));
            PartPrediction {
                correlation: self.correlations[p].value(),
                worst_cumulative: worst.map_or(f64::NAN, |w| w.1),
                worst_layer: worst.map(|w| w.0),
            }
        };
        PredictionSummary {
            query: part(0),
            key: part(1),
            features: part(2),
            total: part(3),
            intervals: self.correlations[3].count(),
        }
    }

    pub fn bound(&self) -> BoundSummary {
        let over = |wanted: &dyn Fn(usize) -> bool| {
            let cells = || (0..self.grid.layers).filter(|l| wanted(*l)).flat_map(|l| self.cells_of(l));
            let (weights, bound) =
                (mean(cells().map(|c| c.weights.total())), mean(cells().map(|c| c.bound.total())));
            BoundHalf { weights, bound, coherent_share: weights / bound }
        };
        let [cheap, tight] = &self.tightness;
        BoundSummary {
            violations: self.violations,
            cheap: cheap.summary(),
            tight: tight.summary(),
            coherent_share: over(&|_| true).coherent_share,
            lower: over(&|l| self.grid.half(l) == 0),
            upper: over(&|l| self.grid.half(l) == 1),
        }
    }

    pub fn factors(&self) -> Vec<FactorLayer> {
        let layer = |(l, f): (usize, &LayerFactors)| FactorLayer {
            layer: l as u16,
            eta: self.over_heads(l, |c| c.eta.total()),
            step_term: f.step_term.value(),
            residual_energy: f.residual_energy.value(),
            coherence: f.coherence.value(),
            persistent_coherence: f.persistent.value(),
            scale_last: f.scale.value(),
        };
        self.factors.iter().enumerate().map(layer).collect()
    }
}
