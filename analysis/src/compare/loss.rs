//! What a difference in attention growth bought: validation loss and tokens.

use growthpath_trace::{EvalRow, Run};
use serde::Serialize;

use crate::error::Result;

/// Validation loss of both runs at the last step at which both were evaluated. Losses in nats a token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LossGap {
    /// Steps done at that evaluation.
    pub step: u32,
    /// Tokens that A had trained on.
    pub tokens_a: u64,
    /// Tokens that B had trained on.
    pub tokens_b: u64,
    /// Validation loss of A.
    pub val_loss_a: f64,
    /// Validation loss of B.
    pub val_loss_b: f64,
    /// Its standard error over evaluation sequences, A; NaN for one sequence.
    pub val_stderr_a: f64,
    /// The same of B.
    pub val_stderr_b: f64,
    /// `val_loss_b - val_loss_a`: negative when B is better.
    pub difference: f64,
    /// Standard error of the difference as if the two were independent. Both runs read the same sequences, so
    /// this is too large rather than too small; it says nothing of the variation between seeds.
    pub difference_stderr: f64,
    /// `exp(val_loss_a)`.
    pub perplexity_a: f64,
    /// `exp(val_loss_b)`.
    pub perplexity_b: f64,
    /// `perplexity_b - perplexity_a`.
    pub perplexity_gap: f64,
}

/// How soon one run reaches another's final validation loss.
///
/// "Final" is the last common evaluation, and a loss is reached where the straight line between two
/// evaluations first crosses it. The other run's own first crossing is the yardstick: a run against itself
/// saves nothing, even where its loss rises again at the end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TokenEfficiency {
    /// Whether the loss is reached at all.
    pub reached: bool,
    /// The other run's final loss, nats a token.
    pub target_loss: f64,
    /// Tokens at which it is reached (interpolated); NaN if it is not.
    pub tokens: f64,
    /// Tokens at which the other run first reaches it.
    pub reference_tokens: f64,
    /// `1 - tokens / reference_tokens`: negative when it takes longer, NaN if it is not reached.
    pub fraction_saved: f64,
}

/// The finite evaluations of two runs.
pub(super) struct Losses {
    a: Vec<EvalRow>,
    b: Vec<EvalRow>,
}

impl Losses {
    /// Reads them; a run has few.
    pub fn read(a: &Run, b: &Run) -> Result<Self> {
        let read = |run: &Run| -> Result<Vec<EvalRow>> {
            Ok(run.evals()?.into_iter().filter(|e| e.loss.is_finite()).collect())
        };
        Ok(Self { a: read(a)?, b: read(b)? })
    }

    /// The same with A and B swapped.
    pub fn reversed(&self) -> Self {
        Self { a: self.b.clone(), b: self.a.clone() }
    }

    fn last_common(&self) -> Option<(&EvalRow, &EvalRow)> {
        let partner = |a: &EvalRow| self.b.iter().find(|b| b.step == a.step);
        self.a.iter().rev().find_map(|a| Some((a, partner(a)?)))
    }

    /// The gap at the last common evaluation; none without one.
    pub fn gap(&self) -> Option<LossGap> {
        let (a, b) = self.last_common()?;
        let (perplexity_a, perplexity_b) = (a.loss.exp(), b.loss.exp());
        Some(LossGap {
            step: a.step,
            tokens_a: a.tokens,
            tokens_b: b.tokens,
            val_loss_a: a.loss,
            val_loss_b: b.loss,
            val_stderr_a: a.stderr,
            val_stderr_b: b.stderr,
            difference: b.loss - a.loss,
            difference_stderr: a.stderr.hypot(b.stderr),
            perplexity_a,
            perplexity_b,
            perplexity_gap: perplexity_b - perplexity_a,
        })
    }

    /// Tokens that B needs to A's final loss; none without a common evaluation.
    pub fn efficiency(&self) -> Option<TokenEfficiency> {
        let target = self.last_common()?.0.loss;
        let tokens = first_reach(&self.b, target);
        // A holds the evaluation that set the target, so it reaches it.
        let reference = first_reach(&self.a, target)?;
        let fraction = tokens.filter(|_| reference > 0.0).map_or(f64::NAN, |t| 1.0 - t / reference);
        Some(TokenEfficiency {
            reached: tokens.is_some(),
            target_loss: target,
            tokens: tokens.unwrap_or(f64::NAN),
            reference_tokens: reference,
            fraction_saved: fraction,
        })
    }
}

/// First tokens at which a loss curve is at or below a target, linear between evaluations.
fn first_reach(evals: &[EvalRow], target: f64) -> Option<f64> {
    let at = evals.iter().position(|e| e.loss <= target)?;
    let here = &evals[at];
    let end = here.tokens as f64;
    Some(match at.checked_sub(1).map(|before| &evals[before]) {
        // Above the target before, at or below it here: the losses differ.
        Some(before) => {
            let start = before.tokens as f64;
            start + (end - start) * (before.loss - target) / (before.loss - here.loss)
        }
        None => end,
    })
}
