//! What one row of `probe` says of its interval.

use growthpath_trace::ProbeRow;

use crate::bound::growth_bound;
use crate::corners::GrowthParts;
use crate::paths::PathCell;

/// An interval whose log growth is larger than this, up or down, is too long for its split to be trusted (3.3).
pub const LONG_INTERVAL: f64 = 1.0;

/// Measured parts of the interval's log growth (3.1); `None` where it is undefined (no interval, or uniform
/// attention at a corner).
pub(crate) fn parts(row: &ProbeRow) -> Option<GrowthParts> {
    defined(GrowthParts { query: row.gamma_q, key: row.gamma_k, features: row.gamma_f })
        .filter(|_| row.gamma.is_finite())
}

/// Predicted parts (4.2); `None` where they are undefined.
pub(crate) fn predicted_parts(row: &ProbeRow) -> Option<GrowthParts> {
    defined(GrowthParts { query: row.gamma_q_hat, key: row.gamma_k_hat, features: row.gamma_f_hat })
}

fn defined(parts: GrowthParts) -> Option<GrowthParts> {
    parts.total().is_finite().then_some(parts)
}

/// What the parts leave of the log growth between the two recorded spreads: rounding only (3.1).
pub(crate) fn additivity(row: &ProbeRow) -> f64 {
    let growth = (row.spread / row.spread_prev).ln();
    (row.gamma_q + row.gamma_k + row.gamma_f - growth).abs().max((row.gamma - growth).abs())
}

/// Whether the interval is too long for its split to be trusted.
pub(crate) fn is_long(row: &ProbeRow) -> bool {
    row.gamma.abs() > LONG_INTERVAL
}

/// Predicted log growth (4.2), `ln(a^'/a^)`.
pub(crate) fn predicted_growth(row: &ProbeRow) -> f64 {
    (row.a_hat / row.a_hat_prev).ln()
}

/// Bound (6.3) on the log growth that the weights make at the interval's first features.
pub(crate) fn weight_growth_bound(row: &ProbeRow) -> f64 {
    growth_bound(row.bound_tight, row.spread_prev)
}

/// RMS(dS_W) over its bounds, cheap (6.1) and tight (6.2); NaN where nothing moved.
pub(crate) fn tightness(row: &ProbeRow) -> [f64; 2] {
    [row.ds_w / row.bound_cheap, row.ds_w / row.bound_tight]
}

/// The interval as a step of the recursion (5.4).
pub(crate) fn path_cell(row: &ProbeRow) -> PathCell {
    PathCell { eta: row.eta, u: row.u, e: row.e, c0: row.c0, features: row.feature_step }
}
