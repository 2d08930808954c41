//! Curves from `maturity`.

use growthpath_trace::{MaturityRow, Run};

use super::bins::Bins;
use super::distinct_steps;
use super::report::MaturityCurves;
use crate::error::Result;
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::window::Window;

/// Maturity of both halves over the middle one of the recorded lags: shorter and longer ones stand beside it to show
/// how much it matters.
pub(super) fn read(run: &Run, grid: Grid, window: Window, points: usize) -> Result<MaturityCurves> {
    let mut lags: Vec<u32> = Vec::new();
    each_row::<MaturityRow>(run, window.states(), |row| {
        if let Err(place) = lags.binary_search(&row.lag) {
            lags.insert(place, row.lag);
        }
    })?;
    let Some(&lag) = lags.get(lags.len() / 2) else { return Ok(MaturityCurves::default()) };
    let mut bins = Bins::new(distinct_steps::<MaturityRow>(run, window.states())?, points, 2);
    each_row::<MaturityRow>(run, window.states(), |row| {
        if let Some(layer) = grid.layer(row.layer).filter(|_| row.lag == lag) {
            bins.at(row.step).add(grid.half(layer), row.maturity);
        }
    })?;
    Ok(MaturityCurves { lag, halves: bins.into_halves() })
}
