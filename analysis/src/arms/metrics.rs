//! The numbers that a run is summarised by.

use crate::compare::Layers;
use crate::read::Analysis;

/// Unit of a metric, and how it is averaged over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nats per token.
    Loss,
    /// Natural logarithm of a ratio.
    Ln,
    /// A positive quantity that seeds scatter by factors: averaged in logarithms, so that its mean is the geometric one.
    Positive,
    /// Any other number without a unit.
    One,
}

/// One number of a run.
#[derive(Clone, Copy)]
pub struct Metric {
    /// Its name in tables and JSON.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Reads it off a run.
    pub(super) read: fn(&Source<'_>) -> f64,
}

/// What the metrics are read off.
pub(super) struct Source<'a> {
    /// The run explained.
    pub analysis: &'a Analysis,
    /// Energy of an FFN write at the first recorded step, geometric mean over layers, and the same over the energy of the
    /// stream that it adds to.
    pub first_write: [f64; 2],
    /// Largest logit of any head at any recorded step.
    pub largest_logit: f64,
    /// Largest gradient norm, before clipping.
    pub largest_gradient: f64,
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metric").field("name", &self.name).field("unit", &self.unit).finish_non_exhaustive()
    }
}

/// Mean over the layers of a half.
fn half<T>(layers: &[T], half: Layers, of: impl Fn(&T) -> f64) -> f64 {
    let chosen = layers.iter().enumerate().filter(|(l, _)| half.contains(*l, layers.len()));
    let (sum, count) = chosen.fold((0.0, 0_u32), |(s, n), (_, layer)| (s + of(layer), n + 1));
    sum / f64::from(count)
}

macro_rules! metrics {
    ($($name:literal $unit:ident $about:literal = $read:expr;)+) => {
        /// Every metric, in the order of the tables.
        pub const METRICS: &[Metric] = &[$(Metric { name: $name, about: $about, unit: Unit::$unit, read: $read }),+];
    };
}

metrics! {
    "val_loss" Loss "validation loss at the last evaluation" = |s| s.analysis.val_loss;
    "growth.upper" Ln "log growth of the spread, upper half, mean over heads (3.1)"
        = |s| half(&s.analysis.accounting.layers, Layers::Upper, |l| l.growth);
    "growth.upper.query" Ln "its part of the query weights" = |s| half(&s.analysis.accounting.layers, Layers::Upper, |l| l.query);
    "growth.upper.key" Ln "its part of the key weights" = |s| half(&s.analysis.accounting.layers, Layers::Upper, |l| l.key);
    "growth.upper.features" Ln "its part of the features"
        = |s| half(&s.analysis.accounting.layers, Layers::Upper, |l| l.features);
    "growth.lower" Ln "log growth of the spread, lower half, mean over heads"
        = |s| half(&s.analysis.accounting.layers, Layers::Lower, |l| l.growth);
    "growth.lower.query" Ln "its part of the query weights" = |s| half(&s.analysis.accounting.layers, Layers::Lower, |l| l.query);
    "growth.lower.key" Ln "its part of the key weights" = |s| half(&s.analysis.accounting.layers, Layers::Lower, |l| l.key);
    "growth.lower.features" Ln "its part of the features"
        = |s| half(&s.analysis.accounting.layers, Layers::Lower, |l| l.features);
    "spread.upper" Positive "spread of the logits at the end, upper half"
        = |s| half(&s.analysis.layers, Layers::Upper, |l| l.spread_last.ln()).exp();
    "spread.lower" Positive "spread of the logits at the end, lower half"
        = |s| half(&s.analysis.layers, Layers::Lower, |l| l.spread_last.ln()).exp();
    "step_term.upper" Positive "step-size term eta u of an interval, upper half (5.1)"
        = |s| half(&s.analysis.factors.layers, Layers::Upper, |l| l.step_term);
    "step_term.lower" Positive "the same, lower half" = |s| half(&s.analysis.factors.layers, Layers::Lower, |l| l.step_term);
    "residual_energy.upper" Positive "residual energy e, upper half (5.1)"
        = |s| half(&s.analysis.factors.layers, Layers::Upper, |l| l.residual_energy);
    "residual_energy.lower" Positive "the same, lower half"
        = |s| half(&s.analysis.factors.layers, Layers::Lower, |l| l.residual_energy);
    "coherence.upper" One "persistent coherence c0, upper half (5.1)"
        = |s| half(&s.analysis.factors.layers, Layers::Upper, |l| l.persistent_coherence);
    "coherence.lower" One "the same, lower half"
        = |s| half(&s.analysis.factors.layers, Layers::Lower, |l| l.persistent_coherence);
    "ffn_energy.last" Positive "energy of an FFN write at the end, geometric mean over layers"
        = |s| half(&s.analysis.layers, Layers::All, |l| l.ffn_energy.ln()).exp();
    "prediction.correlation" One "correlation of predicted with measured growth over intervals (4.2)"
        = |s| s.analysis.prediction.total.correlation;
    "coherent_share" One "share of the growth that the steps allowed which the weights made (6.3)"
        = |s| s.analysis.bound.coherent_share;
    "ffn_energy.first" Positive "energy of an FFN write at the first recorded step, geometric mean over layers"
        = |s| s.first_write[0];
    "ffn_ratio.first" Positive "the same over the energy of the stream that it adds to" = |s| s.first_write[1];
    "largest_logit" Positive "largest logit of any head at any recorded step" = |s| s.largest_logit;
    "largest_gradient" Positive "largest gradient norm before clipping" = |s| s.largest_gradient;
}
