//! Checks of `probe`, `probe_layers` and `maturity`.

use growthpath_trace::{MaturityRow, ProbeLayerRow, ProbeRow, Run, StepRange};

use super::tally::{Check, Place, TINY, excess, largest, outside};
use crate::error::Result;
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::recorded as interval;

pub(super) fn check_heads(run: &Run, grid: Grid) -> (Vec<Check>, Result<()>) {
    let mut checks = Checks::new(grid);
    let read = each_row::<ProbeRow>(run, StepRange::ALL, |row| checks.row(row));
    (checks.into_vec(), read)
}

struct Checks {
    grid: Grid,
    /// (step, spread, a_hat) of each cell's last row.
    before: Vec<Option<(u32, f64, f64)>>,
    growth: Check,
    predicted: Check,
    product: Check,
    pieces: Check,
    recursion: Check,
    energy: Check,
    cheap: Check,
    tight: Check,
    weights: Check,
    chain: Check,
    ranges: Check,
}

const LOG_REASON: &str = "differences of float64 logarithms of sums of squares";
const FACTOR_REASON: &str = "a few float64 products; the inner products behind them may cancel a little";
const BOUND_REASON: &str = "rounding of float64 norms and of a symmetric eigenvalue";

impl Checks {
    fn new(grid: Grid) -> Self {
        Self {
            grid,
            before: vec![None; grid.cells()],
            growth: Check::new(
                "growth_parts",
                "(3.1)",
                "|gamma_q + gamma_k + gamma_f - ln(spread / spread_prev)|, and the same of gamma",
                1e-10,
                LOG_REASON,
            ),
            predicted: Check::new(
                "predicted_parts",
                "(4.2)",
                "|gamma_q_hat + gamma_k_hat + gamma_f_hat - ln(a_hat / a_hat_prev)|",
                1e-9,
                FACTOR_REASON,
            ),
            product: Check::new(
                "factor_product",
                "(5.1)",
                "|dm_i (e c / scale + e_next c_next / scale_next) / 2 - (gamma_q_hat + gamma_k_hat)|, \
                 relative to the larger of one and the product without c",
                1e-9,
                FACTOR_REASON,
            ),
            pieces: Check::new("factor_pieces", "(5.1)", "eta u = dm_i, relative", 1e-9, FACTOR_REASON),
            recursion: Check::new(
                "spread_recursion",
                "(5.4)",
                "|ln(1 + 2 x c0 + x^2)/2 + feature_step - ln(a_hat / a_hat_prev)|, x = dm_i e / a_hat_prev, times \
                 the bracket where that is below one",
                1e-9,
                FACTOR_REASON,
            ),
            energy: Check::new("energy_bound", "(5.2)", "e <= e_max", 1e-9, BOUND_REASON),
            cheap: Check::new("cheap_bound", "(6.1)", "ds_w <= bound_cheap = s E omega", 1e-9, BOUND_REASON),
            tight: Check::new("tight_bound", "(6.2)", "ds_w <= bound_tight", 1e-9, BOUND_REASON),
            weights: Check::new(
                "growth_bound",
                "(6.3)",
                "gamma_w_start <= ln(1 + bound_tight / spread_prev): how far above, in ln",
                1e-9,
                BOUND_REASON,
            ),
            chain: Check::new(
                "probe_chain",
                "",
                "spread_prev and a_hat_prev are the spread and a_hat of the probe before, relative",
                1e-9,
                "the same float64 state, possibly summed in another order",
            ),
            ranges: Check::new(
                "probe_ranges",
                "",
                "spread, a_hat, ds_w >= 0, entropy, sharpness, top1 in 0..1, |c|, |c0|, |c_next|, |cos_theta| <= 1",
                1e-9,
                "float64 means",
            ),
        }
    }

    fn into_vec(self) -> Vec<Check> {
        vec![
            self.growth,
            self.predicted,
            self.product,
            self.pieces,
            self.recursion,
            self.energy,
            self.cheap,
            self.tight,
            self.weights,
            self.chain,
            self.ranges,
        ]
    }

    fn row(&mut self, row: &ProbeRow) {
        let at = Place::head(row.step, row.layer, row.head);
        self.ranges(row, at);
        self.chain(row, at);
        // The first probe of a run has no interval.
        if row.prev_step >= row.step {
            return;
        }
        if row.spread_prev.min(row.a_hat_prev) < TINY {
            self.skip(at);
            return;
        }
        self.growth.add(interval::additivity(row), at);
        let predicted = interval::predicted_growth(row);
        let parts = interval::predicted_parts(row);
        self.predicted.add((parts.map_or(f64::NAN, |p| p.total()) - predicted).abs(), at);
        self.factors(row, at, predicted);
        self.energy.add(excess(row.e, row.e_max), at);
        // The column of the bound must be what its factors say.
        let cheap = row.bound_cheap.min(row.bound_s * row.bound_e * row.bound_omega);
        self.cheap.add(excess(row.ds_w, cheap), at);
        self.tight.add(excess(row.ds_w, row.bound_tight), at);
        self.weights.add(row.gamma_w_start - interval::weight_growth_bound(row), at);
    }

    /// An interval whose start is too small for float64: every check about it is skipped, and counted so.
    fn skip(&mut self, at: Place) {
        for check in [
            &mut self.growth,
            &mut self.predicted,
            &mut self.product,
            &mut self.pieces,
            &mut self.recursion,
            &mut self.energy,
            &mut self.cheap,
            &mut self.tight,
            &mut self.weights,
        ] {
            check.add(f64::NAN, at);
        }
    }

    fn factors(&mut self, row: &ProbeRow, at: Place, predicted: f64) {
        // Weights that move with no step size have an infinite u, which eta cannot undo.
        self.pieces.add(relative(row.eta * row.u, row.dm_i), at);
        if row.dm_i == 0.0 {
            // Nothing moved: no energy, no coherence, and no growth by weights.
            self.product.add((row.gamma_q_hat + row.gamma_k_hat).abs(), at);
            self.recursion.add((row.feature_step - predicted).abs(), at);
            return;
        }
        let ends = [(row.e, row.c, row.scale), (row.e_next, row.c_next, row.scale_next)];
        let half =
            |term: &dyn Fn((f64, f64, f64)) -> f64| 0.5 * row.dm_i * ends.map(term).iter().sum::<f64>();
        let product = half(&|(e, c, scale)| e * c / scale);
        let without_c = half(&|(e, _, scale)| e / scale);
        let found = row.gamma_q_hat + row.gamma_k_hat;
        self.product.add((product - found).abs() / without_c.max(1.0), at);
        let x = row.dm_i * row.e / row.a_hat_prev;
        let bracket = 1.0 + (2.0 * x * row.c0 + x * x);
        // A bracket near zero is a difference of large squares: its logarithm rounds by its inverse.
        let rounding = bracket.min(1.0) / (1.0 + x * x);
        self.recursion.add((0.5 * bracket.ln() + row.feature_step - predicted).abs() * rounding, at);
    }

    fn chain(&mut self, row: &ProbeRow, at: Place) {
        let Some(slot) = self.grid.cell(row.layer, row.head).and_then(|c| self.before.get_mut(c)) else {
            return;
        };
        let before = slot.replace((row.step, row.spread, row.a_hat));
        if let Some((step, spread, a_hat)) = before
            && step == row.prev_step
            && spread.min(a_hat) >= TINY
        {
            self.chain
                .add(largest(&[relative(spread, row.spread_prev), relative(a_hat, row.a_hat_prev)]), at);
        }
    }

    fn ranges(&mut self, row: &ProbeRow, at: Place) {
        let positive = [row.spread, row.a_hat, row.ds_w];
        let unit = [row.entropy, row.sharpness, row.top1];
        let cosine = [row.c, row.c0, row.c_next, row.cos_theta];
        self.ranges.add(
            largest(&[
                largest(&positive.map(|v| outside(v, 0.0, f64::INFINITY))),
                largest(&unit.map(|v| outside(v, 0.0, 1.0))),
                largest(&cosine.map(|v| outside(v, -1.0, 1.0))),
            ]),
            at,
        );
    }
}

/// Relative difference; zero for equals, infinities among them.
fn relative(a: f64, b: f64) -> f64 {
    if a == b { 0.0 } else { (a - b).abs() / a.abs().max(b.abs()) }
}

pub(super) fn check_layers(run: &Run) -> (Vec<Check>, Result<()>) {
    let mut check = Check::new(
        "basis_ranges",
        "",
        "eff_rank >= 1, distinct >= 0, largest eigenvalues <= traces: how far outside",
        1e-9,
        "float64 moments",
    );
    let read = each_row::<ProbeLayerRow>(run, StepRange::ALL, |row| {
        check.add(
            largest(&[
                outside(row.eff_rank, 1.0, f64::INFINITY),
                outside(row.distinct, 0.0, f64::INFINITY),
                // The eigenvalue counts the constant bias column, the trace leaves it out.
                excess(row.lambda_sq, row.tr_sq + 1.0).max(0.0),
                excess(row.lambda_sk, row.tr_sk).max(0.0),
            ]),
            Place::layer(row.step, row.layer),
        );
    });
    (vec![check], read)
}

pub(super) fn check_maturity(run: &Run) -> (Vec<Check>, Result<()>) {
    let mut check = Check::new(
        "maturity_ranges",
        "",
        "maturity in 0..1 and lag <= step: how far outside",
        1e-9,
        "a cosine of float64 moments",
    );
    let read = each_row::<MaturityRow>(run, StepRange::ALL, |row| {
        let lag = if row.lag > row.step { f64::INFINITY } else { 0.0 };
        check.add(largest(&[outside(row.maturity, 0.0, 1.0), lag]), Place::layer(row.step, row.layer));
    });
    (vec![check], read)
}
