//! Curves and matrices for figures.

mod bins;
mod paths;
mod report;
mod stream;

use growthpath_trace::{EvalRow, MaturityRow, Run, ShareRow, StepRange, StepRow, Table};

pub use report::{
    Curve, EnergyMatrix, GrowthCurves, HalfCurves, LayerCurves, LayerGrowth, LossCurve, RatePairs, Series,
    Source, TightnessCurves, WriteCurves,
};

use crate::error::{AnalysisError, Result};
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::names::WriteSlots;
use crate::read::running::Mean;
use bins::Bins;

/// Everything that the figures of one run are drawn from. Each curve has at most `max_points` points
/// (at least one): neighbouring recorded steps are averaged, steps and values alike, so that no
/// excursion is skipped. A table that the trace lacks gives empty curves.
///
/// # Errors
/// [`AnalysisError::NothingToAnalyse`] for a run without rows, [`AnalysisError::Geometry`] for a model
/// too large to be true, [`AnalysisError::Trace`].
pub fn series(run: &Run, max_points: usize) -> Result<Series> {
    let grid = Grid::of(run)?;
    if Table::ALL.iter().all(|t| run.rows(*t) == 0) {
        return Err(AnalysisError::NothingToAnalyse {
            run: run.dir().display().to_string(),
            what: "it has no rows; train it first, or wait for its first flush".to_owned(),
        });
    }
    let points = max_points.max(1);
    let paths = paths::read(run, grid, points)?;
    let attention = match run.rows(Table::Heads) {
        0 => None,
        _ => Some(stream::attention(run, grid, points)?),
    };
    let (spread, entropy, source) = match attention {
        Some((spread, entropy)) => (spread, entropy, Source::Heads),
        None => (paths.spread, paths.entropy, Source::Probe),
    };
    Ok(Series {
        label: run.info().label.clone(),
        layers: grid.layers,
        heads: grid.heads,
        train_loss: train_loss(run, points)?,
        eval_loss: eval_loss(run, points)?,
        attention_source: source,
        spread,
        entropy,
        writes: stream::writes(run, grid, points)?,
        growth_by_layer: paths.by_layer,
        rates: paths.rates,
        growth: paths.growth,
        step_term: paths.step_term,
        residual_energy: paths.residual_energy,
        coherence: paths.coherence,
        scale: paths.scale,
        energy_shares: energy_shares(run, grid)?,
        sharpness: paths.sharpness,
        maturity: maturity(run, grid, points)?,
        tightness: paths.tightness,
    })
}

fn train_loss(run: &Run, points: usize) -> Result<Curve> {
    let mut bins = Bins::new(run, Table::Steps, 1, points, 1);
    each_row::<StepRow>(run, StepRange::ALL, |row| bins.at(row.step).add(0, row.loss.into()))?;
    Ok(bins.into_curve())
}

fn eval_loss(run: &Run, points: usize) -> Result<LossCurve> {
    let mut bins = Bins::new(run, Table::Evals, 1, points, 2);
    each_row::<EvalRow>(run, StepRange::ALL, |row| {
        let mut point = bins.at(row.step);
        point.add(0, row.loss);
        point.add(1, row.stderr);
    })?;
    let (steps, [values, stderr]) = bins.into_curves();
    Ok(LossCurve { steps, values, stderr })
}

fn maturity(run: &Run, grid: Grid, points: usize) -> Result<HalfCurves> {
    let lag = crate::maturity::main_lag(run);
    let mut bins = Bins::new(run, Table::Maturity, grid.layers, points, 2);
    each_row::<MaturityRow>(run, StepRange::ALL, |row| {
        if let Some(layer) = grid.layer(row.layer).filter(|_| Some(row.lag) == lag) {
            bins.at(row.step).add(grid.half(layer), row.maturity);
        }
    })?;
    Ok(bins.into_halves())
}

fn energy_shares(run: &Run, grid: Grid) -> Result<EnergyMatrix> {
    let slots = WriteSlots::new(grid.layers);
    let mut means = vec![vec![Mean::default(); grid.layers]; slots.count()];
    each_row::<ShareRow>(run, StepRange::ALL, |row| {
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
