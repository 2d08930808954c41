//! Exact path accounting on the probe batch (section 3).

use faer::{Accum, Mat};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layer::{Geometry, LayerState};
use crate::linear::{dot, max_abs, subtract};
use crate::logits::{Block, HeadPair, LogitBlock};
use crate::pairs::causal_pairs;
use crate::projection::project;
use crate::rotation::Rotation;
use crate::rows::RowStatistics;
use crate::shares::{PathShares, shares};

/// Attention statistics of one head at one time. Logits are post-scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeadState {
    /// Spread `a`: RMS of the row-centred logits over causal pairs.
    pub spread: f64,
    /// Mean over rows with at least two keys of `H_i / ln(keys)`; NaN without such rows.
    pub entropy: f64,
    /// `1 - H_i / ln(keys)` averaged over rows with at least eight keys; NaN without such rows.
    pub sharpness: f64,
    /// Mean largest attention probability over all rows.
    pub top1: f64,
    /// Largest logit over causal pairs.
    pub s_max: f64,
}

/// The accounting of one head between two probe times.
///
/// Rates are NaN when the earlier spread is zero: growth from exactly uniform attention has no rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeadAccounting {
    /// Spread at the earlier time, `a_t`.
    pub a_prev: f64,
    /// Attention at the later time; `next.spread` is `a_t'`.
    pub next: HeadState,
    /// Rate of the weight path, first order: `<S~, D>/|S~|^2`.
    pub g_d: f64,
    /// Rate of the weight path, second order.
    pub g_d2: f64,
    /// Rate of the feature path.
    pub g_f: f64,
    /// `|S~' - S~|^2 / |S~|^2`.
    pub rho2: f64,
    /// Log growth `ln(a_t'/a_t)`, from the two spreads.
    pub gamma: f64,
    /// RMS of D over causal pairs.
    pub r_d: f64,
    /// RMS of D2.
    pub r_d2: f64,
    /// RMS of F.
    pub r_f: f64,
    /// Largest absolute residual of (3.1) over the larger of the two spreads. D and D2 come from
    /// weight differences, F from logits, so this is a check and not zero by construction.
    pub residual: f64,
}

impl HeadAccounting {
    /// Right side of (3.2): log growth from the rates.
    pub fn gamma_from_rates(&self) -> f64 {
        0.5 * (2.0 * (self.g_d + self.g_d2 + self.g_f) + self.rho2).ln_1p()
    }

    /// Exact additive shares of the log growth (3.3).
    pub fn shares(&self) -> PathShares {
        shares(self.gamma, self.g_d, self.g_d2, self.g_f, self.rho2)
    }
}

/// Projections of one set of inputs by one pair of weights, all heads, not rotated.
#[derive(Debug, Clone)]
pub(crate) struct Projected {
    pub q: Vec<Mat<f64>>,
    pub k: Vec<Mat<f64>>,
}

impl Projected {
    pub(crate) fn new(x: &[Mat<f64>], wq: &Mat<f64>, wk: &Mat<f64>) -> Self {
        let (q, k) = rayon::join(|| project(x, wq), || project(x, wk));
        Self { q, k }
    }

    fn head(&self, b: usize, geometry: &Geometry, head: usize, rotation: Option<&Rotation>) -> HeadPair {
        HeadPair::new(&self.q[b], &self.k[b], geometry, head, rotation)
    }

    fn lengths(&self) -> Vec<usize> {
        self.q.iter().map(Mat::nrows).collect()
    }
}

/// The four projections that an interval's accounting compares.
pub(crate) struct Interval<'a> {
    /// `X_t`, `W_t`.
    pub prev: &'a Projected,
    /// `X_t`, `dW`.
    pub step: &'a Projected,
    /// `X_t`, `W_t'`.
    pub moved: &'a Projected,
    /// `X_t'`, `W_t'`.
    pub next: &'a Projected,
}

/// Attention statistics of every head of one state, for a run's first probe.
///
/// Cost `O(sum T^2 H d_h)`, memory `O(T)` rows of 64 a head.
///
/// # Errors
/// As [`LayerState::validate`].
pub fn observe(state: &LayerState, geometry: &Geometry) -> Result<Vec<HeadState>> {
    state.validate(geometry)?;
    let projected = Projected::new(&state.x, &state.wq, &state.wk);
    Ok(observe_projected(&projected, geometry, Rotation::new(geometry, longest(&projected)).as_ref()))
}

/// Accounting (3.1)-(3.2) of every head between two states on the same probe sequences.
///
/// # Errors
/// As [`LayerState::validate_pair`].
pub fn account(prev: &LayerState, next: &LayerState, geometry: &Geometry) -> Result<Vec<HeadAccounting>> {
    prev.validate_pair(next, geometry)?;
    let before = Projected::new(&prev.x, &prev.wq, &prev.wk);
    let step = Projected::new(&prev.x, &(&next.wq - &prev.wq), &(&next.wk - &prev.wk));
    let moved = Projected::new(&prev.x, &next.wq, &next.wk);
    let after = Projected::new(&next.x, &next.wq, &next.wk);
    let interval = Interval { prev: &before, step: &step, moved: &moved, next: &after };
    Ok(account_projected(&interval, geometry, Rotation::new(geometry, longest(&before)).as_ref()))
}

fn longest(p: &Projected) -> usize {
    p.lengths().into_iter().max().unwrap_or(0)
}

pub(crate) fn observe_projected(
    projected: &Projected,
    geometry: &Geometry,
    rotation: Option<&Rotation>,
) -> Vec<HeadState> {
    (0..geometry.heads)
        .into_par_iter()
        .map(|head| {
            let scale = 1.0 / (geometry.head_dim as f64).sqrt();
            let mut rows = RowStatistics::new();
            let mut square = 0.0;
            for b in 0..projected.q.len() {
                let pair = projected.head(b, geometry, head, rotation);
                let mut logits = LogitBlock::new(pair.q.nrows());
                for block in Block::covering(pair.q.nrows()) {
                    logits.product(block, &pair.q, &pair.k, scale, Accum::Replace);
                    for c in 0..block.rows {
                        rows.add(logits.row(block, c));
                        logits.centre(block, c);
                        let centred = logits.row(block, c);
                        square += dot(centred, centred);
                    }
                }
            }
            state(&rows, square, causal_pairs(&projected.lengths()))
        })
        .collect()
}

fn state(rows: &RowStatistics, square: f64, pairs: f64) -> HeadState {
    HeadState {
        spread: (square / pairs).sqrt(),
        entropy: rows.entropy(),
        sharpness: rows.sharpness(),
        top1: rows.top1(),
        s_max: rows.s_max(),
    }
}

pub(crate) fn account_projected(
    interval: &Interval<'_>,
    geometry: &Geometry,
    rotation: Option<&Rotation>,
) -> Vec<HeadAccounting> {
    (0..geometry.heads).into_par_iter().map(|head| account_head(interval, geometry, rotation, head)).collect()
}

/// Sums over causal pairs, before division.
#[derive(Default)]
struct Sums {
    ss: f64,
    sd: f64,
    sd2: f64,
    sf: f64,
    dd: f64,
    d2d2: f64,
    ff: f64,
    moved: f64,
    after: f64,
    residual: f64,
}

fn account_head(
    interval: &Interval<'_>,
    geometry: &Geometry,
    rotation: Option<&Rotation>,
    head: usize,
) -> HeadAccounting {
    let scale = 1.0 / (geometry.head_dim as f64).sqrt();
    let mut sums = Sums::default();
    let mut rows = RowStatistics::new();
    for b in 0..interval.prev.q.len() {
        let take = |p: &Projected| p.head(b, geometry, head, rotation);
        let (prev, step, moved, next) =
            (take(interval.prev), take(interval.step), take(interval.moved), take(interval.next));
        let length = prev.q.nrows();
        let mut blocks: [LogitBlock; 5] = std::array::from_fn(|_| LogitBlock::new(length));
        for block in Block::covering(length) {
            let [s, d, d2, s_moved, s_next] = &mut blocks;
            s.product(block, &prev.q, &prev.k, scale, Accum::Replace);
            d.product(block, &step.q, &prev.k, scale, Accum::Replace);
            d.product(block, &prev.q, &step.k, scale, Accum::Add);
            d2.product(block, &step.q, &step.k, scale, Accum::Replace);
            s_moved.product(block, &moved.q, &moved.k, scale, Accum::Replace);
            s_next.product(block, &next.q, &next.k, scale, Accum::Replace);
            for c in 0..block.rows {
                rows.add(s_next.row(block, c));
                for m in [&mut *s, &mut *d, &mut *d2, &mut *s_moved, &mut *s_next] {
                    m.centre(block, c);
                }
                sums.add_row(
                    s.row(block, c),
                    d.row(block, c),
                    d2.row(block, c),
                    s_moved.row_mut(block, c),
                    s_next.row_mut(block, c),
                );
            }
        }
    }
    sums.finish(&rows, causal_pairs(&interval.prev.lengths()))
}

impl Sums {
    /// Adds one centred row. Overwrites the last two: what they hold is used up on the way.
    fn add_row(&mut self, s: &[f64], d: &[f64], d2: &[f64], s_moved: &mut [f64], s_next: &mut [f64]) {
        self.ss += dot(s, s);
        self.sd += dot(s, d);
        self.sd2 += dot(s, d2);
        self.dd += dot(d, d);
        self.d2d2 += dot(d2, d2);
        self.after += dot(s_next, s_next);
        // -F = S~(X, W') - S~(X', W')
        subtract(s_moved, s_next);
        let minus_f: &[f64] = s_moved;
        self.sf -= dot(s, minus_f);
        self.ff += dot(minus_f, minus_f);
        // S~' - S~, and from it what D, D2 and F leave.
        subtract(s_next, s);
        self.moved += dot(s_next, s_next);
        subtract(s_next, d);
        subtract(s_next, d2);
        s_next.iter_mut().zip(minus_f).for_each(|(r, f)| *r += f);
        self.residual = self.residual.max(max_abs(s_next));
    }

    fn finish(&self, rows: &RowStatistics, pairs: f64) -> HeadAccounting {
        let a_prev = (self.ss / pairs).sqrt();
        let next = state(rows, self.after, pairs);
        let scale = a_prev.max(next.spread);
        HeadAccounting {
            a_prev,
            next,
            g_d: self.sd / self.ss,
            g_d2: self.sd2 / self.ss,
            g_f: self.sf / self.ss,
            rho2: self.moved / self.ss,
            gamma: 0.5 * (self.after / self.ss).ln(),
            r_d: (self.dd / pairs).sqrt(),
            r_d2: (self.d2d2 / pairs).sqrt(),
            r_f: (self.ff / pairs).sqrt(),
            // Two uniform heads have no spread to be relative to.
            residual: if scale > 0.0 { self.residual / scale } else { self.residual },
        }
    }
}
