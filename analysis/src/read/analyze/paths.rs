//! One pass over `probe`: growth and its shares, prediction, factors, bounds.

use growthpath_trace::{ProbeRow, Run};

use super::heads::{EndTracker, Ends};
use super::report::{Accounting, BoundHalf, BoundSummary, FactorLayer, PredictionSummary};
use crate::error::Result;
use crate::read::grid::Grid;
use crate::read::running::{Correlation, Mean, mean};
use crate::read::sketch::MedianSketch;
use crate::read::window::Window;
use crate::read::{each_row, interval};
use crate::shares::PathShares;
use crate::statistics::median;

/// Rounding that a bound may be exceeded by, relatively (see `verify`).
const BOUND_ROUNDING: f64 = 1e-9;
const PRODUCT_ROUNDING: f64 = 1e-7;

/// Sums over the intervals of one (layer, head).
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    growth: Mean,
    paths: [Mean; 4],
    g_hat: Mean,
    g_d: Mean,
    product: Mean,
    eta: Mean,
}

/// Means over the intervals and heads of one layer.
#[derive(Debug, Clone, Copy, Default)]
struct LayerFactors {
    step_term: Mean,
    residual_energy: Mean,
    coherence: Mean,
    scale: Mean,
    scale_step: u32,
}

pub(super) struct PathPass {
    pub rows: u64,
    grid: Grid,
    accounting: Accounting,
    cells: Vec<Cell>,
    factors: Vec<LayerFactors>,
    ends: EndTracker,
    rates: Correlation,
    steps: Correlation,
    step_ratio: MedianSketch,
    totals: Correlation,
    total_error: MedianSketch,
    violations: u64,
    tightness: MedianSketch,
    half_tightness: [MedianSketch; 2],
    half_tightness_max: [f64; 2],
}

/// One layer's growth over the window.
pub(super) struct LayerPaths {
    pub growth: f64,
    pub shares: PathShares,
    pub ends: Ends,
}

pub(super) fn read(run: &Run, grid: Grid, window: &Window) -> Result<PathPass> {
    let mut pass = PathPass {
        rows: 0,
        grid,
        accounting: Accounting {
            max_abs_residual: f64::NAN,
            max_growth_residual: f64::NAN,
            intervals: 0,
            undefined: 0,
        },
        cells: vec![Cell::default(); grid.cells()],
        factors: vec![LayerFactors::default(); grid.layers],
        ends: EndTracker::new(grid.layers),
        rates: Correlation::default(),
        steps: Correlation::default(),
        step_ratio: MedianSketch::default(),
        totals: Correlation::default(),
        total_error: MedianSketch::default(),
        violations: 0,
        tightness: MedianSketch::default(),
        half_tightness: Default::default(),
        half_tightness_max: [f64::NAN; 2],
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
            self.growth(row, cell);
            self.predicted(row, cell);
            self.factor(row, layer, cell);
            self.bounded(row, layer, cell);
        }
    }

    fn growth(&mut self, row: &ProbeRow, cell: usize) {
        let Some(parts) = interval::path_shares(row) else {
            self.accounting.undefined += 1;
            return;
        };
        let a = &mut self.accounting;
        a.intervals += 1;
        a.max_abs_residual = a.max_abs_residual.max(row.acct_residual.abs());
        a.max_growth_residual =
            a.max_growth_residual.max((row.gamma - interval::gamma_from_rates(row)).abs());
        let cell = &mut self.cells[cell];
        cell.growth.add(row.gamma);
        let parts = [parts.weight_path, parts.weight_curvature, parts.feature_path, parts.rotation];
        cell.paths.iter_mut().zip(parts).for_each(|(sum, part)| sum.add(part));
    }

    fn predicted(&mut self, row: &ProbeRow, cell: usize) {
        self.rates.add(row.g_hat, row.g_d);
        self.steps.add(row.r_hat.ln(), row.r_d.ln());
        self.step_ratio.add(row.r_hat / row.r_d);
        let total = interval::predicted_growth(row);
        self.totals.add(total, row.gamma);
        self.total_error.add((total - row.gamma).abs());
        let cell = &mut self.cells[cell];
        // A ratio of sums needs the same intervals above and below.
        if row.g_hat.is_finite() && row.g_d.is_finite() {
            cell.g_hat.add(row.g_hat);
            cell.g_d.add(row.g_d);
        }
    }

    fn factor(&mut self, row: &ProbeRow, layer: usize, cell: usize) {
        self.cells[cell].eta.add(row.eta);
        let factors = &mut self.factors[layer];
        factors.step_term.add(row.eta * row.u);
        factors.residual_energy.add_weighted(row.e, f64::from(row.step - row.prev_step));
        factors.coherence.add(row.c);
    }

    fn bounded(&mut self, row: &ProbeRow, layer: usize, cell: usize) {
        let beyond = |left: f64, right: f64, rounding: f64| left > right * (1.0 + rounding);
        let rate_bound = row.bound_rms / row.spread_prev;
        let factor = interval::bound_factor(row);
        self.violations += u64::from(
            beyond(row.r_d, row.bound_rms, BOUND_ROUNDING)
                || beyond(row.g_d.abs(), rate_bound, BOUND_ROUNDING)
                || beyond(row.spread / row.spread_prev, factor, PRODUCT_ROUNDING),
        );
        if row.gamma.is_finite() {
            self.cells[cell].product.add(factor.ln());
        }
        let (half, tightness) = (self.grid.half(layer), interval::tightness(row));
        self.tightness.add(tightness);
        self.half_tightness[half].add(tightness);
        self.half_tightness_max[half] = self.half_tightness_max[half].max(tightness);
    }

    /// Whether the window has any state of the probe.
    pub fn states_seen(&self) -> bool {
        self.rows > 0
    }

    pub fn accounting(&self) -> Accounting {
        self.accounting
    }

    fn cells_of(&self, layer: usize) -> &[Cell] {
        &self.cells[layer * self.grid.heads..(layer + 1) * self.grid.heads]
    }

    /// Mean over a layer's heads of a sum over intervals.
    fn over_heads(&self, layer: usize, sum: impl Fn(&Cell) -> f64) -> f64 {
        mean(self.cells_of(layer).iter().map(sum))
    }

    pub fn layer(&self, layer: usize) -> LayerPaths {
        let path = |p: usize| self.over_heads(layer, |c| c.paths[p].total());
        LayerPaths {
            growth: self.over_heads(layer, |c| c.growth.total()),
            shares: PathShares {
                weight_path: path(0),
                weight_curvature: path(1),
                feature_path: path(2),
                rotation: path(3),
            },
            ends: self.ends.layer(layer),
        }
    }

    pub fn prediction(&self) -> PredictionSummary {
        let ratio =
            |l: usize| self.over_heads(l, |c| c.g_hat.total()) / self.over_heads(l, |c| c.g_d.total());
        let ratios: Vec<f64> = (0..self.grid.layers).map(ratio).collect();
        PredictionSummary {
            rate_correlation: self.rates.value(),
            step_log_correlation: self.steps.value(),
            step_ratio_median: self.step_ratio.median(),
            cumulative_error_median: median(&ratios.iter().map(|r| (r - 1.0).abs()).collect::<Vec<_>>()),
            cumulative_ratio_by_layer: ratios,
            total_growth_correlation: self.totals.value(),
            total_growth_error_median: self.total_error.median(),
            intervals: self.rates.count(),
        }
    }

    pub fn bound(&self) -> BoundSummary {
        let [lower, upper] = [0, 1].map(|half| {
            let layers = || (0..self.grid.layers).filter(|l| self.grid.half(*l) == half);
            let log10 = |sum: fn(&Cell) -> f64| {
                mean(layers().flat_map(|l| self.cells_of(l)).map(sum)) / std::f64::consts::LN_10
            };
            BoundHalf {
                product_log10: log10(|c| c.product.total()),
                growth_log10: log10(|c| c.growth.total()),
                tightness_median: self.half_tightness[half].median(),
                tightness_max: self.half_tightness_max[half],
            }
        });
        BoundSummary {
            violations: self.violations,
            tightness_median: self.tightness.median(),
            tightness_max: self.half_tightness_max[0].max(self.half_tightness_max[1]),
            lower,
            upper,
        }
    }

    pub fn factors(&self) -> Vec<FactorLayer> {
        let layer = |(l, f): (usize, &LayerFactors)| FactorLayer {
            layer: l as u16,
            eta: self.over_heads(l, |c| c.eta.total()),
            step_term: f.step_term.value(),
            residual_energy: f.residual_energy.value(),
            coherence: f.coherence.value(),
            scale_last: f.scale.value(),
        };
        self.factors.iter().enumerate().map(layer).collect()
    }
}
