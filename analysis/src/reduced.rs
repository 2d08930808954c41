//! Sections 3 to 6 from sums that were worked out elsewhere, by the same formulas as from matrices: the other half of a probe on
//! a device, which reduces a layer's logits, Gram matrices and gradients to a few numbers a head.
//!
//! A device needs the weights of positions and the averages over rotations first: [`MetricTables`].

use faer::Mat;
use growthpath_trace::{ProbeLayerRow, ProbeRow};

use crate::accounting::{HeadState, Sums, state};
use crate::bound::HeadBound;
use crate::error::{AnalysisError, Result};
use crate::factors::{energy_bound_of, factorize};
use crate::interval::{HeadInterval, LayerInterval, check_step_sizes};
use crate::layer::Geometry;
use crate::maturity::Basis;
use crate::pairs::{
    causal_pairs, innovation_scale, key_weights, offset_weights, query_weights, row_mean_factor,
};
use crate::prediction::Prediction;
use crate::probe_rows::{state_rows, to_lambda};
use crate::rotation::Rotation;
use crate::rows::RowStatistics;

pub use crate::drift::DriftWeights;
pub use crate::inners::Inners;

/// Weights of positions in sums over causal pairs, for sequences of one length.
#[derive(Debug, Clone)]
pub struct MetricTables {
    /// Roots of the query weights `(i + 1) / P`, `[T]`.
    pub query_roots: Vec<f64>,
    /// Scale of each position's innovation, `sqrt(w_j j / (j + 1))` with key weights `w_j = (T - j) / P`, `[T]`.
    pub innovation_scales: Vec<f64>,
    /// `1 / (j + 1)`, `[T]`.
    pub inverses: Vec<f64>,
    /// What rotary positions need beside.
    pub rope: Option<RopeTables>,
}

/// Rotations and averages over them; matrices row by row.
#[derive(Debug, Clone)]
pub struct RopeTables {
    /// Cosines of `t theta_p`, `[T, d_h / 2]`.
    pub cos: Vec<f64>,
    /// Their sines.
    pub sin: Vec<f64>,
    /// Key weights `w_j`, `[T]`.
    pub key_weights: Vec<f64>,
    /// Roots of `w_j` times what makes the scatter about a sequence's mean one about row means.
    pub key_roots: Vec<f64>,
    /// The average of a key Gram matrix over offsets: `[4][d_h / 2, d_h / 2]`, factors of alpha, then of beta, real parts and
    /// imaginary ones.
    pub average: Vec<f64>,
    /// The scatter that rotation gives a mean key, likewise.
    pub scatter: Vec<f64>,
}

fn row_major(m: &Mat<f64>) -> impl Iterator<Item = f64> + '_ {
    (0..m.nrows()).flat_map(move |i| (0..m.ncols()).map(move |j| m[(i, j)]))
}

impl MetricTables {
    /// Tables for `sequences` sequences of `length` tokens.
    pub fn new(geometry: &Geometry, sequences: usize, length: usize) -> Self {
        let lengths = vec![length; sequences];
        let pairs = causal_pairs(&lengths);
        let keys = key_weights(length, pairs);
        let offsets = offset_weights(&lengths, pairs);
        let rope = Rotation::new(geometry, length).map(|rotation| {
            let (cos, sin) = rotation.tables();
            let flat = |tables: [&Mat<f64>; 4]| tables.into_iter().flat_map(row_major).collect();
            let factor = row_mean_factor(length);
            RopeTables {
                cos: row_major(cos).collect(),
                sin: row_major(sin).collect(),
                key_roots: keys.iter().map(|w| (w * factor).sqrt()).collect(),
                average: flat(rotation.offset_average(&offsets).tables()),
                scatter: flat(rotation.scatter(&keys).tables()),
                key_weights: keys.clone(),
            }
        });
        Self {
            query_roots: query_weights(length, pairs).iter().map(|w| w.sqrt()).collect(),
            innovation_scales: keys.iter().enumerate().map(|(j, &w)| innovation_scale(j, w)).collect(),
            inverses: (0..length).map(|j| 1.0 / (j as f64 + 1.0)).collect(),
            rope,
        }
    }
}

/// What one head's interval comes down to.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadSums {
    /// `|S~|^2` over causal pairs at the eight corners, `[features][query weights][key weights]`.
    pub squares: [[[f64; 2]; 2]; 2],
    /// `<S~, S~'>` between the interval's ends.
    pub turning: f64,
    /// `|S~(x, W') - S~(x, W)|^2`.
    pub weights: f64,
    /// Its bound (6.2), times `d_h`.
    pub tight: f64,
    /// Sums over rows at the end: relative entropy over rows of two keys and more, over rows of eight and more, top-1.
    pub rows: [f64; 3],
    /// Largest logit at the end.
    pub s_max: f64,
    /// At the start, at the end, with both moments the identity.
    pub inners: [Inners; 3],
    /// `|mean W_Q|_F^2`, `|dW_Q|_F^2` and the same of W_K, biases included.
    pub weight_squares: [f64; 4],
}

/// What one layer's interval comes down to.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSums {
    /// Heads and positions.
    pub geometry: Geometry,
    /// Lengths of the probe sequences.
    pub lengths: Vec<usize>,
    /// One entry a head.
    pub heads: Vec<HeadSums>,
    /// The input at the start.
    pub basis: BasisSums,
}

impl LayerSums {
    /// Sections 3 to 6 for the interval: as [`crate::LayerChange::interval`].
    ///
    /// # Errors
    /// [`AnalysisError::StepSize`], [`AnalysisError::Shape`] for another number of step sizes than of heads.
    pub fn interval(&self, eta: &[f64]) -> Result<LayerInterval> {
        check_step_sizes(eta, self.heads.len())?;
        let (e, width) = (self.basis.energy(&self.lengths), (self.geometry.head_dim as f64).sqrt());
        let head = |(s, &eta): (&HeadSums, &f64)| {
            let prediction = Prediction::of(&s.inners, &self.geometry);
            let [q, dq, k, dk] = s.weight_squares;
            Ok(HeadInterval {
                accounting: self.sums(s).finish(causal_pairs(&self.lengths), self.geometry.head_dim),
                factors: factorize(&prediction, eta)?,
                prediction,
                bound: HeadBound { s: (dq + dk).sqrt(), e, omega: (q + k).sqrt() / width },
            })
        };
        let heads = self.heads.iter().zip(eta).map(head).collect::<Result<_>>()?;
        let e_max = energy_bound_of(self.basis.lambda_sq, self.basis.lambda_sk, &self.geometry);
        Ok(LayerInterval { heads, e_max })
    }

    fn sums(&self, s: &HeadSums) -> Sums {
        Sums {
            squares: s.squares,
            turning: s.turning,
            weights: s.weights,
            bound: s.tight,
            rows: RowStatistics::from_sums(&self.lengths, s.rows, s.s_max),
        }
    }

    /// Rows of a run's first probe: the state at the end.
    pub fn first_rows(&self, step: u32, layer: usize) -> Vec<ProbeRow> {
        let pairs = causal_pairs(&self.lengths);
        let now = |s: &HeadSums| state(&self.sums(s).rows, s.squares[1][1][1], pairs);
        let states: Vec<HeadState> = self.heads.iter().map(now).collect();
        let spread = |s: &HeadSums| Prediction::of(&s.inners, &self.geometry).a_hat_next;
        state_rows(step, layer, &states, &self.heads.iter().map(spread).collect::<Vec<_>>())
    }

    /// `sum_h |dM|_S^2` in the metric of the start: what the energy's shares are divided by.
    pub fn energy_total(&self) -> f64 {
        self.heads.iter().map(|h| h.inners[0].step()).sum::<f64>() / self.geometry.head_dim as f64
    }
}

/// Weights of the heads in the drift's derivative, from their inner products at the start and at the end.
pub fn drift_weights<'a>(heads: impl Iterator<Item = &'a [Inners; 3]>) -> DriftWeights {
    DriftWeights::of(heads.map(|h| [0, 1].map(|w| [0, 1].map(|x| h[x].square(w, w)))))
}

/// What one layer's attention input comes down to.
#[derive(Debug, Clone, PartialEq)]
pub struct BasisSums {
    /// `tr Sq` over the feature columns.
    pub trace_q: f64,
    /// `tr Sk` over the feature columns.
    pub trace_k: f64,
    /// `|Sk|_F^2`.
    pub square_k: f64,
    /// Upper bound on the largest eigenvalue of Sq, the constant column included.
    pub lambda_sq: f64,
    /// The same of Sk.
    pub lambda_sk: f64,
    /// The same of `X_b^T X_b` for every sequence.
    pub lambda_x: Vec<f64>,
}

impl BasisSums {
    /// Residual energy E (6.1): as [`crate::bound::residual_energy`].
    pub fn energy(&self, lengths: &[usize]) -> f64 {
        (self.lambda_x.iter().map(|l| l * l).sum::<f64>() / causal_pairs(lengths)).sqrt()
    }

    /// The layer's row of `probe_layers`.
    ///
    /// # Errors
    /// [`AnalysisError::NotFinite`] where the input was not.
    pub fn row(&self, step: u32, layer: usize, lengths: &[usize]) -> Result<ProbeLayerRow> {
        if !(self.trace_q.is_finite() && self.trace_k.is_finite()) {
            let what = format!("the attention input of layer {layer}");
            return Err(AnalysisError::NotFinite { what, row: 0, col: 0 });
        }
        let b = Basis::of(self.trace_q, self.trace_k, self.square_k);
        Ok(ProbeLayerRow {
            step,
            layer: layer as u16,
            eff_rank: b.effective_rank,
            distinct: b.token_distinct,
            tr_sq: self.trace_q,
            tr_sk: self.trace_k,
            lambda_sq: self.lambda_sq,
            lambda_sk: self.lambda_sk,
            lambda_x: self.energy(lengths) * to_lambda(lengths),
        })
    }
}
