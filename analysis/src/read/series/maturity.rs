//! Curves from `maturity`.

use growthpath_trace::{MaturityRow, Run};

use super::bins::{Bins, distinct_steps};
use super::report::MaturityCurves;
use crate::error::Result;
use crate::maturity::main_lag;
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::window::Window;

/// Maturity of both halves over the run's main lag.
pub(super) fn read(run: &Run, grid: Grid, window: Window, points: usize) -> Result<MaturityCurves> {
    let lag = main_lag(run);
    let mut bins = Bins::new(distinct_steps::<MaturityRow>(run, window.states())?, points, 2);
    each_row::<MaturityRow>(run, window.states(), |row| {
        if let Some(layer) = grid.layer(row.layer).filter(|_| lag.is_none_or(|lag| row.lag == lag)) {
            bins.at(row.step).add(grid.half(layer), row.maturity);
        }
    })?;
    Ok(MaturityCurves { lag, halves: bins.into_halves() })
}
