//! Windows of steps.

use std::ops::Range;

use growthpath_trace::{ProbeRow, Run, StepRange, Table};
use serde::Serialize;

use crate::error::{AnalysisError, Result};

/// The updates `start..end` of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Window {
    /// First update.
    pub start: u32,
    /// First update past the window; also the last state that belongs to it.
    pub end: u32,
}

impl Window {
    /// The window asked for, or all that a run recorded.
    ///
    /// # Errors
    /// [`AnalysisError::EmptyWindow`] when `asked` holds no step.
    pub fn of(run: &Run, asked: Option<Range<u32>>) -> Result<Self> {
        match asked {
            Some(Range { start, end }) if start >= end => Err(AnalysisError::EmptyWindow { start, end }),
            // An open end is the record's.
            Some(Range { start, end: u32::MAX }) => {
                Ok(Self { start, end: recorded(run).max(start.saturating_add(1)) })
            }
            Some(Range { start, end }) => Ok(Self { start, end }),
            None => Ok(Self { start: 0, end: recorded(run) }),
        }
    }

    /// Steps of the rows that describe updates (`steps`, `heads`, `writes`).
    pub fn updates(&self) -> StepRange {
        (self.start..self.end).into()
    }

    /// Steps of the rows that describe states (`evals` and the probe tables).
    pub fn states(&self) -> StepRange {
        (self.start..=self.end).into()
    }

    /// Whether the row describes an interval that lies within the window.
    pub fn holds(&self, row: &ProbeRow) -> bool {
        row.prev_step < row.step && row.prev_step >= self.start && row.step <= self.end
    }

    /// The steps of a table's last part that reaches into the window, so that the last rows are found
    /// without reading everything before them.
    pub(crate) fn tail(&self, run: &Run, table: Table) -> StepRange {
        let whole = if is_update(table) { self.updates() } else { self.states() };
        let inside = |first: u32, last: u32| last >= whole.start && whole.end.is_none_or(|end| first < end);
        let part = run.parts().iter().rfind(|p| p.table == table && inside(p.first_step, p.last_step));
        StepRange { start: part.map_or(whole.start, |p| p.first_step.max(whole.start)), end: whole.end }
    }
}

/// The last state that a run has recorded anything of.
pub(crate) fn recorded(run: &Run) -> u32 {
    // A row of an update at s leads to the state s + 1; other rows speak of the state itself.
    let last = |table: &Table| {
        let (_, last) = run.step_span(*table)?;
        Some(if is_update(*table) { last.saturating_add(1) } else { last })
    };
    Table::ALL.iter().filter_map(last).max().unwrap_or(0)
}

fn is_update(table: Table) -> bool {
    matches!(table, Table::Steps | Table::Heads | Table::Writes)
}
