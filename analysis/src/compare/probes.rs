//! The probe table, one whole probe at a time.

use std::vec::IntoIter;

use growthpath_trace::{ProbeRow, RowStream, Run, StepRange, Table};

use super::both::Both;
use crate::error::{AnalysisError, Result};

/// Label of a run, or its directory where it has none.
pub(crate) fn run_name(run: &Run) -> String {
    match run.info().label.as_str() {
        "" => growthpath_trace::shown_path(run.dir()),
        label => label.to_owned(),
    }
}

/// Names of two runs, with their directories where the labels do not tell them apart.
pub(super) fn run_names(a: &Run, b: &Run) -> Both<String> {
    let whole = |run: &Run| format!("{} ({})", run_name(run), growthpath_trace::shown_path(run.dir()));
    let names = Both { a: run_name(a), b: run_name(b) };
    if names.a == names.b && !a.info().label.is_empty() { Both { a: whole(a), b: whole(b) } } else { names }
}

/// States (steps done) between which a probe row's interval lies.
pub(crate) const fn ends(row: ProbeRow) -> (u32, u32) {
    (row.prev_step, row.step)
}

/// Iterates over probes: each item holds one row a (layer, head), in that order. Memory: one batch and one probe.
pub(crate) struct Probes {
    stream: RowStream<ProbeRow>,
    batch: IntoIter<ProbeRow>,
    run: String,
    layers: usize,
    heads: usize,
    window: StepRange,
    /// Leave out probes whose interval is not whole in the window.
    intervals_only: bool,
}

impl Probes {
    /// Every probe of a run.
    ///
    /// # Errors
    /// [`AnalysisError::NothingToAnalyse`] when there is none.
    pub(crate) fn all(run: &Run) -> Result<Self> {
        Self::new(run, StepRange::ALL, false)
    }

    /// Probes whose interval lies whole in a window: `prev_step >= start`, `step <= end`, at least one step.
    ///
    /// # Errors
    /// [`AnalysisError::NothingToAnalyse`] when the run has no probe.
    pub(crate) fn intervals(run: &Run, window: StepRange) -> Result<Self> {
        Self::new(run, window, true)
    }

    fn new(run: &Run, window: StepRange, intervals_only: bool) -> Result<Self> {
        let (layers, heads) = (usize::from(run.info().layers), usize::from(run.info().heads));
        if layers * heads == 0 || run.rows(Table::Probe) == 0 {
            let normalized = run.info().config.pointer("/model/qk_norm") == Some(&true.into());
            let what = match normalized {
                true => {
                    "it has no probe rows: with QK-norm the logits are not bilinear in the weights, and none are taken"
                }
                false => "it has no probe rows; train it with probes on",
            };
            let run = format!("{} ({})", run_name(run), run.dir().display());
            return Err(AnalysisError::NothingToAnalyse { run, what: what.to_owned() });
        }
        // A probe at `end` describes steps up to end - 1: it belongs to the window.
        let rows = StepRange { start: window.start, end: window.end.and_then(|end| end.checked_add(1)) };
        Ok(Self {
            stream: run.stream(rows),
            batch: Vec::new().into_iter(),
            run: run_name(run),
            layers,
            heads,
            window,
            intervals_only,
        })
    }

    fn row(&mut self) -> Result<Option<ProbeRow>> {
        loop {
            if let Some(row) = self.batch.next() {
                return Ok(Some(row));
            }
            match self.stream.next().transpose()? {
                Some(batch) => self.batch = batch.into_iter(),
                None => return Ok(None),
            }
        }
    }

    /// The next whole probe.
    fn probe(&mut self) -> Result<Option<Vec<ProbeRow>>> {
        let size = self.layers * self.heads;
        let Some(first) = self.row()? else { return Ok(None) };
        let mut rows = Vec::with_capacity(size);
        rows.push(first);
        while rows.len() < size {
            match self.row()? {
                Some(row) => rows.push(row),
                None => break,
            }
        }
        let in_place = |(i, r): (usize, &ProbeRow)| {
            ends(*r) == ends(first)
                && (usize::from(r.layer), usize::from(r.head)) == (i / self.heads, i % self.heads)
        };
        if rows.len() == size && first.prev_step <= first.step && rows.iter().enumerate().all(in_place) {
            return Ok(Some(rows));
        }
        Err(AnalysisError::BrokenProbe {
            run: self.run.clone(),
            step: first.step,
            layers: self.layers,
            heads: self.heads,
        })
    }
}

impl Iterator for Probes {
    type Item = Result<Vec<ProbeRow>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rows = match self.probe().transpose()? {
                Ok(rows) => rows,
                Err(e) => return Some(Err(e)),
            };
            // A probe has at least one row.
            let (from, to) = rows.first().copied().map(ends)?;
            if !self.intervals_only || (from < to && from >= self.window.start) {
                return Some(Ok(rows));
            }
        }
    }
}
