//! One run's line in a study.

use growthpath_trace::{HeadRow, Run, Status, StepRow, Table, WriteRow};
use serde::Serialize;

use super::metrics::{METRICS, Source};
use crate::diagnosis::{Bracket, Interval, Thresholds, Verdict, diagnosis};
use crate::error::Result;
use crate::read::analyze;

/// [`WriteRow::site`] of the FFN.
const FFN: u8 = 1;

/// What one run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// The run's label.
    pub label: String,
    /// How it stands.
    pub status: Status,
    /// Optimizer steps recorded.
    pub steps: u32,
    /// Optimizer steps that it is to take.
    pub planned: u32,
    /// t_c: when the upper half committed; none where it did not, or where that was not measured.
    pub commitment: Option<Bracket>,
    /// t_m: when the lower half settled for good.
    pub maturity: Option<Bracket>,
    /// In hindsight: when the lower half's key moments came to resemble their final ones.
    pub settling: Option<Bracket>,
    /// `(t_m - t_c)` over the planned steps.
    pub prematurity: Option<Interval>,
    /// Which came first; none where the run has no probes to tell by.
    pub verdict: Option<Verdict>,
    /// One value for each of [`METRICS`], in their order; NaN where undefined.
    pub values: Vec<f64>,
}

impl RunSummary {
    /// Reads a run, whole. One that diverged or was stopped is summarised up to where it came.
    ///
    /// # Errors
    /// As [`analyze`]: a run without rows, or one that is damaged.
    pub fn read(run: &Run) -> Result<Self> {
        let analysis = analyze(run, None)?;
        let found = diagnosis(run, &Thresholds::default()).ok();
        let source = Source {
            analysis: &analysis,
            first_write: first_write(run)?,
            largest_logit: largest::<HeadRow>(run, "s_max")?,
            largest_gradient: largest::<StepRow>(run, "grad_norm")?,
        };
        Ok(Self {
            label: run.info().label.clone(),
            status: run.info().status,
            steps: run.step_span(Table::Steps).map_or(0, |(_, last)| last.saturating_add(1)),
            planned: run.info().steps_planned,
            commitment: found.as_ref().and_then(|d| d.commitment),
            maturity: found.as_ref().and_then(|d| d.maturity),
            settling: found.as_ref().and_then(|d| d.settling.as_ref()).map(|s| s.bracket),
            prematurity: found.as_ref().and_then(|d| d.prematurity),
            verdict: found.map(|d| d.verdict),
            values: METRICS.iter().map(|m| (m.read)(&source)).collect(),
        })
    }

    /// A value by its metric's name; NaN where it is undefined, or where there is no such metric.
    pub fn get(&self, name: &str) -> f64 {
        METRICS.iter().position(|m| m.name == name).map_or(f64::NAN, |i| self.values[i])
    }

    /// Whether all planned steps were done.
    pub fn complete(&self) -> bool {
        self.status == Status::Complete
    }
}

/// Energy of the FFN writes at the first recorded step and its ratio to the stream's, geometric means over layers.
fn first_write(run: &Run) -> Result<[f64; 2]> {
    let Some((first, _)) = run.step_span(Table::Writes) else { return Ok([f64::NAN; 2]) };
    let rows = run.read::<WriteRow>(first..=first)?;
    let ffn: Vec<&WriteRow> = rows.iter().filter(|r| r.site == FFN).collect();
    let mean = |of: &dyn Fn(&WriteRow) -> f32| {
        let ln = |r: &&WriteRow| f64::from(of(r)).ln();
        (ffn.iter().map(ln).sum::<f64>() / ffn.len() as f64).exp()
    };
    Ok([mean(&|r| r.energy), mean(&|r| r.energy / r.h2_before)])
}

/// The largest number of a column; NaN without one.
fn largest<R: growthpath_trace::Row>(run: &Run, column: &str) -> Result<f64> {
    let mut most = f64::NAN;
    for batch in run.stream_columns::<R>(&[column], ..)? {
        // `max` drops NaN, of which a diverged run may hold some.
        most = batch?.values.iter().flatten().fold(most, |m, v| m.max(*v));
    }
    Ok(most)
}
