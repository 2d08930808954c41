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
    /// direction. A few tenths therefore mean little, and all that counts happens near 1. At 0.9 the moment
    /// turns by 26 degrees within a lag (0.95: 18, 0.98: 11); a basis that kept turning so, in a new direction
    /// each time, would lose its resemblance (cosine below 0.2) in 16 lags, a third of training.
    ///
    /// On the other side, moments also come to rest because the learning rate falls: a threshold close to 1
    /// dates the schedule and not the features. In a 400-step run of a small GPT the lower half stood at 0.59
    /// after the first lag, above 0.9 for good from 4 % of training, above 0.95 from 33 %, and above 0.99 only
    /// at the end of the decay. The default, 0.9, dates the end of the first upheaval; it is also the default of
    /// an adaptive release. Between 0.9 and 0.95 the verdict can change: see [`super::Diagnosis::sensitivity`].
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
