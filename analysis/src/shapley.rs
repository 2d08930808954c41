//! Arm against arm (5.4): the difference in path growth split over the five factors.

use serde::{Deserialize, Serialize};

use crate::error::{AnalysisError, Result, shape};
use crate::factors::Factors;
use crate::sum::CompensatedSum;

/// The factors of one (probe, layer, head): `g^ = eta u e c / a^`.
pub type Cell = Factors;

/// The gap in path growth, `sum g^` over arm B's cells less over arm A's, split over the factors.
///
/// The five parts add up to the gap; `residual` is what rounding leaves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Part of the step sizes, eta.
    pub step_size: f64,
    /// Part of the update geometry, u.
    pub update_geometry: f64,
    /// Part of the residual energy, e.
    pub residual_energy: f64,
    /// Part of the coherence, c.
    pub coherence: f64,
    /// Part of the scale, `1/a^`.
    pub scale: f64,
    /// Path growth of arm A.
    pub growth_a: f64,
    /// Path growth of arm B.
    pub growth_b: f64,
    /// `growth_b - growth_a`.
    pub gap: f64,
    /// `gap` less the five parts.
    pub residual: f64,
}

const FACTORS: usize = 5;
const COALITIONS: usize = 1 << FACTORS;

/// Splits the gap between two arms by Shapley values over their path sums.
///
/// `a` and `b` hold aligned cells: entry n of both is the same (probe, layer, head). The value of a
/// coalition is the sum over cells of the product that takes the coalition's factors from arm B and
/// the others from arm A; all 2^5 are summed exactly, so coherence may change sign freely.
///
/// Where an arm took no step (eta = 0, or no weight moved), its u, e and c do not exist. They are
/// taken from the other arm, so that the cell's whole difference goes to the factor that did exist:
/// the step size (or the update geometry). Where neither arm moved the cell adds nothing.
///
/// # Errors
/// [`AnalysisError::Shape`] when the arms differ in length; [`AnalysisError::Cell`] when a factor
/// that should exist is not finite, or a scale is not positive.
pub fn split(a: &[Cell], b: &[Cell]) -> Result<Split> {
    if a.len() != b.len() {
        return Err(shape("cells of arm B", format!("{} cells aligned with arm A", a.len()), b.len()));
    }
    let mut values = [CompensatedSum::default(); COALITIONS];
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        let (from_a, from_b) = (factors(a, b, index, 'A')?, factors(b, a, index, 'B')?);
        for (coalition, value) in values.iter_mut().enumerate() {
            let product =
                (0..FACTORS).map(|f| if coalition >> f & 1 == 1 { from_b[f] } else { from_a[f] }).product();
            value.add(product);
        }
    }
    let values = values.map(|v| v.value());
    let parts: [f64; FACTORS] = std::array::from_fn(|f| shapley_value(&values, f));
    let gap = values[COALITIONS - 1] - values[0];
    let explained = parts.iter().copied().collect::<CompensatedSum>().value();
    let [step_size, update_geometry, residual_energy, coherence, scale] = parts;
    Ok(Split {
        step_size,
        update_geometry,
        residual_energy,
        coherence,
        scale,
        growth_a: values[0],
        growth_b: values[COALITIONS - 1],
        gap,
        residual: gap - explained,
    })
}

/// Mean marginal contribution of one factor over all orders in which arm B's factors replace A's.
fn shapley_value(values: &[f64; COALITIONS], factor: usize) -> f64 {
    // |S|! (n-1-|S|)! / n! for n = 5 and coalitions S without the factor.
    const WEIGHTS: [f64; FACTORS] = [24.0 / 120.0, 6.0 / 120.0, 4.0 / 120.0, 6.0 / 120.0, 24.0 / 120.0];
    (0..COALITIONS)
        .filter(|coalition| coalition >> factor & 1 == 0)
        .map(|coalition| {
            let weight = WEIGHTS[coalition.count_ones() as usize];
            weight * (values[coalition | 1 << factor] - values[coalition])
        })
        .collect::<CompensatedSum>()
        .value()
}

/// The five multipliers of a cell, with those that do not exist taken from the other arm.
fn factors(own: &Cell, other: &Cell, index: usize, arm: char) -> Result<[f64; FACTORS]> {
    let fail = |field, value| Err(AnalysisError::Cell { index, arm, field, value });
    if !(own.eta.is_finite() && own.eta >= 0.0) {
        return fail("eta", own.eta);
    }
    if !(own.a_hat.is_finite() && own.a_hat > 0.0) {
        return fail("a_hat", own.a_hat);
    }
    // Without a step size u is undefined; with one and no weight change it is zero.
    let still = |cell: &Cell| cell.eta == 0.0 || cell.u == 0.0;
    let u = match (own.eta == 0.0, other.eta == 0.0) {
        (true, true) => 0.0,
        (true, false) => other.u,
        (false, _) => own.u,
    };
    let (e, c) = match (still(own), still(other)) {
        (true, true) => (0.0, 0.0),
        (true, false) => (other.e, other.c),
        (false, _) => (own.e, own.c),
    };
    for (field, value) in [("u", u), ("e", e), ("c", c)] {
        if !value.is_finite() {
            return fail(field, value);
        }
    }
    Ok([own.eta, u, e, c, 1.0 / own.a_hat])
}
