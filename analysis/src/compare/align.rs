//! Two runs side by side, interval by interval, whether or not they were probed at the same steps.

use growthpath_trace::{ProbeRow, Run, StepRange};

use super::both::ComparedSteps;
use super::probes::{Probes, ends, run_name, run_names};
use super::tally::HeadPair;
use crate::error::{AnalysisError, Result};
use crate::paths::PathCell;
use crate::recorded::path_cell;

/// Probe steps of a run that an interval of a window starts or ends at, in order.
fn times(run: &Run, window: StepRange) -> Result<Vec<u32>> {
    let rows = StepRange { start: window.start, end: window.end.and_then(|end| end.checked_add(1)) };
    let mut steps = Vec::new();
    for batch in run.stream_columns::<ProbeRow>(&["prev_step"], rows)? {
        let batch = batch?;
        let before = batch.values.into_iter().next().unwrap_or_default();
        for (step, prev) in batch.steps.into_iter().zip(before) {
            // Steps are u32 columns, exact in float64.
            let prev = prev as u32;
            if prev < step && prev >= window.start && steps.last() != Some(&step) {
                if steps.last() != Some(&prev) {
                    steps.push(prev);
                }
                steps.push(step);
            }
        }
    }
    Ok(steps)
}

/// The longest stretch of steps between two probes that both runs have.
fn common(a: &Run, b: &Run, window: StepRange) -> Result<(u32, u32)> {
    let (in_a, in_b) = (times(a, window)?, times(b, window)?);
    let names = run_names(a, b);
    let shared = |s: &&u32| in_b.binary_search(s).is_ok();
    let ends = in_a.iter().find(shared).zip(in_a.iter().rfind(shared)).filter(|(first, last)| first < last);
    ends.map(|(first, last)| (*first, *last)).ok_or_else(|| AnalysisError::NothingToAnalyse {
        run: format!("{} beside {}", names.a, names.b),
        what: "the runs share no two probe steps in the window: widen it, or train the second with --probe-like and \
               the first's directory"
            .to_owned(),
    })
}

/// One run's walk over its intervals.
struct Walk {
    probes: Probes,
    rows: Vec<ProbeRow>,
    /// What is left of the interval at hand, one cell a head.
    cells: Vec<PathCell>,
    /// Steps that it covers.
    from: u32,
    to: u32,
}

impl Walk {
    fn new(run: &Run, first: u32, last: u32) -> Result<Self> {
        let window = StepRange { start: first, end: Some(last) };
        Ok(Self {
            probes: Probes::intervals(run, window)?,
            rows: Vec::new(),
            cells: Vec::new(),
            from: first,
            to: first,
        })
    }

    /// Takes the next interval; false at the end.
    fn next(&mut self) -> Result<bool> {
        let Some(rows) = self.probes.next().transpose()? else { return Ok(false) };
        (self.from, self.to) = rows.first().copied().map_or((self.to, self.to), ends);
        self.cells = rows.iter().map(path_cell).collect();
        self.rows = rows;
        Ok(true)
    }

    /// Cuts off the steps up to `step`, which lies inside the interval; `spreads` is where each head stands.
    fn cut(&mut self, step: u32, spreads: &[f64]) -> Vec<PathCell> {
        let fraction = f64::from(step - self.from) / f64::from(self.to - self.from);
        let mut first = Vec::with_capacity(self.cells.len());
        for (cell, a) in self.cells.iter_mut().zip(spreads) {
            let [head, rest] = cell.cut(fraction, *a);
            first.push(head);
            *cell = rest;
        }
        self.from = step;
        first
    }
}

/// Every head of both runs over their common stretch of steps.
///
/// Where the runs were probed at the same steps, intervals are compared as they were recorded. Where only one has a
/// probe, the other's interval is cut there (see [`PathCell::cut`]): the growths stay exact, the split between
/// factors is interpolated within that interval.
pub(super) fn follow(a: &Run, b: &Run, window: StepRange) -> Result<(Vec<HeadPair>, ComparedSteps)> {
    // A run without probes is refused by name.
    Probes::all(a).and(Probes::all(b))?;
    let (first, last) = common(a, b, window)?;
    let mut walks = [Walk::new(a, first, last)?, Walk::new(b, first, last)?];
    let mut heads: Vec<HeadPair> = Vec::new();
    let mut steps = ComparedSteps { first, last, intervals: 0, interpolated: 0 };
    // Predicted spread at which each head stands within its interval.
    let mut spreads: [Vec<f64>; 2] = Default::default();
    let mut at = first;
    while at < last {
        for (run, walk) in walks.iter_mut().enumerate() {
            if walk.to == at {
                if !walk.next()? || walk.from != at {
                    return Err(broken(if run == 0 { a } else { b }, at));
                }
                spreads[run] = walk.rows.iter().map(|r| r.a_hat_prev).collect();
            }
        }
        if heads.is_empty() {
            heads = walks[0].rows.iter().zip(&walks[1].rows).map(|(a, b)| HeadPair::new(a, b)).collect();
        }
        let until = walks[0].to.min(walks[1].to);
        let whole = walks.iter().all(|w| w.to == until && w.rows.first().is_some_and(|r| r.prev_step == at));
        let pieces: [Vec<PathCell>; 2] = std::array::from_fn(|run| {
            if walks[run].to == until {
                walks[run].cells.clone()
            } else {
                walks[run].cut(until, &spreads[run])
            }
        });
        for (head, (x, y)) in heads.iter_mut().zip(pieces[0].iter().zip(&pieces[1])) {
            head.advance(x, y);
        }
        for (run, walk) in walks.iter().enumerate() {
            if walk.to == until {
                heads.iter_mut().zip(&walk.rows).for_each(|(head, row)| head.measure(run, row));
            } else {
                for (spread, cell) in spreads[run].iter_mut().zip(&pieces[run]) {
                    *spread = cell.reached(*spread);
                }
            }
        }
        steps.intervals += 1;
        steps.interpolated += usize::from(!whole);
        at = until;
    }
    Ok((heads, steps))
}

/// A run whose intervals do not join.
fn broken(run: &Run, step: u32) -> AnalysisError {
    AnalysisError::NothingToAnalyse {
        run: run_name(run),
        what: format!("its probe intervals do not join at step {step}: the trace is damaged; verify it"),
    }
}
