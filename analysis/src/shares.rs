//! Additive shares of the log growth (3.3).

use serde::{Deserialize, Serialize};

/// Log growth split over its paths; the four add up to Gamma over any window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PathShares {
    /// Weight path, first order: `m g_D`.
    pub weight_path: f64,
    /// Weight path, second order: `m g_D2`.
    pub weight_curvature: f64,
    /// Feature path: `m g_F`.
    pub feature_path: f64,
    /// Rotation of the logits: `m rho^2 / 2`.
    pub rotation: f64,
}

impl PathShares {
    /// Sum of the four shares.
    pub fn total(&self) -> f64 {
        self.weight_path + self.weight_curvature + self.feature_path + self.rotation
    }

    /// Shares of two consecutive intervals together.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            weight_path: self.weight_path + other.weight_path,
            weight_curvature: self.weight_curvature + other.weight_curvature,
            feature_path: self.feature_path + other.feature_path,
            rotation: self.rotation + other.rotation,
        }
    }
}

/// Splits the log growth `gamma` by (3.3): every rate times `m = Gamma / ((r^2-1)/2)`.
///
/// `(r^2-1)/2` is `g_D + g_D2 + g_F + rho^2/2` by (3.2). Where it is so small that the quotient
/// would divide rounding by rounding, m comes from its series `1 - z + 4/3 z^2 - 2 z^3`; the shares
/// then add up to gamma up to the rounding of the rates themselves. A window that starts or ends
/// at zero spread has no finite log growth: its shares are NaN.
pub fn shares(gamma: f64, g_d: f64, g_d2: f64, g_f: f64, rho2: f64) -> PathShares {
    let half = g_d + g_d2 + g_f + 0.5 * rho2;
    let m = if !gamma.is_finite() {
        f64::NAN
    } else if half.abs() < SERIES_BELOW {
        1.0 + half * (-1.0 + half * (4.0 / 3.0 - 2.0 * half))
    } else {
        gamma / half
    };
    PathShares {
        weight_path: m * g_d,
        weight_curvature: m * g_d2,
        feature_path: m * g_f,
        rotation: m * 0.5 * rho2,
    }
}

/// Below this the series' first dropped term, `16/5 z^4`, is under 2^-52.
const SERIES_BELOW: f64 = 9e-5;
