//! How attention grew in a window of steps, and why.

mod heads;
mod paths;
mod report;
mod state;

use std::ops::Range;

use growthpath_trace::{EvalRow, Run, StepRow};

pub use report::{
    Accounting, Analysis, BoundHalf, BoundSummary, Cost, EulerSummary, FactorLayer, Factors, LayerAnalysis,
    LayerShares, LayerSplit, PartPrediction, PredictionSummary, Tightness,
};

use crate::error::{AnalysisError, Result};
use crate::read::grid::Grid;
use crate::read::sketch::MedianSketch;
use crate::read::window::{Window, recorded};
use crate::read::{each_row, euler};

/// Explains a window of a run: the growth of attention layer by layer and what queries, keys and features made of it (3.1), how
/// well the theory of section 4 predicted it, the factors (5.1), the writes that supplied it (5.3),
/// and how much growth was possible (6.3). Window semantics as in [`crate::read`]; `None` for all.
///
/// What the trace does not hold is NaN (`null` in JSON) or empty. Memory is bounded; medians over more
/// than 65,536 values are within a relative `2^-12`, everything else is exact to rounding.
///
/// # Errors
/// [`AnalysisError::EmptyWindow`], [`AnalysisError::NothingToAnalyse`] when no table has a row in the
/// window, [`AnalysisError::Geometry`] for a model too large to be true, [`AnalysisError::Trace`].
pub fn analyze(run: &Run, window: Option<Range<u32>>) -> Result<Analysis> {
    let grid = Grid::of(run)?;
    let window = Window::of(run, window)?;
    let heads = heads::read(run, grid, &window)?;
    let paths = paths::read(run, grid, &window)?;
    let state = state::read(run, grid, &window)?;
    let training = training(run, &window)?;
    let evaluation = last_eval(run, &window)?;
    if heads.rows + paths.rows + state.rows + training.steps == 0 && evaluation.is_none() {
        return Err(AnalysisError::NothingToAnalyse {
            run: growthpath_trace::shown_path(run.dir()),
            what: format!(
                "it has no row at steps {}..{}; it was recorded up to step {}: choose a window within",
                window.start,
                window.end,
                recorded(run)
            ),
        });
    }
    let layers = (0..grid.layers).map(|l| layer(l, &heads, &paths, &state)).collect();
    let (val_loss, val_stderr) = evaluation.as_ref().map_or((f64::NAN, f64::NAN), |e| (e.loss, e.stderr));
    Ok(Analysis {
        label: run.info().label.clone(),
        status: run.info().status,
        steps: training.steps,
        window,
        accounting: paths.accounting(),
        layers,
        euler: EulerSummary {
            max_rel_residual: heads.euler_worst,
            rows: heads.rows,
            qk_norm: euler::has_qk_norm(run),
        },
        val_loss,
        val_step: evaluation.map_or(0, |e| e.step),
        val_loss_stderr: val_stderr,
        val_perplexity: val_loss.exp(),
        train_loss_last: training.loss_last,
        prediction: paths.prediction(),
        bound: paths.bound(),
        factors: Factors { layers: paths.factors() },
        energy_shares: state.energy_shares(),
        drift_shares: state.drift_shares(),
        cost: training.cost(),
    })
}

/// Everything about one layer.
fn layer(
    l: usize,
    heads: &heads::HeadPass,
    paths: &paths::PathPass,
    state: &state::StatePass,
) -> LayerAnalysis {
    // The probe's states are those that growth is measured between; the training batch's fill in.
    let seen = if paths.states_seen() { paths.ends(l) } else { heads.ends(l) };
    let [attn, ffn] = state.writes[l];
    let basis = state.basis[l];
    LayerAnalysis {
        layer: l as u16,
        growth: paths.growth(l),
        growth_factor: paths.growth(l).exp(),
        spread_first: seen.spread_first,
        spread_last: seen.spread_last,
        entropy_first: seen.entropy_first,
        entropy_last: seen.entropy_last,
        top1_last: seen.top1_last,
        sharpening_pressure: heads.pressure(l),
        attn_energy: attn.energy,
        ffn_energy: ffn.energy,
        attn_ratio: attn.ratio,
        ffn_ratio: ffn.ratio,
        attn_common: attn.common,
        ffn_common: ffn.common,
        maturity: basis.maturity,
        eff_rank: basis.eff_rank,
        distinct: basis.distinct,
    }
}

/// What `steps` says of the window.
struct Training {
    steps: u64,
    loss_last: f64,
    first_tokens: f64,
    last_tokens: f64,
    first_step_ms: f64,
    total_ms: f64,
    step_ms: MedianSketch,
}

fn training(run: &Run, window: &Window) -> Result<Training> {
    let nan = f64::NAN;
    let mut t = Training {
        steps: 0,
        loss_last: nan,
        first_tokens: nan,
        last_tokens: nan,
        first_step_ms: nan,
        total_ms: 0.0,
        step_ms: MedianSketch::default(),
    };
    each_row::<StepRow>(run, window.updates(), |row| {
        // Token counts fit float64 up to 2^53.
        let (tokens, ms) = (row.tokens as f64, f64::from(row.step_ms));
        if t.steps == 0 {
            (t.first_tokens, t.first_step_ms) = (tokens, ms);
        }
        t.steps += 1;
        t.loss_last = row.loss.into();
        t.last_tokens = tokens;
        t.total_ms += ms;
        t.step_ms.add(ms);
    })?;
    Ok(t)
}

impl Training {
    fn cost(&self) -> Option<Cost> {
        (self.steps > 0).then(|| Cost {
            seconds: self.total_ms / 1e3,
            step_ms_median: self.step_ms.median(),
            tokens: self.last_tokens,
            // The first row's tokens were trained on within the count, its time is left out with them.
            tokens_per_second: (self.last_tokens - self.first_tokens) / (self.total_ms - self.first_step_ms)
                * 1e3,
        })
    }
}

fn last_eval(run: &Run, window: &Window) -> Result<Option<EvalRow>> {
    let mut last = None;
    each_row::<EvalRow>(run, window.tail(run, growthpath_trace::Table::Evals), |row| last = Some(*row))?;
    Ok(last)
}
