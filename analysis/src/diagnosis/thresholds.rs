//! What counts as sharp, relied upon and settled.

use serde::Serialize;

use crate::error::{AnalysisError, Result};

/// Thresholds of the diagnosis (section 8).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Thresholds {
    /// Mean sharpness of the upper half, `1 - entropy / ln(row length)`, that counts as sharp. In (0, 1).
    pub sharpness: f64,
    /// Mean maturity of the lower half that counts as settled. In (0, 1).
    ///
    /// Maturity is the cosine between key moments a lag apart (2 % of training by default). Moments have no
    /// negative eigenvalues, so even unrelated ones have a positive cosine: for two random subspaces of rank r
    /// in d dimensions about r/d, and close to 1 when both are nearly isotropic or share a common-mode
    /// direction. A few tenths therefore mean little, and all that counts happens near 1. At 0.9, the moment
    /// turns by 26 degrees within a lag; a basis that kept turning so (in a new direction each time) would
    /// have lost its resemblance, cosine below 0.2, after 16 lags, a third of training. At 0.95 the angle is
    /// 18 degrees, at 0.98 it is 11. The default, 0.9, is also the default of an adaptive release.
    pub maturity: f64,
    /// Standard errors by which the upper half's reliance must exceed zero. Not negative.
    pub reliance_sigmas: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { sharpness: 0.05, maturity: 0.9, reliance_sigmas: 2.0 }
    }
}

impl Thresholds {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`AnalysisError::Threshold`], naming the first that is out of its range.
    pub fn validate(&self) -> Result<()> {
        let inside = |v: f64| v > 0.0 && v < 1.0;
        let refuse = |name, value, range| Err(AnalysisError::Threshold { name, value, range });
        let open = "strictly between 0 and 1";
        if !inside(self.sharpness) {
            return refuse("sharpness", self.sharpness, open);
        }
        if !inside(self.maturity) {
            return refuse("maturity", self.maturity, open);
        }
        if !(self.reliance_sigmas.is_finite() && self.reliance_sigmas >= 0.0) {
            return refuse("reliance_sigmas", self.reliance_sigmas, "a number of at least 0");
        }
        Ok(())
    }

    /// The neighbourhood over which sensitivity is shown, these thresholds in the middle: sharpness and
    /// sigmas halved and doubled, and the unsettled rest `1 - maturity` likewise.
    pub(super) fn grid(&self) -> impl Iterator<Item = Self> + '_ {
        const FACTORS: [f64; 3] = [0.5, 1.0, 2.0];
        // 1 - (1 - m) is not always m: keep the middle exact.
        let settled = |f: f64| if f == 1.0 { self.maturity } else { 1.0 - f * (1.0 - self.maturity) };
        FACTORS.into_iter().flat_map(move |s| {
            FACTORS.into_iter().flat_map(move |m| {
                FACTORS.into_iter().map(move |r| Self {
                    sharpness: s * self.sharpness,
                    maturity: settled(m),
                    reliance_sigmas: r * self.reliance_sigmas,
                })
            })
        })
    }
}
