//! What one row of `probe` says of its interval.

use growthpath_trace::ProbeRow;

use crate::shares::{PathShares, shares};

/// Exact additive shares of the interval's log growth (3.3); `None` where it is undefined (no
/// interval, or uniform attention at either end).
pub(crate) fn path_shares(row: &ProbeRow) -> Option<PathShares> {
    let parts = shares(row.gamma, row.g_d, row.g_d2, row.g_f, row.rho2);
    (row.gamma.is_finite() && parts.total().is_finite()).then_some(parts)
}

/// Right side of (3.2), `ln(1 + 2(g_D + g_D2 + g_F) + rho^2) / 2`.
pub(crate) fn gamma_from_rates(row: &ProbeRow) -> f64 {
    0.5 * (2.0 * (row.g_d + row.g_d2 + row.g_f) + row.rho2).ln_1p()
}

/// How much larger the terms of (3.2) can be than the square `(a_t'/a_t)^2` that they add up to:
/// the machine epsilon times this is their rounding in log growth.
pub(crate) fn cancellation(row: &ProbeRow) -> f64 {
    let rates = row.g_d.abs() + row.g_d2.abs() + row.g_f.abs();
    // Each rate is an inner product: it rounds by the size of its factors, not by its own.
    let sizes = row.r_d / row.spread_prev + row.rho2.sqrt();
    (1.0 + 2.0 * (rates + sizes) + row.rho2) / (2.0 * row.gamma).exp()
}

/// Predicted log growth (4.2), `ln(a^'/a^)`.
pub(crate) fn predicted_growth(row: &ProbeRow) -> f64 {
    (row.a_hat / row.a_hat_prev).ln()
}

/// RMS(D) over its bound (6.1); NaN where nothing moved.
pub(crate) fn tightness(row: &ProbeRow) -> f64 {
    row.r_d / row.bound_rms
}

/// Factor of the product form (6.2): `1 + bound_t + feature_t`.
///
/// `bound_t` is (6.1) over the spread. `feature_t` stands for everything but D, that is
/// `RMS(D2 + F)/a`, of which the trace has the part along `S~`, `g_D2 + g_F`, and through rho and
/// r_d the sizes of the parts of the whole change and of D across `S~`; by the triangle inequality
/// it is at most `sqrt((g_D2 + g_F)^2 + (rho_across + d_across)^2)`, which is what is taken.
pub(crate) fn bound_factor(row: &ProbeRow) -> f64 {
    let across = |square: f64, along: f64| (square - along * along).max(0.0).sqrt();
    let rho_across = across(row.rho2, row.g_d + row.g_d2 + row.g_f);
    let d_across = across((row.r_d / row.spread_prev).powi(2), row.g_d);
    1.0 + row.bound_rms / row.spread_prev + (row.g_d2 + row.g_f).hypot(rho_across + d_across)
}
