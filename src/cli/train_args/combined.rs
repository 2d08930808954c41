//! Flags that say nothing beside others: refused with the mend, for what is silently ignored is taken for done.

use growthpath_kernels::optimizer::Rule;

use super::TrainArgs;
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::model::config::Positions;
use crate::train::intervention::Target;
use crate::train::schedule::ScheduleShape;

const NEEDS_INTERVENE: &str = "nothing is slowed; say what with --intervene, such as upper-qk";
const NEEDS_PROBES: &str =
    "nothing is probed, nor maturity and reliance measured; leave out --probe never (or --probe-every 0)";

impl TrainArgs {
    /// The first flag that has no effect beside the others.
    ///
    /// # Errors
    /// [`Error::Usage`] naming it, and what it goes with.
    pub(super) fn check_combined(&self) -> Result<()> {
        let a = self;
        let adaptive = a.hold.as_deref() == Some("adaptive");
        let (adamw, slowed) = (matches!(a.optimizer, Rule::AdamW { .. }), a.intervene.is_some());
        let unprobed = a.never_probed();
        // What was given, its flag, whether something else leaves it without effect, and the mend.
        let idle: [(bool, &str, bool, &str); 16] = [
            (
                a.momentum.is_some(),
                "momentum",
                adamw,
                "it goes with --optimizer sgd; AdamW has --beta1 and --beta2",
            ),
            (a.beta1.is_some(), "beta1", !adamw, "it goes with --optimizer adamw; SGD has --momentum"),
            (a.beta2.is_some(), "beta2", !adamw, "it goes with --optimizer adamw; SGD has --momentum"),
            (
                a.lr_final.is_some(),
                "lr-final",
                a.schedule == ScheduleShape::Constant,
                "--schedule constant does not decay; choose cosine or wsd, or leave it out",
            ),
            (a.multiplier.is_some(), "multiplier", !slowed, NEEDS_INTERVENE),
            (a.hold.is_some(), "hold", !slowed, NEEDS_INTERVENE),
            (a.ramp.is_some(), "ramp", !slowed, NEEDS_INTERVENE),
            (a.maturity_threshold.is_some(), "maturity-threshold", !adaptive, "it goes with --hold adaptive"),
            (
                a.spectra_every.is_some_and(|n| n > 0),
                "spectra-every",
                a.telemetry == "off",
                "spectra are recorded with the heads, which --telemetry off leaves out",
            ),
            (a.probe_threshold.is_some(), "probe-threshold", unprobed, NEEDS_PROBES),
            (a.probe_budget.is_some(), "probe-budget", unprobed, NEEDS_PROBES),
            (a.probe_sequences.is_some(), "probe-sequences", unprobed, NEEDS_PROBES),
            (a.probe_length.is_some(), "probe-length", unprobed, NEEDS_PROBES),
            (a.reliance_sequences.is_some_and(|n| n > 0), "reliance-sequences", unprobed, NEEDS_PROBES),
            (a.maturity_lag.is_some(), "maturity-lag", unprobed, NEEDS_PROBES),
            (a.checkpoint_probes, "checkpoint-probes", unprobed, NEEDS_PROBES),
        ];
        if let Some((_, flag, _, mend)) = idle.iter().find(|(given, _, idle, _)| *given && *idle) {
            return Err(Error::usage(format!("--{flag} has no effect here: {mend}")));
        }
        match a.warmup {
            Some(n) if n > a.steps => Err(Error::usage(format!(
                "--warmup {n}: the run has {} steps, so that the peak is never reached; give at most as many",
                a.steps
            ))),
            _ => Ok(()),
        }
    }

    /// The same for what the model decides.
    ///
    /// # Errors
    /// As [`TrainArgs::check_combined`].
    pub(super) fn check_with_model(&self, model: &ModelConfig) -> Result<()> {
        if model.pos == Positions::Learned && self.set.iter().any(|s| s.starts_with("rope_base=")) {
            return Err(Error::usage(
                "--set rope_base has no effect here: positions are learned; add --set pos=rope, or choose gpt+rope or llama",
            ));
        }
        if self.intervene == Some(Target::LowerQk) && model.upper_half() == 0 {
            return Err(Error::usage(
                "--intervene lower-qk: a model of one layer has no lower half; choose upper-qk",
            ));
        }
        Ok(())
    }
}
