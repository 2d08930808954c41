//! What figures are drawn from: runs read and explained by `analysis`, once.

use std::ops::Range;
use std::path::PathBuf;

use growthpath_analysis::compare::{Comparison, Layers, compare};
use growthpath_analysis::diagnosis::{Diagnosis, Thresholds, diagnosis};
use growthpath_analysis::read::{Analysis, Lead, Series, analyze, leads, series_in};
use growthpath_analysis::undamaged;
use growthpath_trace::{Run, RunInfo, Status, Table};
use serde_json::Value;

use crate::arms::{ArmStyle, arm_styles};
use crate::error::FigureError;
use crate::hold::planned;
use crate::names::{Unnamed, names};

/// Points a curve keeps in a figure.
const POINTS: usize = 400;

/// One run, read.
#[derive(Clone, Debug)]
pub struct RunMaterial {
    /// Name, unique among the runs shown together.
    pub name: String,
    /// The tables' summary.
    pub analysis: Analysis,
    /// The curves.
    pub series: Series,
    /// When it committed and settled, over the whole run; none for a run without probes.
    pub diagnosis: Option<Diagnosis>,
    /// How early signals go with the growth that follows; empty without per-step telemetry.
    pub leads: Vec<Lead>,
    /// What was run.
    pub config: Value,
    /// The whole record of what was run.
    pub info: RunInfo,
    /// Where it lies.
    pub dir: PathBuf,
    /// Steps done when the run ceased to be finite, if it did: its last numbers are no results.
    pub diverged: Option<u32>,
}

/// Two runs compared.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Index of the run that the gap is measured from.
    pub from: usize,
    /// Index of the run that it leads to.
    pub to: usize,
    /// The comparison, or why there is none.
    pub comparison: Result<Comparison, String>,
}

/// Runs shown together.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// The runs, in the order given.
    pub runs: Vec<RunMaterial>,
    /// Pairs of them, compared.
    pub comparisons: Vec<Pair>,
    /// Entropy rate of the source, nat/token, where it is known: no model can do better.
    pub floor: Option<f64>,
    /// The best loss without looking back on the runs' validation windows, nat/token, where all share it.
    pub blind: Option<f64>,
    /// The window of steps asked for; none for whole runs.
    pub window: Option<Range<u32>>,
}

impl Material {
    /// Reads runs, cut to a window of steps; each pair is indices into `runs`, reference first.
    ///
    /// # Errors
    /// [`FigureError::Analysis`] for a run that cannot be read. A pair that cannot be compared is kept with its
    /// reason.
    pub fn read(
        runs: &[Run],
        pairs: &[(usize, usize)],
        window: Option<Range<u32>>,
    ) -> Result<Self, FigureError> {
        let mut material = Self { window: window.clone(), ..Self::default() };
        let unnamed: Vec<Unnamed<'_>> = (runs.iter())
            .map(|r| Unnamed { label: &r.info().label, config: &r.info().config, dir: r.dir() })
            .collect();
        for (run, name) in runs.iter().zip(names(&unnamed)) {
            let mut series = series_in(run, window.clone(), POINTS)?;
            series.hold = series.hold.or_else(|| planned(run, &series));
            material.runs.push(RunMaterial {
                name,
                analysis: analyze(run, window.clone())?,
                series,
                diagnosis: undamaged(diagnosis(run, &Thresholds::default()))?,
                leads: leads(run, window.clone()).unwrap_or_default(),
                config: run.info().config.clone(),
                info: run.info().clone(),
                dir: run.dir().to_owned(),
                diverged: (run.info().status == Status::Diverged)
                    .then(|| run.step_span(Table::Steps).map_or(0, |(_, last)| last + 1)),
            });
        }
        let steps = window.unwrap_or(0..u32::MAX);
        for &(from, to) in pairs {
            if let Some((a, b)) = runs.get(from).zip(runs.get(to)) {
                let comparison = match compare(a, b, Layers::All, steps.clone()) {
                    Err(e) if e.is_damage() => return Err(e.into()),
                    other => other.map_err(|e| e.to_string()),
                };
                material.comparisons.push(Pair { from, to, comparison });
            }
        }
        Ok(material)
    }

    /// Colour and dash of every run.
    pub fn styles(&self) -> Vec<ArmStyle> {
        let runs: Vec<(&Value, &str)> = self.runs.iter().map(|r| (&r.config, r.name.as_str())).collect();
        arm_styles(&runs)
    }

    /// The steps shown, in words for a caption.
    pub fn steps_shown(&self) -> String {
        let end = self.runs.iter().map(|r| r.series.window.end).max().unwrap_or(0);
        match &self.window {
            Some(w) => format!("steps {} to {}", w.start, w.end.min(end)),
            None => format!("steps 0 to {end}"),
        }
    }
}
