//! What a difference in attention growth bought: validation loss and tokens.

mod evaluations;
mod pairing;
mod tokens;

use growthpath_trace::{EvalRow, Run};
use serde::Serialize;

pub(super) use evaluations::Evaluations;
pub use pairing::Pairing;
pub use tokens::TokenEfficiency;

use crate::error::Result;
use crate::statistics::{CONFIDENCE, ConfidenceInterval, Estimate, estimate, independent_difference};

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
    /// Standard error of the difference over evaluation sequences: that of the mean of paired differences where
    /// `pairing` says so, otherwise as if the two losses were independent. It says nothing of the variation
    /// between seeds.
    pub difference_stderr: f64,
    /// Student-t interval of the difference at [`CONFIDENCE`], over evaluation sequences as its error: about
    /// these two trained models, not about their arms.
    pub difference_interval: ConfidenceInterval,
    /// Whether the errors are those of paired differences.
    pub pairing: Pairing,
    /// Sequences that A was evaluated on; B's number is the same when paired.
    pub sequences: u32,
    /// `exp(val_loss_a)`.
    pub perplexity_a: f64,
    /// `exp(val_loss_b)`.
    pub perplexity_b: f64,
    /// `perplexity_b - perplexity_a`.
    pub perplexity_gap: f64,
}

/// The differences in loss between two runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Losses {
    gap: Option<LossGap>,
    tokens: Option<TokenEfficiency>,
}

impl Losses {
    /// Reads two runs' evaluations and compares them; a run has few.
    pub fn read(a: &Run, b: &Run) -> Result<Self> {
        let text = evaluations::same_text(a.info(), b.info());
        Self::between(&Evaluations::read(a)?, &Evaluations::read(b)?, text)
    }

    /// Compares evaluations of two runs; `text` says whether they were made on the same text.
    pub fn between(a: &Evaluations, b: &Evaluations, text: Pairing) -> Result<Self> {
        let Some((last_a, last_b)) = a.last_common(b) else { return Ok(Self { gap: None, tokens: None }) };
        let gap = LossGap::new((a, last_a), (b, last_b), text)?;
        Ok(Self { gap: Some(gap), tokens: TokenEfficiency::new(a, b, last_a.step, gap.pairing)? })
    }

    /// The same with A and B swapped, as far as tokens go.
    pub fn reversed(&self) -> Self {
        Self { gap: None, tokens: self.tokens.map(|t| t.reversed()) }
    }

    /// The gap at the last common evaluation; none without one.
    pub const fn gap(&self) -> Option<LossGap> {
        self.gap
    }

    /// The tokens that both need; none without a common evaluation.
    pub const fn efficiency(&self) -> Option<TokenEfficiency> {
        self.tokens
    }
}

impl LossGap {
    fn new(
        (all_a, a): (&Evaluations, &EvalRow),
        (all_b, b): (&Evaluations, &EvalRow),
        text: Pairing,
    ) -> Result<Self> {
        let (each_a, each_b) = (all_a.sequences(a.step), all_b.sequences(b.step));
        let pairing = match (text, each_a.zip(each_b)) {
            (Pairing::Paired, _) if a.sequences != b.sequences => Pairing::DifferentCounts,
            (Pairing::Paired, None) => Pairing::SequencesNotRecorded,
            (text, _) => text,
        };
        let difference = b.loss - a.loss;
        let (difference_stderr, difference_interval) = match each_a.zip(each_b) {
            Some((each_a, each_b)) if pairing == Pairing::Paired => {
                let pairs: Vec<f64> = each_a.iter().zip(each_b).map(|(a, b)| b - a).collect();
                let Estimate { count, error, .. } = estimate(&pairs);
                // The mean of the pairs is the difference but for rounding.
                let freedom = count as f64 - 1.0;
                (error, ConfidenceInterval::student(difference, error, freedom, CONFIDENCE)?)
            }
            _ => independent_difference(&of_row(a), &of_row(b), CONFIDENCE)?,
        };
        let (perplexity_a, perplexity_b) = (a.loss.exp(), b.loss.exp());
        Ok(Self {
            step: a.step,
            tokens_a: a.tokens,
            tokens_b: b.tokens,
            val_loss_a: a.loss,
            val_loss_b: b.loss,
            val_stderr_a: a.stderr,
            val_stderr_b: b.stderr,
            difference,
            difference_stderr,
            difference_interval,
            pairing,
            sequences: a.sequences,
            perplexity_a,
            perplexity_b,
            perplexity_gap: perplexity_b - perplexity_a,
        })
    }
}

/// The loss of an evaluation with its error over sequences.
fn of_row(row: &EvalRow) -> Estimate {
    let count = row.sequences as usize;
    Estimate { count, mean: row.loss, deviation: row.stderr * (count as f64).sqrt(), error: row.stderr }
}
