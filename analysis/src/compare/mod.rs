//! Arm against arm: why one run's attention grew more than another's (5.4), and what it bought in loss.

mod align;
mod both;
mod differences;
mod group;
mod layers;
mod loss;
mod probes;
mod refuse;
mod seeds;
mod tally;
#[cfg(test)]
mod tests;

use growthpath_trace::{Run, StepRange};
use serde::Serialize;

pub use both::{Both, ComparedSteps};
pub use differences::Difference;
pub use group::{CellCounts, GroupComparison, MeasuredParts, ShapleyParts};
pub use layers::Layers;
pub use loss::{LossGap, TokenEfficiency};
pub(crate) use probes::{Probes, run_name};
pub use seeds::{SeedMetric, SeedSummary, seeds};

use crate::error::{AnalysisError, Result};
use tally::Tally;

/// One layer of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerComparison {
    /// Layer, counted from the bottom.
    pub layer: usize,
    /// The same numbers for this layer alone.
    #[serde(flatten)]
    pub comparison: GroupComparison,
}

/// Both halves of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HalfComparison {
    /// Layers >= L/2.
    pub upper: GroupComparison,
    /// Layers < L/2; none in a model of one layer.
    pub lower: Option<GroupComparison>,
}

/// Everything that [`compare`] found. The fields of [`GroupComparison`] for the chosen layers stand at the
/// top level of the JSON; undefined numbers are `null` there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Names of the runs: their labels, with their directories where these are equal; their directories alone where
    /// they have none.
    pub labels: Both<String>,
    /// The chosen layers.
    pub group: Layers,
    /// What was compared.
    pub window: ComparedSteps,
    /// Whether the split between levers rests on recorded intervals: at most a quarter of them were cut. Beyond that
    /// it is interpolated and may even change sign; gaps and growths do not depend on it.
    pub split_is_trusted: bool,
    /// The numbers of the chosen layers.
    #[serde(flatten)]
    pub comparison: GroupComparison,
    /// Both halves, whatever was chosen.
    pub groups: HalfComparison,
    /// Every layer of the model from the bottom, whatever was chosen.
    pub layers: Vec<LayerComparison>,
    /// Validation loss at the last common evaluation, whatever the window; none without one.
    pub final_loss: Option<LossGap>,
    /// Tokens that B needs to A's final loss.
    pub token_efficiency: Option<TokenEfficiency>,
    /// Tokens that A needs to B's final loss.
    pub token_efficiency_reverse: Option<TokenEfficiency>,
    /// Every difference between the two records of what was run.
    pub differences: Vec<Difference>,
    /// What to keep in mind when reading the numbers.
    pub notes: Vec<String>,
}

/// Splits the difference in predicted growth between two runs over the six paths of (5.4), beside the measured
/// difference and the difference in validation loss.
///
/// Compared are the steps between the first and the last probe that both runs have in `window`. Growths are averaged
/// over a group's heads. Both traces are streamed side by side, one probe at a time.
///
/// # Errors
/// [`AnalysisError::Incomparable`] when depth, heads, data or tokenizer differ;
/// [`AnalysisError::NothingToAnalyse`] when a run has no probe rows, the runs share no two probe steps in the window,
/// or the group has no layers; [`AnalysisError::EmptyWindow`]; [`AnalysisError::BrokenProbe`];
/// [`AnalysisError::Trace`].
pub fn compare(a: &Run, b: &Run, layers: Layers, window: impl Into<StepRange>) -> Result<Comparison> {
    let window = window.into();
    if let Some(end) = window.end.filter(|end| *end <= window.start) {
        return Err(AnalysisError::EmptyWindow { start: window.start, end });
    }
    refuse::different(a, b)?;
    let (depth, heads) = (usize::from(a.info().layers), usize::from(a.info().heads));
    if !(0..depth).any(|l| layers.contains(l, depth)) {
        let what = format!("a model of {depth} layer has no {} half; use all", layers.name());
        return Err(AnalysisError::NothingToAnalyse { run: run_name(a), what });
    }
    let (pairs, steps) = align::follow(a, b, window)?;
    let over = |wanted: &dyn Fn(usize) -> bool| {
        let mut tally = Tally::default();
        let members = pairs.chunks(heads).enumerate().filter(|(l, _)| wanted(*l));
        members.flat_map(|(_, heads)| heads).for_each(|head| tally.add(head));
        GroupComparison::new(&tally)
    };
    let group = |layers: Layers| over(&|l| layers.contains(l, depth));
    let losses = loss::Losses::read(a, b)?;
    let mut notes = refuse::notes(a, b);
    notes.extend(caveats(&group(Layers::All), &steps));
    Ok(Comparison {
        labels: probes::run_names(a, b),
        group: layers,
        window: steps,
        split_is_trusted: 4 * steps.interpolated <= steps.intervals,
        comparison: group(layers),
        groups: HalfComparison {
            upper: group(Layers::Upper),
            lower: (depth > 1).then(|| group(Layers::Lower)),
        },
        layers: (0..depth)
            .map(|layer| LayerComparison { layer, comparison: over(&|l| l == layer) })
            .collect(),
        final_loss: losses.gap(),
        token_efficiency: losses.efficiency(),
        token_efficiency_reverse: losses.reversed().efficiency(),
        differences: differences::between(a, b),
        notes,
    })
}

/// What the split's reader must know.
fn caveats(whole: &GroupComparison, steps: &ComparedSteps) -> Vec<String> {
    let mut notes = Vec::new();
    if whole.cells.undefined_heads > 0 {
        notes.push(format!(
            "{} heads have undefined factors in an interval and are left out of the split",
            whole.cells.undefined_heads
        ));
    }
    if whole.cells.long > 0 {
        notes.push(format!(
            "{} intervals (a head each) have a growth above {}: too long for their split to be trusted; probe more often",
            whole.cells.long,
            crate::read::LONG_INTERVAL
        ));
    }
    if steps.interpolated > 0 {
        notes.push(format!(
            "{} of {} intervals were cut where only one run was probed: the split between levers is interpolated there\
             {}; train the second run with --probe-like and the first's directory",
            steps.interpolated,
            steps.intervals,
            if 4 * steps.interpolated > steps.intervals { ", too much to be shown" } else { "" }
        ));
    }
    notes
}
