//! Whether a configuration makes sense, before anything is written.

use growthpath_kernels::optimizer::Rule;

use super::config::{ProbeTimes, TrainConfig};
use super::sizes;
use crate::error::{Error, Result};

impl TrainConfig {
    /// Check what the model's own check does not cover.
    ///
    /// # Errors
    /// The first value that makes no sense, with the mend.
    pub fn validate(&self) -> Result<()> {
        self.model.validate()?;
        sizes::counted(self)?;
        let bad = |m: String| Err(Error::usage(m));
        if self.steps == 0 {
            return bad("--steps must be at least 1".into());
        }
        if self.batch == 0 {
            return bad("--batch must be at least 1".into());
        }
        if self.eval_sequences == 0 {
            return bad("--eval-sequences must be at least 1".into());
        }
        self.validate_optimizer()?;
        let lr = self.schedule.lr;
        if !(lr.is_finite() && lr > 0.0) {
            return bad(format!("--lr must be a positive number, got {lr}"));
        }
        for (name, v) in [("weight-decay", self.weight_decay), ("clip", self.clip)] {
            if !(v.is_finite() && v >= 0.0) {
                return bad(format!("--{name} must be 0 or more, got {v}"));
            }
        }
        if !(0.0..=1.0).contains(&self.schedule.final_fraction) {
            return bad(format!(
                "--lr-final is a fraction of the peak, got {}",
                self.schedule.final_fraction
            ));
        }
        if let Some(n) = self.dump_step.filter(|n| *n >= self.steps) {
            return bad(format!("--dump-step {n}: the run has steps 0 to {}", self.steps - 1));
        }
        self.validate_probes()?;
        if self.probe.length > self.model.context {
            return bad(format!(
                "--probe-length {} exceeds the context {}",
                self.probe.length, self.model.context
            ));
        }
        match self.intervention {
            Some(i) => i.validate(),
            None => Ok(()),
        }
    }

    fn validate_optimizer(&self) -> Result<()> {
        let decay = |name: &str, v: f64| {
            if (0.0..1.0).contains(&v) {
                Ok(())
            } else {
                Err(Error::usage(format!("--{name} must be at least 0 and below 1, got {v}")))
            }
        };
        match self.optimizer {
            Rule::AdamW { beta1, beta2, .. } => decay("beta1", beta1).and_then(|()| decay("beta2", beta2)),
            Rule::Sgd { momentum } => decay("momentum", momentum),
        }
    }

    fn validate_probes(&self) -> Result<()> {
        let bad = |m: String| Err(Error::usage(m));
        let p = &self.probe;
        if p.times != ProbeTimes::Never && (p.sequences == 0 || p.length < 2) {
            return bad("a probe needs at least one sequence of two tokens".into());
        }
        if !(0.0..=1.0).contains(&p.maturity_lag) {
            return bad(format!("--maturity-lag is a fraction of training, got {}", p.maturity_lag));
        }
        match &p.times {
            ProbeTimes::Auto { threshold, .. } if !(threshold.is_finite() && *threshold > 0.0) => {
                bad(format!("--probe-threshold must be a positive number (ln), got {threshold}"))
            }
            ProbeTimes::Auto { budget, .. } | ProbeTimes::Like { budget, .. }
                if !(*budget > 0.0 && *budget <= 1.0) =>
            {
                bad(format!(
                    "--probe-budget is a fraction of the training's arithmetic, above 0 and at most 1, got {budget}"
                ))
            }
            ProbeTimes::Every { steps: 0 } => bad("the probe interval must be at least 1".into()),
            ProbeTimes::Like { run, steps, .. } if steps.last().is_some_and(|s| *s > self.steps) => {
                bad(format!(
                    "--probe-like: {run} was probed up to step {}, this run has {} steps: give both the same --steps",
                    steps[steps.len() - 1],
                    self.steps
                ))
            }
            _ => Ok(()),
        }
    }

    /// [`TrainConfig::validate`] before the text is read, which decides the vocabulary.
    ///
    /// # Errors
    /// As there.
    pub fn validate_without_text(&self) -> Result<()> {
        let mut one = self.clone();
        one.model.vocab = one.model.vocab.max(1);
        one.validate()
    }
}
