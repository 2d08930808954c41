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
    /// One-sided confidence at which the upper half's reliance must exceed zero: its mean over sequences against
    /// Student's t for their number. At least 1/2, below 1.
    ///
    /// The default, 0.975, is one tail of the customary 95 %: 1 measurement in 40 of an attention that is worth
    /// nothing passes, whatever the number of sequences. (Two standard errors, for comparison, pass 1 in 7 with two
    /// sequences, 1 in 31 with sixteen.) The first of several measurements is looked for, so raise it where many fall
    /// between sharpness and commitment.
    pub confidence: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { sharpness: 0.05, maturity: 0.9, confidence: 0.975 }
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
        if !(self.confidence >= 0.5 && self.confidence < 1.0) {
            return refuse("confidence", self.confidence, "at least 0.5 and below 1, such as 0.975");
        }
        Ok(())
    }

    /// The neighbourhood over which sensitivity is shown, these thresholds in the middle: the sharpness, the
    /// unsettled rest `1 - maturity` and the rate of false alarms `1 - confidence` halved and doubled.
    pub(super) fn grid(&self) -> impl Iterator<Item = Self> + '_ {
        const FACTORS: [f64; 3] = [0.5, 1.0, 2.0];
        // 1 - (1 - v) is not always v: keep the middle exact.
        let from_one = |v: f64, f: f64| if f == 1.0 { v } else { 1.0 - f * (1.0 - v) };
        FACTORS.into_iter().flat_map(move |s| {
            FACTORS.into_iter().flat_map(move |m| {
                FACTORS.into_iter().map(move |r| Self {
                    sharpness: s * self.sharpness,
                    maturity: from_one(self.maturity, m),
                    // Beyond even odds a measurement below zero would count as reliance.
                    confidence: from_one(self.confidence, r).max(0.5),
                })
            })
        })
    }
}
