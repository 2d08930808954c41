//! Arm against arm: why one run's attention grew more than another's (5.4), and what it bought in loss.

mod differences;
mod group;
mod loss;
mod probes;
mod refuse;
mod seeds;
mod tally;
#[cfg(test)]
mod tests;

use growthpath_trace::{ProbeRow, Run, StepRange};
use serde::Serialize;

pub use differences::Difference;
pub use group::{CellCounts, GroupComparison, ShapleyParts};
pub use loss::{LossGap, TokenEfficiency};
pub(crate) use probes::{Probes, run_name};
pub use seeds::{SeedMetric, SeedSummary, seeds};

use crate::error::{AnalysisError, Result};
use tally::Tally;

/// Which layers a comparison is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layers {
    /// Layer >= L/2.
    Upper,
    /// Layer < L/2.
    Lower,
    /// Every layer.
    #[default]
    All,
}

impl Layers {
    /// Whether the group holds `layer` of `count` layers.
    pub const fn contains(self, layer: usize, count: usize) -> bool {
        match self {
            Self::Upper => layer >= count / 2,
            Self::Lower => layer < count / 2,
            Self::All => true,
        }
    }

    /// `upper`, `lower` or `all`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upper => "upper",
            Self::Lower => "lower",
            Self::All => "all",
        }
    }
}

impl std::str::FromStr for Layers {
    type Err = AnalysisError;

    fn from_str(text: &str) -> Result<Self> {
        let known = [Self::Upper, Self::Lower, Self::All];
        let found = known.into_iter().find(|l| l.name() == text);
        found.ok_or_else(|| AnalysisError::UnknownLayers { given: text.to_owned() })
    }
}

/// Two values of the same thing, arm A's and arm B's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Both<T> {
    /// Of the first run.
    pub a: T,
    /// Of the second run.
    pub b: T,
}

/// The window of steps that was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ComparedSteps {
    /// State (steps done) at which the first compared interval begins.
    pub first: u32,
    /// State (steps done) at which the last compared interval ends.
    pub last: u32,
    /// Probe intervals compared.
    pub intervals: usize,
}

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
    /// Names of the runs: their labels, or their directories where they have none.
    pub labels: Both<String>,
    /// The chosen layers.
    pub group: Layers,
    /// What was compared.
    pub window: ComparedSteps,
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

/// Splits the difference in path growth between two runs over the five factors (5.4), and sets it beside the
/// difference in validation loss.
///
/// Compared are the probe intervals that lie in `window` whole: those whose steps are all in it. A group's
/// *path growth* is `sum_t g^`, averaged over its heads. Both traces are streamed side by side, one probe at
/// a time.
///
/// # Errors
/// [`AnalysisError::Incomparable`] when depth, heads, data, tokenizer or probe intervals differ;
/// [`AnalysisError::NothingToAnalyse`] when a run has no probe rows, the window holds no whole interval, or
/// the group has no layers; [`AnalysisError::EmptyWindow`]; [`AnalysisError::BrokenProbe`];
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
    let (tallies, steps) = tally_all(a, b, window)?;
    let group = |layers: Layers| {
        let members = || (0..depth).filter(|&l| layers.contains(l, depth));
        let mut sum = Tally::default();
        members().for_each(|l| sum.merge(&tallies[l]));
        GroupComparison::new(&sum, heads * members().count())
    };
    let losses = loss::Losses::read(a, b)?;
    let mut notes = refuse::notes(a, b);
    let whole = group(Layers::All);
    if whole.cells.undefined > 0 {
        notes.push(format!(
            "{} of {} cells have undefined factors and add nothing to either arm",
            whole.cells.undefined, whole.cells.aligned
        ));
    }
    Ok(Comparison {
        labels: Both { a: run_name(a), b: run_name(b) },
        group: layers,
        window: steps,
        comparison: group(layers),
        groups: HalfComparison {
            upper: group(Layers::Upper),
            lower: (depth > 1).then(|| group(Layers::Lower)),
        },
        layers: tallies
            .iter()
            .enumerate()
            .map(|(layer, tally)| LayerComparison { layer, comparison: GroupComparison::new(tally, heads) })
            .collect(),
        final_loss: losses.gap(),
        token_efficiency: losses.efficiency(),
        token_efficiency_reverse: losses.reversed().efficiency(),
        differences: differences::between(a, b),
        notes,
    })
}

/// Zips the two traces probe by probe; one tally a layer.
fn tally_all(a: &Run, b: &Run, window: StepRange) -> Result<(Vec<Tally>, ComparedSteps)> {
    let (depth, heads) = (usize::from(a.info().layers), usize::from(a.info().heads));
    let mut tallies = vec![Tally::default(); depth];
    let (mut in_a, mut in_b) = (Probes::intervals(a, window)?, Probes::intervals(b, window)?);
    let mut steps: Option<ComparedSteps> = None;
    loop {
        let (rows_a, rows_b) = (in_a.next().transpose()?, in_b.next().transpose()?);
        let interval = |rows: &Option<Vec<ProbeRow>>| rows.as_ref()?.first().copied().map(probes::ends);
        let (at_a, at_b) = (interval(&rows_a), interval(&rows_b));
        if at_a != at_b {
            return Err(refuse::schedule((a, at_a), (b, at_b), steps.map(|s| (s.first, s.last))));
        }
        let (Some(rows_a), Some(rows_b), Some((first, last))) = (rows_a, rows_b, at_a) else { break };
        for (tally, (a, b)) in tallies.iter_mut().zip(rows_a.chunks(heads).zip(rows_b.chunks(heads))) {
            tally.add(a, b)?;
        }
        let so_far = steps.get_or_insert(ComparedSteps { first, last, intervals: 0 });
        so_far.last = last;
        so_far.intervals += 1;
    }
    let steps = steps.ok_or_else(|| AnalysisError::NothingToAnalyse {
        run: run_name(a),
        what: "no probe interval lies whole in the window; widen it, or probe more often".to_owned(),
    })?;
    Ok((tallies, steps))
}
