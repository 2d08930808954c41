//! Tokens to the same loss.

use serde::Serialize;

use super::evaluations::Evaluations;
use super::pairing::Pairing;
use crate::error::Result;
use crate::statistics::{CONFIDENCE, ConfidenceInterval, half_sample_error};

/// How many tokens two runs need to the worse (higher) of their two final validation losses.
///
/// "Final" is the last common evaluation, and a loss is reached where the straight line between two evaluations
/// first crosses it. Both runs reach the worse final loss by definition, so that no pair of runs drops out, and
/// exchanging the runs changes the sign of [`Self::log_token_ratio`] and nothing else: its mean over pairs of
/// equal arms is zero. (A fraction saved on the way to *A's* final loss has neither property: it exists only where
/// B reaches that loss, and is positive even between equal arms.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TokenEfficiency {
    /// The worse of the two final losses, nats a token.
    pub target_loss: f64,
    /// Tokens at which A first reaches it (interpolated).
    pub tokens_a: f64,
    /// Tokens at which B first reaches it.
    pub tokens_b: f64,
    /// `tokens_b / tokens_a`; NaN when a run had that loss before its first token.
    pub token_ratio: f64,
    /// `ln(tokens_b / tokens_a)`: negative when B needs fewer.
    pub log_token_ratio: f64,
    /// Standard error of the logarithm over evaluation sequences (half-samples of the sequences that both runs
    /// were evaluated on); NaN where they cannot be paired at every evaluation. It says nothing of the variation
    /// between seeds.
    pub log_token_ratio_stderr: f64,
    /// Student-t interval of the logarithm at [`CONFIDENCE`], over evaluation sequences as its error.
    pub log_token_ratio_interval: ConfidenceInterval,
}

/// Tokens and loss of each evaluation, in order.
type Curve = Vec<(f64, f64)>;

impl TokenEfficiency {
    /// Of two runs up to their last common evaluation, at `step`; none without one.
    pub(super) fn new(a: &Evaluations, b: &Evaluations, step: u32, pairing: Pairing) -> Result<Option<Self>> {
        let curve = |run: &Evaluations| -> Curve {
            run.until(step).iter().map(|e| (e.tokens as f64, e.loss)).collect()
        };
        let Some((target_loss, [tokens_a, tokens_b])) = reach(&curve(a), &curve(b)) else { return Ok(None) };
        let log = log_ratio([tokens_a, tokens_b]);
        let (error, freedom) = match (Sampled::new(a, step), Sampled::new(b, step)) {
            (Some(a), Some(b)) if pairing == Pairing::Paired && a.count == b.count => {
                let half =
                    |i: &[usize]| reach(&a.of(i), &b.of(i)).map_or(f64::NAN, |(_, tokens)| log_ratio(tokens));
                (half_sample_error(a.count, log, half), a.count as f64 - 1.0)
            }
            _ => (f64::NAN, f64::NAN),
        };
        Ok(Some(Self {
            target_loss,
            tokens_a,
            tokens_b,
            token_ratio: log.exp(),
            log_token_ratio: log,
            log_token_ratio_stderr: error,
            log_token_ratio_interval: ConfidenceInterval::student(log, error, freedom, CONFIDENCE)?,
        }))
    }

    /// The same with A and B swapped.
    pub(super) fn reversed(&self) -> Self {
        let ConfidenceInterval { low, high } = self.log_token_ratio_interval;
        Self {
            tokens_a: self.tokens_b,
            tokens_b: self.tokens_a,
            token_ratio: (-self.log_token_ratio).exp(),
            log_token_ratio: -self.log_token_ratio,
            log_token_ratio_interval: ConfidenceInterval { low: -high, high: -low },
            ..*self
        }
    }
}

/// `ln(t_B / t_A)`; NaN when a time is zero.
fn log_ratio([a, b]: [f64; 2]) -> f64 {
    if a > 0.0 && b > 0.0 { (b / a).ln() } else { f64::NAN }
}

/// The worse of the two last losses and the tokens at which each curve first reaches it; none for an empty curve.
fn reach(a: &[(f64, f64)], b: &[(f64, f64)]) -> Option<(f64, [f64; 2])> {
    let target = a.last()?.1.max(b.last()?.1);
    Some((target, [first_reach(a, target)?, first_reach(b, target)?]))
}

/// First tokens at which a loss curve is at or below a target, linear between evaluations.
fn first_reach(curve: &[(f64, f64)], target: f64) -> Option<f64> {
    let at = curve.iter().position(|(_, loss)| *loss <= target)?;
    let (end, here) = curve[at];
    Some(match at.checked_sub(1).map(|before| curve[before]) {
        // Above the target before, at or below it here: the losses differ.
        Some((start, before)) => start + (end - start) * (before - target) / (before - here),
        None => end,
    })
}

/// A run's evaluations with the losses of every sequence.
struct Sampled<'a> {
    /// Tokens, and the losses of the sequences.
    points: Vec<(f64, &'a [f64])>,
    /// Sequences, the same at every evaluation.
    count: usize,
}

impl<'a> Sampled<'a> {
    /// None unless every evaluation has the losses of the same number of sequences.
    fn new(run: &'a Evaluations, step: u32) -> Option<Self> {
        let rows = run.until(step);
        let points: Option<Vec<_>> =
            rows.iter().map(|e| Some((e.tokens as f64, run.sequences(e.step)?))).collect();
        let (points, count) = (points?, rows.last()?.sequences as usize);
        points.iter().all(|p| p.1.len() == count).then_some(Self { points, count })
    }

    /// The curve of some sequences.
    fn of(&self, chosen: &[usize]) -> Curve {
        let mean = |each: &[f64]| chosen.iter().map(|i| each[*i]).sum::<f64>() / chosen.len() as f64;
        self.points.iter().map(|(tokens, each)| (*tokens, mean(each))).collect()
    }
}
