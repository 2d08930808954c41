//! Inner products of the query side's Gram matrices with the key side's: what an interval's predictions are made of.

use crate::corners::OLD;

/// `sum_ij A_ij N_ij` of the query side's Gram matrices with the key side's, `[A][N]`, each of midpoint m and step s in the order
/// `mm, ms, sm, ss`: what every square and inner product of an interval in one metric is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inners(pub [[f64; 4]; 4]);

/// Order of the Gram matrices.
const MM: usize = 0;
const MS: usize = 1;
const SM: usize = 2;
const SS: usize = 3;

impl Inners {
    /// `d_h |dM|^2` with `dM = s_q m_k^T + m_q s_k^T`.
    pub(crate) fn step(&self) -> f64 {
        let v = &self.0;
        v[SS][MM] + 2.0 * v[MS][SM] + v[MM][SS]
    }

    /// `d_h <M-bar, dM>` with `M-bar = m_q m_k^T + s_q s_k^T / 4`.
    pub(crate) fn along(&self) -> f64 {
        let v = &self.0;
        v[MM][MS] + v[MS][MM] + 0.25 * (v[MS][SS] + v[SS][MS])
    }

    /// `d_h |M-bar|^2`.
    pub(crate) fn mean(&self) -> f64 {
        let v = &self.0;
        v[MM][MM] + 0.5 * v[MS][MS] + v[SS][SS] / 16.0
    }

    /// `d_h |q k^T|^2` for the old or new query and key weights: midpoint less or plus half a step.
    pub(crate) fn square(&self, q: usize, k: usize) -> f64 {
        let weights = |side: usize| {
            let half = if side == OLD { -0.5 } else { 0.5 };
            [1.0, half, half, 0.25]
        };
        let (a, n) = (weights(q), weights(k));
        // Small terms first: the midpoints' square is the largest by far.
        let row = |i: usize| (0..4).rev().map(|j| n[j] * self.0[i][j]).sum::<f64>();
        (0..4).rev().map(|i| a[i] * row(i)).sum()
    }
}
