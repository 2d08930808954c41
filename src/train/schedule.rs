//! Learning-rate schedules: a function of the step alone.

use serde::{Deserialize, Serialize};

/// Shape of the schedule after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleShape {
    /// Half a cosine from the peak to the final fraction.
    Cosine,
    /// Warm-up, stable, then a linear decay over the last fifth.
    Wsd,
    /// The peak throughout.
    Constant,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Shape after warm-up.
    pub shape: ScheduleShape,
    /// Peak learning rate.
    pub lr: f64,
    /// Steps of linear warm-up.
    pub warmup: u32,
    /// Final learning rate over the peak.
    pub final_fraction: f64,
}

/// Share of training that the warmup-stable-decay schedule decays over.
const WSD_DECAY: f64 = 0.2;

impl Schedule {
    /// Learning rate of the update of step `step` of `steps`.
    pub fn at(&self, step: u32, steps: u32) -> f64 {
        if step < self.warmup {
            return self.lr * f64::from(step + 1) / f64::from(self.warmup);
        }
        let rest = f64::from(steps.saturating_sub(self.warmup).max(1));
        let done = (f64::from(step - self.warmup) / rest).min(1.0);
        let low = self.final_fraction;
        self.lr
            * match self.shape {
                ScheduleShape::Constant => 1.0,
                ScheduleShape::Cosine => {
                    low + (1.0 - low) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
                }
                ScheduleShape::Wsd => {
                    let into = ((done - (1.0 - WSD_DECAY)) / WSD_DECAY).max(0.0);
                    1.0 - (1.0 - low) * into
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: ScheduleShape) -> Schedule {
        Schedule { shape, lr: 2.0, warmup: 4, final_fraction: 0.1 }
    }

    #[test]
    fn warm_up_is_linear_and_ends_at_the_peak() {
        for shape in [ScheduleShape::Cosine, ScheduleShape::Wsd, ScheduleShape::Constant] {
            let s = schedule(shape);
            assert_eq!([s.at(0, 100), s.at(1, 100), s.at(3, 100), s.at(4, 100)], [0.5, 1.0, 2.0, 2.0]);
        }
    }

    #[test]
    fn decays_reach_the_final_fraction_and_never_rise() {
        for shape in [ScheduleShape::Cosine, ScheduleShape::Wsd] {
            let s = schedule(shape);
            let all: Vec<f64> = (4..=100).map(|t| s.at(t, 100)).collect();
            assert!(all.windows(2).all(|w| w[1] <= w[0] + 1e-12));
            assert!((all[96] - 0.2).abs() < 1e-12, "{}", all[96]);
        }
        assert_eq!(schedule(ScheduleShape::Wsd).at(80, 100), 2.0);
        assert_eq!(schedule(ScheduleShape::Constant).at(99, 100), 2.0);
    }
}
