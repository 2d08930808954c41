//! Measured growth of attention between two probe times: the eight corners on the probe batch (section 3).

use faer::{Accum, Mat};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::corners::{Corners, GrowthParts, NEW, OLD};
use crate::error::Result;
use crate::layer::{Geometry, LayerState};
use crate::linear::{difference_square, dot, scatter};
use crate::logits::{Block, LogitBlock};
use crate::pairs::causal_pairs;
use crate::projection::{CornerProjections, Projected, RotatedHead};
use crate::rotation::Rotation;
use crate::rows::RowStatistics;
use crate::scatter::weight_path_bound;

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

/// The accounting of one head between two probe times. Growths are NaN where a corner's attention is exactly
/// uniform: its spread has no logarithm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeadAccounting {
    /// Spread at the earlier time, `a_t`.
    pub a_prev: f64,
    /// Attention at the later time; `next.spread` is `a_t'`.
    pub next: HeadState,
    /// Log growth `ln(a_t'/a_t)`, from the two spreads.
    pub gamma: f64,
    /// What the query weights, the key weights and the features made of it (3.1).
    pub parts: GrowthParts,
    /// `cos theta = <S~, S~'> / (|S~| |S~'|)`: one minus it is how far the pattern turned (3.2).
    pub cos_theta: f64,
    /// RMS over causal pairs of `dS_W`, the centred logit change that the weights make at the first features.
    pub ds_w: f64,
    /// Log growth that the weights make at the first features, `v(x,W') - v(x,W)` (6.3).
    pub gamma_w_start: f64,
    /// Bound (6.2) on `ds_w` from the scatter of the keys.
    pub bound_tight: f64,
}

/// Attention statistics of every head of one state, for a run's first probe.
///
/// # Errors
/// As [`LayerState::validate`].
pub fn observe(state: &LayerState, geometry: &Geometry) -> Result<Vec<HeadState>> {
    state.validate(geometry)?;
    let rotation = Rotation::new(geometry, state.lengths().into_iter().max().unwrap_or(0));
    let projected = Projected::new(&state.x, &state.wq, &state.wk);
    Ok(observe_projected(&projected, geometry, rotation.as_ref()))
}

/// Accounting (3.1)-(3.2) and the tight bound (6.2) of every head between two states on the same probe sequences.
///
/// # Errors
/// As [`LayerState::validate_pair`].
pub fn account(prev: &LayerState, next: &LayerState, geometry: &Geometry) -> Result<Vec<HeadAccounting>> {
    prev.validate_pair(next, geometry)?;
    let rotation = Rotation::new(geometry, prev.lengths().into_iter().max().unwrap_or(0));
    let own = |s: &LayerState| Projected::new(&s.x, &s.wq, &s.wk);
    let (before, after) = (own(prev), own(next));
    let corners = CornerProjections::new(prev, next, &before, &after);
    Ok(account_projected(&corners, geometry, rotation.as_ref()))
}

pub(crate) fn observe_projected(
    projected: &Projected,
    geometry: &Geometry,
    rotation: Option<&Rotation>,
) -> Vec<HeadState> {
    let scale = 1.0 / (geometry.head_dim as f64).sqrt();
    (0..geometry.heads)
        .into_par_iter()
        .map(|head| {
            let mut rows = RowStatistics::new();
            let mut square = 0.0;
            for b in 0..projected.q.len() {
                let side = RotatedHead::new(projected, b, geometry, head, rotation);
                let mut logits = LogitBlock::new(side.q.nrows());
                for block in Block::covering(side.q.nrows()) {
                    logits.product(block, &side.q, &side.k, scale, Accum::Replace);
                    for c in 0..block.rows {
                        rows.add(logits.row(block, c));
                        square += scatter(logits.row(block, c));
                    }
                }
            }
            state(&rows, square, causal_pairs(&projected.lengths()))
        })
        .collect()
}

pub(crate) fn state(rows: &RowStatistics, square: f64, pairs: f64) -> HeadState {
    HeadState {
        spread: (square / pairs).sqrt(),
        entropy: rows.entropy(),
        sharpness: rows.sharpness(),
        top1: rows.top1(),
        s_max: rows.s_max(),
    }
}

pub(crate) fn account_projected(
    corners: &CornerProjections<'_>,
    geometry: &Geometry,
    rotation: Option<&Rotation>,
) -> Vec<HeadAccounting> {
    (0..geometry.heads).into_par_iter().map(|head| account_head(corners, geometry, rotation, head)).collect()
}

/// Sums over causal pairs, before division.
pub(crate) struct Sums {
    /// `|S~|^2` of every corner.
    pub squares: [[[f64; 2]; 2]; 2],
    /// `<S~, S~'>` between the interval's ends.
    pub turning: f64,
    /// `|S~(x, W') - S~(x, W)|^2`.
    pub weights: f64,
    /// Its bound (6.2).
    pub bound: f64,
    pub rows: RowStatistics,
}

/// Buffers of one sequence's logit blocks.
struct Buffers {
    start: LogitBlock,
    end: LogitBlock,
    other: LogitBlock,
}

fn account_head(
    corners: &CornerProjections<'_>,
    geometry: &Geometry,
    rotation: Option<&Rotation>,
    head: usize,
) -> HeadAccounting {
    let mut sums = Sums {
        squares: Default::default(),
        turning: 0.0,
        weights: 0.0,
        bound: 0.0,
        rows: RowStatistics::new(),
    };
    let scale = 1.0 / (geometry.head_dim as f64).sqrt();
    for b in 0..corners.sequences() {
        // [features][weights]
        let sides: [[RotatedHead; 2]; 2] = std::array::from_fn(|x| {
            std::array::from_fn(|w| RotatedHead::new(corners.at(x, w), b, geometry, head, rotation))
        });
        let length = sides[OLD][OLD].q.nrows();
        let mut buffers = Buffers {
            start: LogitBlock::new(length),
            end: LogitBlock::new(length),
            other: LogitBlock::new(length),
        };
        for block in Block::covering(length) {
            sums.add_block(block, &sides, scale, &mut buffers);
        }
        sums.bound += weight_path_bound(&sides[OLD][OLD], &sides[OLD][NEW]);
    }
    sums.finish(causal_pairs(&corners.lengths()), geometry.head_dim)
}

impl Sums {
    fn add_block(&mut self, block: Block, sides: &[[RotatedHead; 2]; 2], scale: f64, buffers: &mut Buffers) {
        let Buffers { start, end, other } = buffers;
        let of =
            |x: usize, q: usize, k: usize| -> (&Mat<f64>, &Mat<f64>) { (&sides[x][q].q, &sides[x][k].k) };
        let fill = |target: &mut LogitBlock, (q, k): (&Mat<f64>, &Mat<f64>)| {
            target.product(block, q, k, scale, Accum::Replace);
        };
        fill(start, of(OLD, OLD, OLD));
        fill(end, of(NEW, NEW, NEW));
        for c in 0..block.rows {
            self.rows.add(end.row(block, c));
            start.centre(block, c);
            end.centre(block, c);
            let (s, s_next) = (start.row(block, c), end.row(block, c));
            self.squares[OLD][OLD][OLD] += dot(s, s);
            self.squares[NEW][NEW][NEW] += dot(s_next, s_next);
            self.turning += dot(s, s_next);
        }
        fill(other, of(OLD, NEW, NEW));
        for c in 0..block.rows {
            other.centre(block, c);
            let moved = other.row(block, c);
            self.squares[OLD][NEW][NEW] += dot(moved, moved);
            self.weights += difference_square(moved, start.row(block, c));
        }
        // Of the remaining corners only the size matters.
        for (x, q, k) in [(OLD, OLD, NEW), (OLD, NEW, OLD), (NEW, OLD, OLD), (NEW, OLD, NEW), (NEW, NEW, OLD)]
        {
            fill(other, of(x, q, k));
            self.squares[x][q][k] += (0..block.rows).map(|c| scatter(other.row(block, c))).sum::<f64>();
        }
    }

    pub(crate) fn finish(&self, pairs: f64, head_dim: usize) -> HeadAccounting {
        let corners = Corners::from_squares(|x, q, k| self.squares[x][q][k] / pairs);
        let (before, after) = (self.squares[OLD][OLD][OLD], self.squares[NEW][NEW][NEW]);
        let defined = |v: f64| if v.is_finite() { v } else { f64::NAN };
        HeadAccounting {
            a_prev: (before / pairs).sqrt(),
            next: state(&self.rows, after, pairs),
            gamma: defined(corners.end() - corners.start()),
            parts: corners.parts(),
            cos_theta: defined(self.turning / (before.sqrt() * after.sqrt())).clamp(-1.0, 1.0),
            ds_w: (self.weights / pairs).sqrt(),
            gamma_w_start: defined(corners.weights_at_start()),
            bound_tight: (self.bound / (pairs * head_dim as f64)).sqrt(),
        }
    }
}
