//! Checks of `probe` and `probe_layers`.

use growthpath_trace::{ProbeLayerRow, ProbeRow, Run, StepRange};

use super::tally::{Check, Place, excess, largest, outside};
use crate::error::Result;
use crate::read::grid::Grid;
use crate::read::{each_row, interval};

pub(super) fn check_heads(run: &Run, grid: Grid) -> (Vec<Check>, Result<()>) {
    let mut checks = Checks::new(grid);
    let read = each_row::<ProbeRow>(run, StepRange::ALL, |row| checks.row(row));
    (checks.into_vec(), read)
}

struct Checks {
    grid: Grid,
    /// (step, spread, a_hat) of each cell's last row.
    before: Vec<Option<(u32, f64, f64)>>,
    paths: Check,
    growth: Check,
    shares: Check,
    product: Check,
    pieces: Check,
    energy: Check,
    rms: Check,
    rate: Check,
    path: Check,
    chain: Check,
    ranges: Check,
}

const LOGITS_REASON: &str = "float64 logits round by their size, which common parts of the keys can make a million \
     times the spread that they are centred to";
const FACTOR_REASON: &str = "a few float64 products; the inner products behind them may cancel a little";
const BOUND_REASON: &str = "rounding of float64 norms and of a symmetric eigenvalue";

impl Checks {
    fn new(grid: Grid) -> Self {
        Self {
            grid,
            before: vec![None; grid.cells()],
            paths: Check::new("path_sum", "(3.1)", "|acct_residual|", 1e-8, LOGITS_REASON),
            growth: Check::new(
                "growth_rates",
                "(3.2)",
                "|gamma - ln(1 + 2(g_d + g_d2 + g_f) + rho2)/2|, relative to the terms that cancel",
                1e-8,
                LOGITS_REASON,
            ),
            shares: Check::new(
                "growth_shares",
                "(3.3)",
                "|sum of the four shares - gamma|, relative to the terms that cancel",
                1e-8,
                LOGITS_REASON,
            ),
            product: Check::new(
                "factor_product",
                "(5.1)",
                "|eta u e c / a_hat_prev - g_hat| / (eta u e / a_hat_prev)",
                1e-9,
                FACTOR_REASON,
            ),
            pieces: Check::new(
                "factor_pieces",
                "(5.1)",
                "eta u = dm_i and e dm_i = r_hat, relative",
                1e-9,
                FACTOR_REASON,
            ),
            energy: Check::new("energy_bound", "(5.2)", "e <= e_max", 1e-9, BOUND_REASON),
            rms: Check::new("path_bound_rms", "(6.1)", "r_d <= bound_rms = s E omega", 1e-9, BOUND_REASON),
            rate: Check::new(
                "path_bound_rate",
                "(6.1)",
                "|g_d| <= bound_rms / spread_prev",
                1e-9,
                BOUND_REASON,
            ),
            path: Check::new(
                "product_bound",
                "(6.2)",
                "spread / spread_prev <= 1 + bound_rms / spread_prev + feature",
                1e-7,
                "the feature term takes a root of a difference of squares, which halves the digits",
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
                "spread, a_hat, rho2, r_d, r_hat >= 0, entropy, sharpness, top1 in 0..1, |c| <= 1, \
                 |g_d| <= r_d / spread_prev",
                1e-9,
                "float64 means",
            ),
        }
    }

    fn into_vec(self) -> Vec<Check> {
        vec![
            self.paths,
            self.growth,
            self.shares,
            self.product,
            self.pieces,
            self.energy,
            self.rms,
            self.rate,
            self.path,
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
        self.paths.add(row.acct_residual.abs(), at);
        let size = interval::cancellation(row);
        self.growth.add((row.gamma - interval::gamma_from_rates(row)).abs() / size, at);
        let total = interval::path_shares(row).map_or(f64::NAN, |s| s.total());
        self.shares.add((row.gamma - total).abs() / size, at);

        let without_c = row.eta * row.u * row.e / row.a_hat_prev;
        let difference = (without_c * row.c - row.g_hat).abs();
        self.product.add(if difference == 0.0 { 0.0 } else { difference / without_c }, at);
        // Weights that move with no step size have an infinite u, which eta cannot undo.
        let relative = |a: f64, b: f64| if a == b { 0.0 } else { (a - b).abs() / a.abs().max(b.abs()) };
        self.pieces
            .add(largest(&[relative(row.eta * row.u, row.dm_i), relative(row.e * row.dm_i, row.r_hat)]), at);

        self.energy.add(excess(row.e, row.e_max), at);
        self.rms.add(
            // The column of the bound must be what its factors say.
            excess(row.r_d, row.bound_rms.min(row.bound_s * row.bound_e * row.bound_omega)),
            at,
        );
        self.rate.add(excess(row.g_d.abs(), row.bound_rms / row.spread_prev), at);
        self.path.add(excess(row.spread / row.spread_prev, interval::bound_factor(row)), at);
    }

    fn chain(&mut self, row: &ProbeRow, at: Place) {
        let Some(slot) = self.grid.cell(row.layer, row.head).and_then(|c| self.before.get_mut(c)) else {
            return;
        };
        let before = slot.replace((row.step, row.spread, row.a_hat));
        if let Some((step, spread, a_hat)) = before
            && step == row.prev_step
        {
            let relative = |a: f64, b: f64| if a == b { 0.0 } else { (a - b).abs() / a.abs().max(b.abs()) };
            self.chain
                .add(largest(&[relative(spread, row.spread_prev), relative(a_hat, row.a_hat_prev)]), at);
        }
    }

    fn ranges(&mut self, row: &ProbeRow, at: Place) {
        let positive = [row.spread, row.a_hat, row.rho2, row.r_d, row.r_hat];
        let unit = [row.entropy, row.sharpness, row.top1];
        self.ranges.add(
            largest(&[
                largest(&positive.map(|v| outside(v, 0.0, f64::INFINITY))),
                largest(&unit.map(|v| outside(v, 0.0, 1.0))),
                outside(row.c, -1.0, 1.0),
                excess(row.g_d.abs(), row.r_d / row.spread_prev).max(0.0),
            ]),
            at,
        );
    }
}

pub(super) fn check_layers(run: &Run) -> (Vec<Check>, Result<()>) {
    let mut check = Check::new(
        "basis_ranges",
        "",
        "0 <= maturity <= 1, eff_rank >= 1, distinct >= 0, largest eigenvalues <= traces: how far outside",
        1e-9,
        "float64 moments",
    );
    let read = each_row::<ProbeLayerRow>(run, StepRange::ALL, |row| {
        check.add(
            largest(&[
                outside(row.maturity, 0.0, 1.0),
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
