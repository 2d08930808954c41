//! Slowing one part of attention early: what, how much, until when.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::model::params::Group;

/// Which parameters are slowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// W_Q and W_K of the upper half (layer >= L/2).
    UpperQk,
    /// W_Q and W_K of the lower half: a control.
    LowerQk,
    /// W_Q and W_K everywhere: a control.
    AllQk,
    /// W_V and W_O of the upper half: a control.
    UpperVo,
}

/// When the slowed parameters are released.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// After this fraction of training.
    Fraction(f64),
    /// When the lower half's mean maturity has stayed above `threshold` for `probes` probes, at
    /// [`FORCED_RELEASE`] at the latest.
    Adaptive {
        /// Maturity that counts as settled.
        threshold: f64,
        /// Probes in a row.
        probes: u32,
    },
}

/// Fraction of training at which an adaptive hold ends at the latest.
pub const FORCED_RELEASE: f64 = 0.12;

/// An intervention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Intervention {
    /// What is slowed.
    pub target: Target,
    /// Factor on its learning rate while held.
    pub multiplier: f64,
    /// Until when.
    pub hold: Hold,
    /// Fraction of training over which the factor then rises linearly to 1.
    pub ramp: f64,
}

impl Intervention {
    /// Check the numbers.
    ///
    /// # Errors
    /// The one that makes no sense.
    pub fn validate(&self) -> Result<()> {
        let fraction = |name: &str, v: f64| {
            if (0.0..=1.0).contains(&v) {
                Ok(())
            } else {
                Err(Error::usage(format!("--{name} is a fraction of training between 0 and 1, got {v}")))
            }
        };
        if !(self.multiplier.is_finite() && self.multiplier >= 0.0) {
            return Err(Error::usage(format!("--multiplier must be 0 or more, got {}", self.multiplier)));
        }
        fraction("ramp", self.ramp)?;
        match self.hold {
            Hold::Fraction(f) => fraction("hold", f),
            Hold::Adaptive { threshold, .. } if (0.0..=1.0).contains(&threshold) => Ok(()),
            Hold::Adaptive { threshold, .. } => Err(Error::usage(format!(
                "--maturity-threshold is a cosine between 0 and 1, got {threshold}"
            ))),
        }
    }

    /// Whether it slows queries and keys, be it in some layers.
    pub fn slows_qk(&self) -> bool {
        match self.target {
            Target::UpperQk | Target::LowerQk | Target::AllQk => true,
            Target::UpperVo => false,
        }
    }

    /// Whether a learning-rate group is slowed.
    pub fn covers(&self, config: &ModelConfig, group: Group) -> bool {
        let upper = |l: usize| l >= config.upper_half();
        match group {
            Group::Other => false,
            Group::Qk(l) => match self.target {
                Target::UpperQk => upper(l),
                Target::LowerQk => !upper(l),
                Target::AllQk => true,
                Target::UpperVo => false,
            },
            Group::Vo(l) => match self.target {
                Target::UpperVo => upper(l),
                Target::UpperQk | Target::LowerQk | Target::AllQk => false,
            },
        }
    }
}

/// Where an intervention stands; part of a checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldState {
    /// Step at which the hold ended.
    pub released: Option<u32>,
    /// Probes in a row with the lower half settled.
    pub settled: u32,
}

impl HoldState {
    /// Whether the next step's factor may hang on a maturity that is not known yet.
    pub fn waits_for_maturity(&self, intervention: &Intervention) -> bool {
        matches!(intervention.hold, Hold::Adaptive { .. }) && self.released.is_none()
    }

    /// Tell an adaptive hold of a probe: lower half's mean maturity at `step`.
    pub fn observe(&mut self, intervention: &Intervention, step: u32, maturity: f64) {
        if let Hold::Adaptive { threshold, probes } = intervention.hold
            && self.released.is_none()
        {
            self.settled = if maturity >= threshold { self.settled + 1 } else { 0 };
            if self.settled >= probes {
                self.released = Some(step);
            }
        }
    }

    /// Factor on the target's learning rate at `step` of `steps`; ends the hold when its time has come.
    pub fn multiplier(&mut self, intervention: &Intervention, step: u32, steps: u32) -> f64 {
        let at = |fraction: f64| (fraction * f64::from(steps)).round() as u32;
        if self.released.is_none() {
            let last = match intervention.hold {
                Hold::Fraction(f) => at(f),
                Hold::Adaptive { .. } => at(FORCED_RELEASE),
            };
            if step >= last {
                self.released = Some(last);
            }
        }
        match self.released {
            None => intervention.multiplier,
            Some(r) => {
                let ramp = f64::from(at(intervention.ramp));
                let done = if ramp > 0.0 { (f64::from(step - r.min(step)) / ramp).min(1.0) } else { 1.0 };
                intervention.multiplier + (1.0 - intervention.multiplier) * done
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(hold: Hold) -> Intervention {
        Intervention { target: Target::UpperQk, multiplier: 0.25, hold, ramp: 0.02 }
    }

    #[test]
    fn fixed_hold_then_linear_ramp() {
        let (i, mut s) = (slow(Hold::Fraction(0.1)), HoldState::default());
        let m: Vec<f64> = (0..20).map(|t| s.multiplier(&i, t, 100)).collect();
        assert!(m[..10].iter().all(|v| *v == 0.25));
        assert_eq!(m[10..13], [0.25, 0.625, 1.0]);
        assert!(m[12..].iter().all(|v| *v == 1.0));
    }

    #[test]
    fn adaptive_hold_releases_on_maturity_or_by_force() {
        let i = slow(Hold::Adaptive { threshold: 0.9, probes: 2 });
        let mut s = HoldState::default();
        for (step, m) in [(1, 0.95), (2, 0.5), (3, 0.95)] {
            s.observe(&i, step, m);
            assert_eq!(s.multiplier(&i, step, 1000), 0.25);
        }
        s.observe(&i, 4, 0.91);
        assert_eq!(s.released, Some(4));
        assert_eq!(s.multiplier(&i, 30, 1000), 1.0);
        let mut forced = HoldState::default();
        assert_eq!(forced.multiplier(&i, 119, 1000), 0.25);
        assert_eq!(forced.multiplier(&i, 140, 1000), 1.0);
        assert_eq!(forced.released, Some(120));
    }
}
