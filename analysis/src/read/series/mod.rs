//! Curves and matrices for figures.

mod bins;
mod by_head;
mod maturity;
mod probes;
mod report;
mod stream;

use std::ops::Range;

use growthpath_trace::{EvalRow, RelianceRow, Run, ShareRow, StepRow, Table};

pub use by_head::{Ablations, Estimate, HeadSplit};
pub use report::{
    Curve, EnergyMatrix, EstimateCurve, FactorCurves, GrowthCurves, HalfCurves, Hold, LayerCurves,
    LongIntervals, MaturityCurves, Pairs, PredictionPairs, Series, TightnessCurves, WriteCurves,
};

use crate::error::{AnalysisError, Result};
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::names::WriteSlots;
use crate::read::running::Mean;
use crate::read::window::Window;
use crate::source::AttentionSource;
use bins::{Bins, distinct_steps};

/// Everything that the figures of a whole run are drawn from: [`series_in`] without a window.
///
/// # Errors
/// As [`series_in`].
pub fn series(run: &Run, max_points: usize) -> Result<Series> {
    series_in(run, None, max_points)
}

/// Everything that the figures of one run are drawn from, cut to a window of steps. Each curve has at most
/// `max_points` points (at least one): neighbouring recorded steps are averaged, steps and values alike, so that no
/// excursion is skipped. A table that the trace lacks gives empty curves.
///
/// # Errors
/// [`AnalysisError::NothingToAnalyse`] for a run without rows, [`AnalysisError::EmptyWindow`],
/// [`AnalysisError::Geometry`] for a model too large to be true, [`AnalysisError::Trace`].
pub fn series_in(run: &Run, window: Option<Range<u32>>, max_points: usize) -> Result<Series> {
    let grid = Grid::of(run)?;
    let window = Window::of(run, window)?;
    if Table::ALL.iter().all(|t| run.rows(*t) == 0) {
        return Err(AnalysisError::NothingToAnalyse {
            run: growthpath_trace::shown_path(run.dir()),
            what: "it has no rows; train it first, or wait for its first flush".to_owned(),
        });
    }
    let points = max_points.max(1);
    let probes = probes::read(run, grid, window, points)?;
    let attention = match run.rows(Table::Heads) {
        0 => None,
        _ => Some(stream::attention(run, grid, window, points)?),
    };
    let (spread, entropy, sharpness, source) = match attention {
        Some(a) => (a.spread, a.entropy, a.sharpness.unwrap_or(probes.sharpness), AttentionSource::Telemetry),
        None => (probes.spread, probes.entropy, probes.sharpness, AttentionSource::Probe),
    };
    Ok(Series {
        label: run.info().label.clone(),
        layers: grid.layers,
        heads: grid.heads,
        window,
        train_loss: train_loss(run, window, points)?,
        eval_loss: eval_loss(run, window, points)?,
        hold: hold(run, window)?,
        attention_source: source,
        spread,
        entropy,
        writes: stream::writes(run, grid, window, points)?,
        prediction: probes.prediction,
        growth: probes.growth,
        factors: probes.factors,
        energy_shares: energy_shares(run, grid, window)?,
        splits: by_head::splits(run, grid, window)?,
        ablations: by_head::ablations(run, grid, window)?,
        sharpness,
        maturity: maturity::read(run, grid, window, points)?,
        reliance: reliance(run, window, points)?,
        tightness: probes.tightness,
        long_intervals: probes.long_intervals,
    })
}

fn train_loss(run: &Run, window: Window, points: usize) -> Result<Curve> {
    let mut bins = Bins::new(distinct_steps::<StepRow>(run, window.updates())?, points, 1);
    each_row::<StepRow>(run, window.updates(), |row| bins.at(row.step).add(0, row.loss.into()))?;
    Ok(bins.into_curve())
}

fn eval_loss(run: &Run, window: Window, points: usize) -> Result<EstimateCurve> {
    let mut bins = Bins::new(distinct_steps::<EvalRow>(run, window.states())?, points, 2);
    each_row::<EvalRow>(run, window.states(), |row| {
        let mut point = bins.at(row.step);
        point.add(0, row.loss);
        point.add(1, row.stderr);
    })?;
    Ok(bins.into_estimates())
}

/// [`RelianceRow::scope`] of a half, and its `layer` for the upper one.
const HALF: u8 = 2;
const UPPER: u16 = 1;

fn reliance(run: &Run, window: Window, points: usize) -> Result<EstimateCurve> {
    let mut bins = Bins::new(distinct_steps::<RelianceRow>(run, window.states())?, points, 2);
    each_row::<RelianceRow>(run, window.states(), |row| {
        if (row.scope, row.layer) == (HALF, UPPER) {
            let mut point = bins.at(row.step);
            point.add(0, row.delta);
            point.add(1, row.stderr);
        }
    })?;
    Ok(bins.into_estimates())
}

fn hold(run: &Run, window: Window) -> Result<Option<Hold>> {
    let mut hold: Option<Hold> = None;
    each_row::<StepRow>(run, window.updates(), |row| {
        let multiplier = f64::from(row.qk_mult);
        if multiplier < 1.0 {
            let after = row.step.saturating_add(1);
            let hold = hold.get_or_insert(Hold { multiplier, start: row.step, release: after, end: after });
            hold.end = after;
            if multiplier <= hold.multiplier {
                (hold.multiplier, hold.release) = (multiplier, after);
            }
        }
    })?;
    Ok(hold)
}

fn energy_shares(run: &Run, grid: Grid, window: Window) -> Result<EnergyMatrix> {
    let slots = WriteSlots::new(grid.layers);
    let mut means = vec![vec![Mean::default(); grid.layers]; slots.count()];
    each_row::<ShareRow>(run, window.states(), |row| {
        if let (Some(layer), Some(slot)) = (grid.layer(row.layer), slots.slot(row.write)) {
            means[slot][layer].add(row.energy_share);
        }
    })?;
    // The topmost writes feed no attention layer, and without probes nothing is known of any.
    let known = means.iter().enumerate().filter(|(_, layers)| layers.iter().any(|m| !m.is_empty()));
    let (writes, shares) =
        known.map(|(slot, m)| (slots.name(slot), m.iter().map(Mean::value).collect())).unzip();
    Ok(EnergyMatrix { writes, shares })
}
