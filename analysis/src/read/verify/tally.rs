//! The running record of one check.

use serde::Serialize;

/// Where in a trace a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its step.
    pub step: u32,
    /// Its layer, for rows that have one.
    pub layer: Option<u16>,
    /// Its head, for rows that have one.
    pub head: Option<u16>,
}

impl Place {
    /// A row of a head.
    pub(crate) fn head(step: u32, layer: u16, head: u16) -> Self {
        Self { step, layer: Some(layer), head: Some(head) }
    }

    /// A row of a layer.
    pub(crate) fn layer(step: u32, layer: u16) -> Self {
        Self { step, layer: Some(layer), head: None }
    }

    /// A row of a whole step.
    pub(crate) fn step(step: u32) -> Self {
        Self { step, layer: None, head: None }
    }
}

/// One self-check over all rows of a trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Its name, stable for scripts.
    pub name: &'static str,
    /// Number of the statement that it checks, as `(2.1)`; empty for plain ranges.
    pub equation: &'static str,
    /// What is compared, in formulas of the column names.
    pub what: &'static str,
    /// Rows (or groups of rows) compared.
    pub rows: u64,
    /// Rows left out because a column is undefined there.
    pub skipped: u64,
    /// The largest residual; for bounds (by how much the left side exceeds the right, relatively)
    /// it is negative when all hold. `None` if nothing was compared.
    pub worst: Option<f64>,
    /// Where it occurred.
    pub at: Option<Place>,
    /// The largest residual that is no violation.
    pub tolerance: f64,
    /// Where the tolerance comes from.
    pub reason: &'static str,
    /// Rows whose residual is above the tolerance.
    pub violations: u64,
}

impl Check {
    pub(crate) fn new(
        name: &'static str,
        equation: &'static str,
        what: &'static str,
        tolerance: f64,
        reason: &'static str,
    ) -> Self {
        Self {
            name,
            equation,
            what,
            rows: 0,
            skipped: 0,
            worst: None,
            at: None,
            tolerance,
            reason,
            violations: 0,
        }
    }

    /// Records the residual of one row; NaN counts as skipped.
    pub(crate) fn add(&mut self, residual: f64, place: Place) {
        if residual.is_nan() {
            self.skipped += 1;
            return;
        }
        self.rows += 1;
        self.violations += u64::from(residual > self.tolerance);
        if self.worst.is_none_or(|worst| residual > worst) {
            (self.worst, self.at) = (Some(residual), Some(place));
        }
    }
}

/// By how much `left <= right` is missed, relative to `right`; negative when it holds.
pub(crate) fn excess(left: f64, right: f64) -> f64 {
    if left == right { 0.0 } else { (left - right) / right.abs() }
}

/// A sum of squares below this has lost terms to underflow: 2^20 of the smallest normal float32. Such sums are not held
/// against anything smaller.
pub(crate) const FAINT: f64 = (1 << 20) as f64 * f32::MIN_POSITIVE as f64;

/// Spreads below this are made of features beneath the rounding of their constant part, which is 1, and their powers come
/// near the end of float64: what is made of them has no digits to compare.
pub(crate) const TINY: f64 = 1e-20;

/// By how much a value lies outside `low..=high`.
pub(crate) fn outside(value: f64, low: f64, high: f64) -> f64 {
    // NaN must stay NaN: f64::max would drop it.
    if value.is_nan() { value } else { (low - value).max(value - high).max(0.0) }
}

/// The largest of some residuals; NaN only if all are.
pub(crate) fn largest(residuals: &[f64]) -> f64 {
    residuals.iter().copied().fold(f64::NAN, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_keeps_the_worst_and_where() {
        let mut check = Check::new("x", "", "", 0.5, "");
        for (i, residual) in [-0.1, f64::NAN, 0.7, 0.5, 0.6].into_iter().enumerate() {
            check.add(residual, Place::step(i as u32));
        }
        assert_eq!((check.rows, check.skipped, check.violations), (4, 1, 2));
        assert_eq!((check.worst, check.at), (Some(0.7), Some(Place::step(2))));
    }

    #[test]
    fn residuals_of_inequalities() {
        assert_eq!(excess(1.0, 2.0), -0.5);
        assert_eq!(excess(0.0, 0.0), 0.0);
        assert_eq!(excess(1.0, 0.0), f64::INFINITY);
        assert!(excess(f64::NAN, 1.0).is_nan() && excess(1.0, f64::NAN).is_nan());
        assert_eq!(
            (outside(1.5, 0.0, 1.0), outside(-0.25, 0.0, 1.0), outside(0.5, 0.0, 1.0)),
            (0.5, 0.25, 0.0)
        );
        assert!(outside(f64::NAN, 0.0, 1.0).is_nan());
        assert_eq!(largest(&[f64::NAN, 1.0, 0.5]), 1.0);
        assert!(largest(&[f64::NAN]).is_nan());
    }
}
