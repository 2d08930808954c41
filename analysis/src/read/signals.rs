//! Do early signals lead growth? Rank correlations of what `heads` records at a step with the growth that follows.

use std::collections::VecDeque;
use std::ops::Range;

use growthpath_trace::{HeadRow, Run, Table};
use serde::Serialize;

use super::each_row;
use super::grid::Grid;
use super::running::Mean;
use super::window::Window;
use crate::error::{AnalysisError, Result};
use crate::ranks::{partial_spearman, spearman};
use crate::statistics::median;

/// Steps over which the growth that follows is taken.
pub const LEAD_LAGS: [u32; 4] = [1, 3, 10, 30];

type Read = fn(&HeadRow) -> f64;

/// Number of [`SIGNALS`], and of them with past growth.
const COUNT: usize = 9;

/// What is held against the growth that follows; the growth that went before is the last, the one to beat.
const SIGNALS: [(&str, Read); COUNT - 1] = [
    ("pressure", |r| -0.5 * (f64::from(r.wg_q) + f64::from(r.wg_k))),
    ("normalized pressure", |r| 0.5 * (f64::from(r.pressure_q) + f64::from(r.pressure_k))),
    ("gradient norm", |r| (f64::from(r.g_q2) + f64::from(r.g_k2)).sqrt()),
    ("update norm", |r| (f64::from(r.d_q2) + f64::from(r.d_k2)).sqrt()),
    ("dm_f", |r| r.dm_f.into()),
    ("dm_top", |r| r.dm_top.into()),
    ("dm_entropy", |r| r.dm_entropy.into()),
    ("entropy", |r| r.entropy.into()),
];
const PAST: usize = COUNT - 1;

/// Steps of a head that correlations over time are taken from, about; longer runs are thinned evenly.
const MOST_STEPS: u64 = 1000;
/// Fewest pairs that a correlation is taken from.
const FEWEST: usize = 5;

/// A rank correlation (Spearman's) with the growth that follows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RankCorrelation {
    /// As it is.
    pub plain: f64,
    /// Given the growth over as many steps before: what the signal adds to looking at the spread alone. NaN for past
    /// growth itself.
    pub given_past: f64,
    /// Correlations that `plain` is taken over: heads, or steps.
    pub count: usize,
}

/// How one signal at step t goes with `ln a(t + lag) - ln a(t)`, the growth of the spread on the training batches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lead {
    /// Name of the signal.
    pub signal: &'static str,
    /// Steps of growth after it.
    pub lag: u32,
    /// Over the steps of a head, median over heads: does it say *when* a head grows.
    pub over_time: RankCorrelation,
    /// Over the heads of the model at a step, mean over steps: does it say *which* head grows.
    pub over_heads: RankCorrelation,
}

/// Every signal at every lag of [`LEAD_LAGS`]; lags that the recorded steps do not have are left undefined.
///
/// # Errors
/// [`AnalysisError::EmptyWindow`], [`AnalysisError::NothingToAnalyse`] without rows in `heads`,
/// [`AnalysisError::Geometry`] for a model too large to be true, [`AnalysisError::Trace`].
pub fn leads(run: &Run, asked: Option<Range<u32>>) -> Result<Vec<Lead>> {
    let (grid, window) = (Grid::of(run)?, Window::of(run, asked)?);
    let rows = run.rows(Table::Heads);
    if rows == 0 {
        return Err(AnalysisError::NothingToAnalyse {
            run: growthpath_trace::shown_path(run.dir()),
            what: "early signals are read from `heads`, which has no rows: train with --telemetry every"
                .to_owned(),
        });
    }
    let every = (rows / grid.cells().max(1) as u64).div_ceil(MOST_STEPS).max(1) as u32;
    let mut pass = Pass::new(grid.cells(), every);
    each_row::<HeadRow>(run, window.updates(), |row| {
        if let Some(cell) = grid.cell(row.layer, row.head) {
            pass.row(cell, row);
        }
    })?;
    pass.end_step();
    Ok(pass.leads())
}

/// A head at a recorded step.
#[derive(Clone, Copy)]
struct State {
    step: u32,
    ln_spread: f64,
    signals: [f64; PAST],
}

/// Signals at a step (past growth last) and the growth that followed; float32 as the columns are.
type Sample = ([f32; COUNT], f32);

struct Pass {
    every: u32,
    step: Option<u32>,
    /// The last steps of each head: twice the longest lag.
    recent: Vec<VecDeque<State>>,
    /// By lag, then head: over time.
    samples: [Vec<Vec<Sample>>; LEAD_LAGS.len()],
    /// By lag: the heads of the present step.
    heads: [Vec<Sample>; LEAD_LAGS.len()],
    /// By lag, then signal: plain and partial correlations over heads.
    over_heads: [[(Mean, Mean, usize); COUNT]; LEAD_LAGS.len()],
}

impl Pass {
    fn new(cells: usize, every: u32) -> Self {
        Self {
            every,
            step: None,
            recent: vec![VecDeque::new(); cells],
            samples: std::array::from_fn(|_| vec![Vec::new(); cells]),
            heads: Default::default(),
            over_heads: Default::default(),
        }
    }

    fn row(&mut self, cell: usize, row: &HeadRow) {
        if self.step != Some(row.step) {
            self.end_step();
            self.step = Some(row.step);
        }
        let ln_spread = f64::from(row.spread).ln();
        // A head whose attention is exactly uniform has no logarithm: no pair with it counts.
        let ln_spread = if ln_spread.is_finite() { ln_spread } else { f64::NAN };
        let recent = &mut self.recent[cell];
        let longest = LEAD_LAGS[LEAD_LAGS.len() - 1];
        while recent.front().is_some_and(|s| row.step - s.step > 2 * longest) {
            recent.pop_front();
        }
        recent.push_back(State { step: row.step, ln_spread, signals: SIGNALS.map(|(_, read)| read(row)) });
        let at = |step: Option<u32>| {
            let step = step?;
            recent.binary_search_by_key(&step, |s| s.step).ok().map(|i| recent[i])
        };
        for (l, lag) in LEAD_LAGS.into_iter().enumerate() {
            let Some(then) = at(row.step.checked_sub(lag)) else { continue };
            let before = at(then.step.checked_sub(lag)).map_or(f64::NAN, |s| s.ln_spread);
            let mut signals = [0.0; COUNT];
            signals[..PAST].iter_mut().zip(then.signals).for_each(|(to, from)| *to = from as f32);
            signals[PAST] = (then.ln_spread - before) as f32;
            let sample = (signals, (ln_spread - then.ln_spread) as f32);
            self.heads[l].push(sample);
            if then.step.is_multiple_of(self.every) {
                self.samples[l][cell].push(sample);
            }
        }
    }

    fn end_step(&mut self) {
        for (heads, out) in self.heads.iter_mut().zip(&mut self.over_heads) {
            for (signal, (plain, partial, count)) in out.iter_mut().enumerate() {
                let (p, given) = correlate(heads, signal);
                plain.add(p);
                partial.add(given);
                *count += usize::from(!p.is_nan());
            }
            heads.clear();
        }
    }

    fn leads(&self) -> Vec<Lead> {
        let names = SIGNALS.map(|(name, _)| name).into_iter().chain(["past growth"]);
        let mut out = Vec::new();
        for (signal, name) in names.enumerate() {
            for (l, lag) in LEAD_LAGS.into_iter().enumerate() {
                let heads = self.samples[l].iter().map(|head| correlate(head, signal));
                let (plain, partial): (Vec<f64>, Vec<f64>) = heads.unzip();
                let (p, given, count) = &self.over_heads[l][signal];
                out.push(Lead {
                    signal: name,
                    lag,
                    over_time: RankCorrelation {
                        plain: median(&plain),
                        given_past: median(&partial),
                        count: plain.iter().filter(|r| !r.is_nan()).count(),
                    },
                    over_heads: RankCorrelation {
                        plain: p.value(),
                        given_past: given.value(),
                        count: *count,
                    },
                });
            }
        }
        out
    }
}

/// Plain and partial rank correlation of a signal with the growth that followed; NaN from fewer than [`FEWEST`] pairs.
fn correlate(samples: &[Sample], signal: usize) -> (f64, f64) {
    let rows: Vec<[f64; 3]> = samples
        .iter()
        .map(|(signals, growth)| [signals[signal], *growth, signals[PAST]].map(f64::from))
        .collect();
    let enough = |(r, n): (f64, usize)| if n >= FEWEST { r } else { f64::NAN };
    (enough(spearman(&rows)), if signal == PAST { f64::NAN } else { enough(partial_spearman(&rows)) })
}
