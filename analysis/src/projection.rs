//! Attention inputs times query and key weights, and the forms in which they enter the metric.

use std::collections::BTreeMap;

use faer::{Accum, Mat};
use rayon::prelude::*;

use crate::corners::OLD;
use crate::layer::{Geometry, LayerState};
use crate::linear::{difference, midpoint, mul, mul_into, mul_tn, scale_rows, stack, unstack};
use crate::pairs::{
    causal_pairs, innovations, innovations_adjoint, key_weights, mean_key, offset_weights, query_weights,
    row_mean_factor,
};
use crate::rotation::{OffsetAverage, Rotation};

/// `X W` for every sequence, not rotated.
fn project(x: &[Mat<f64>], w: &Mat<f64>) -> Vec<Mat<f64>> {
    x.par_iter().map(|x| mul(x.as_ref(), w.as_ref())).collect()
}

/// Columns of a head as a matrix of their own.
pub(crate) fn head_columns(m: &Mat<f64>, geometry: &Geometry, head: usize) -> Mat<f64> {
    m.subcols(head * geometry.head_dim, geometry.head_dim).to_owned()
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

    pub(crate) fn lengths(&self) -> Vec<usize> {
        self.q.iter().map(Mat::nrows).collect()
    }
}

/// The projections behind an interval's eight corners: old and new inputs by old and new weights. Those of a state
/// by its own weights belong to the states.
pub(crate) struct CornerProjections<'a> {
    prev: &'a Projected,
    /// Old inputs, new weights.
    moved: Projected,
    /// New inputs, old weights.
    carried: Projected,
    next: &'a Projected,
}

impl<'a> CornerProjections<'a> {
    pub(crate) fn new(
        prev: &LayerState,
        next: &LayerState,
        of_prev: &'a Projected,
        of_next: &'a Projected,
    ) -> Self {
        let (moved, carried) = rayon::join(
            || Projected::new(&prev.x, &next.wq, &next.wk),
            || Projected::new(&next.x, &prev.wq, &prev.wk),
        );
        Self { prev: of_prev, moved, carried, next: of_next }
    }

    /// Inputs of the start (0) or end (1) by the weights of the start (0) or end (1).
    pub(crate) fn at(&self, x: usize, w: usize) -> &Projected {
        match (x, w) {
            (OLD, OLD) => self.prev,
            (OLD, _) => &self.moved,
            (_, OLD) => &self.carried,
            _ => self.next,
        }
    }

    pub(crate) fn sequences(&self) -> usize {
        self.prev.q.len()
    }

    pub(crate) fn lengths(&self) -> Vec<usize> {
        self.prev.lengths()
    }
}

/// Queries and keys of one head and sequence (`T x d_h` each), rotated where positions rotate.
#[derive(Debug, Clone)]
pub(crate) struct RotatedHead {
    pub q: Mat<f64>,
    pub k: Mat<f64>,
}

impl RotatedHead {
    pub(crate) fn new(
        projected: &Projected,
        sequence: usize,
        geometry: &Geometry,
        head: usize,
        rotation: Option<&Rotation>,
    ) -> Self {
        let take = |m: &Mat<f64>| match rotation {
            Some(rotation) => rotation.turned(m, head * geometry.head_dim),
            None => head_columns(m, geometry, head),
        };
        Self { q: take(&projected.q[sequence]), k: take(&projected.k[sequence]) }
    }
}

/// How projected inputs turn into the query and key factors whose Gram matrices make up the
/// metric of section 4. Everything here is linear in the inputs.
#[derive(Debug, Clone)]
pub(crate) struct Forms {
    geometry: Geometry,
    lengths: Vec<usize>,
    /// Square roots of the query weights, sequences one below another.
    query_roots: Vec<f64>,
    /// Key weights per sequence.
    key_weights: Vec<Vec<f64>>,
    rope: Option<RopeForms>,
}

#[derive(Debug, Clone)]
struct RopeForms {
    rotation: Rotation,
    average: OffsetAverage,
    /// [`row_mean_factor`] of every sequence.
    factors: Vec<f64>,
    /// What rotation leaves of the mean keys of sequences of one length, and which sequences they are.
    scatters: Vec<(OffsetAverage, Vec<usize>)>,
}

/// Key-side factor for one weight matrix, all heads (`H*d_h` columns).
#[derive(Debug, Clone)]
pub(crate) struct KeyFactor {
    /// Weighted rows, sequences one below another: innovations, or keys about their sequence's mean with RoPE.
    rows: Mat<f64>,
    /// Every sequence's mean key, one row a sequence (RoPE only).
    mean_rows: Option<Mat<f64>>,
}

impl Forms {
    pub(crate) fn new(geometry: Geometry, lengths: Vec<usize>) -> Self {
        let pairs = causal_pairs(&lengths);
        let offsets = offset_weights(&lengths, pairs);
        let rope = Rotation::new(&geometry, offsets.len()).map(|rotation| {
            let mut of_length = BTreeMap::<usize, Vec<usize>>::new();
            for (sequence, &t) in lengths.iter().enumerate() {
                of_length.entry(t).or_default().push(sequence);
            }
            // A sequence has as many offsets as keys, of the same weights.
            let scatter = |(t, sequences)| (rotation.scatter(&key_weights(t, pairs)), sequences);
            RopeForms {
                average: rotation.offset_average(&offsets),
                factors: lengths.iter().map(|&t| row_mean_factor(t)).collect(),
                scatters: of_length.into_iter().map(scatter).collect(),
                rotation,
            }
        });
        Self {
            geometry,
            query_roots: lengths.iter().flat_map(|&t| query_weights(t, pairs)).map(f64::sqrt).collect(),
            key_weights: lengths.iter().map(|&t| key_weights(t, pairs)).collect(),
            lengths,
            rope,
        }
    }

    pub(crate) fn rotation(&self) -> Option<&Rotation> {
        self.rope.as_ref().map(|r| &r.rotation)
    }

    /// Query factor: `A^T A = U^T Sq U`.
    pub(crate) fn query(&self, projected: &[Mat<f64>]) -> Mat<f64> {
        let mut rows = stack(projected);
        scale_rows(&mut rows, &self.query_roots);
        rows
    }

    /// Transpose of [`Forms::query`].
    pub(crate) fn query_adjoint(&self, g: &Mat<f64>) -> Vec<Mat<f64>> {
        let mut g = g.clone();
        scale_rows(&mut g, &self.query_roots);
        unstack(&g, &self.lengths)
    }

    /// Key factor of projected keys.
    pub(crate) fn key(&self, projected: &[Mat<f64>]) -> KeyFactor {
        let Some(rope) = &self.rope else {
            return KeyFactor { rows: innovations(projected, &self.key_weights), mean_rows: None };
        };
        let mut means = Mat::zeros(projected.len(), projected.first().map_or(0, Mat::ncols));
        let mut about = Vec::with_capacity(projected.len());
        let sequences = projected.iter().zip(&self.key_weights).zip(&rope.factors);
        for (s, ((keys, weights), factor)) in sequences.enumerate() {
            let mean = mean_key(keys, weights);
            about.push(Mat::from_fn(keys.nrows(), keys.ncols(), |j, col| {
                (keys[(j, col)] - mean[col]) * (weights[j] * factor).sqrt()
            }));
            mean.into_iter().enumerate().for_each(|(col, mu)| means[(s, col)] = mu);
        }
        KeyFactor { rows: stack(&about), mean_rows: Some(means) }
    }

    /// Transpose of [`Forms::key`].
    pub(crate) fn key_adjoint(&self, g: &KeyFactor) -> Vec<Mat<f64>> {
        let rows = unstack(&g.rows, &self.lengths);
        let (Some(rope), Some(means)) = (&self.rope, &g.mean_rows) else {
            return rows.iter().zip(&self.key_weights).map(|(m, w)| innovations_adjoint(m, w)).collect();
        };
        let sequences = rows.into_iter().zip(&self.key_weights).zip(&rope.factors).enumerate();
        sequences
            .map(|(s, ((mut rows, weights), factor))| {
                let total: f64 = weights.iter().sum();
                for col in 0..rows.ncols() {
                    let column = rows.col_as_slice_mut(col);
                    column.iter_mut().zip(weights).for_each(|(v, w)| *v *= (w * factor).sqrt());
                    // The mean key collects what its own term sends back, less what centring took away.
                    let through = means[(s, col)] - column.iter().sum::<f64>();
                    column.iter_mut().zip(weights).for_each(|(v, w)| *v += w / total * through);
                }
                rows
            })
            .collect()
    }

    /// `N_ab` of a head for key weights V, V': `V^T Sk V'`, or with RoPE its average over rotations
    /// plus the mean-key term.
    pub(crate) fn key_gram(&self, head: usize, a: &KeyFactor, b: &KeyFactor) -> Mat<f64> {
        let plain = self.head_gram(head, &a.rows, &b.rows);
        match (&self.rope, &a.mean_rows, &b.mean_rows) {
            (Some(rope), Some(a), Some(b)) => {
                let of_means = rope.scatters.iter().map(|(scatter, sequences)| {
                    scatter.apply(&self.head_gram(head, &rows_of(a, sequences), &rows_of(b, sequences)))
                });
                of_means.fold(rope.average.apply(&plain), |sum, m| sum + m)
            }
            _ => plain,
        }
    }

    /// Adds `factor * A` of one head into `out`, with A averaged over rotations where the Gram
    /// matrix was: the derivative of `sum A_ab N_ab` by the second factor.
    pub(crate) fn pull_back(
        &self,
        head: usize,
        factor: &KeyFactor,
        a: &Mat<f64>,
        alpha: f64,
        out: &mut KeyFactor,
    ) {
        let (first, width) = (head * self.geometry.head_dim, self.geometry.head_dim);
        let averaged = self.rope.as_ref().map(|rope| rope.average.adjoint(a));
        mul_into(
            out.rows.as_mut().subcols_mut(first, width),
            Accum::Add,
            factor.rows.as_ref().subcols(first, width),
            averaged.as_ref().unwrap_or(a).as_ref(),
            alpha,
        );
        let (Some(rope), Some(source), Some(target)) = (&self.rope, &factor.mean_rows, &mut out.mean_rows)
        else {
            return;
        };
        for (scatter, sequences) in &rope.scatters {
            let a = scatter.adjoint(a);
            let product = mul(rows_of(source, sequences).as_ref().subcols(first, width), a.as_ref());
            for (row, &s) in sequences.iter().enumerate() {
                (0..width).for_each(|c| target[(s, first + c)] += alpha * product[(row, c)]);
            }
        }
    }

    /// `A^T B` restricted to the columns of one head.
    pub(crate) fn head_gram(&self, head: usize, a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
        let (first, width) = (head * self.geometry.head_dim, self.geometry.head_dim);
        mul_tn(a.subcols(first, width), b.subcols(first, width))
    }

    /// Average over rotations alone: the metric with `Sk = I`, where there is no mean key.
    pub(crate) fn averaged(&self, n: Mat<f64>) -> Mat<f64> {
        match &self.rope {
            Some(rope) => rope.average.apply(&n),
            None => n,
        }
    }
}

/// The given rows of a matrix.
fn rows_of(m: &Mat<f64>, rows: &[usize]) -> Mat<f64> {
    Mat::from_fn(rows.len(), m.ncols(), |i, j| m[(rows[i], j)])
}

impl KeyFactor {
    /// A factor of the same shape that is zero.
    pub(crate) fn zeros_like(&self) -> Self {
        let zeros = |m: &Mat<f64>| Mat::zeros(m.nrows(), m.ncols());
        Self { rows: zeros(&self.rows), mean_rows: self.mean_rows.as_ref().map(zeros) }
    }

    /// The mean of two factors.
    pub(crate) fn midpoint(&self, other: &Self) -> Self {
        self.combine(other, midpoint)
    }

    /// `other - self`.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.combine(other, difference)
    }

    fn combine(&self, other: &Self, f: fn(&Mat<f64>, &Mat<f64>) -> Mat<f64>) -> Self {
        Self {
            rows: f(&self.rows, &other.rows),
            mean_rows: self.mean_rows.as_ref().zip(other.mean_rows.as_ref()).map(|(a, b)| f(a, b)),
        }
    }
}
