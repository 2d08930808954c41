//! Causal-pair second moments of the attention input (section 4).

use faer::Mat;

use crate::error::{Result, shape};
use crate::layer::is_augmented;
use crate::linear::{gram, scale_rows, stack};
use crate::pairs::{causal_pairs, innovations, key_weights, query_weights};

/// Second moments of one layer's attention input over the causal pairs of all probe sequences.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Query moment `Sq = E_pairs[x_i x_i^T]`, `d x d`.
    pub sq: Mat<f64>,
    /// Key moment `Sk = E_pairs[(x_j - m_i)(x_j - m_i)^T]`, `d x d`, `m_i` the mean of the keys
    /// that row i sees. The row and column of a constant input column are zero.
    pub sk: Mat<f64>,
    /// Number of causal pairs.
    pub pairs: f64,
    /// Whether the last column is the constant one that carries biases.
    pub augmented: bool,
}

impl Moments {
    /// Moments of one matrix (`T x d`) a sequence; `O(sum T d^2)`.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Shape`] when there is no sequence, an empty one, or unequal widths.
    pub fn new(x: &[Mat<f64>]) -> Result<Self> {
        let width = x.first().map_or(0, Mat::ncols);
        if width == 0 {
            return Err(shape("x", "at least one sequence of at least one column", "none"));
        }
        if let Some(bad) = x.iter().find(|m| m.ncols() != width || m.nrows() == 0) {
            return Err(shape(
                "x",
                format!("T x {width} with T >= 1"),
                format!("{} x {}", bad.nrows(), bad.ncols()),
            ));
        }
        let lengths: Vec<usize> = x.iter().map(Mat::nrows).collect();
        let pairs = causal_pairs(&lengths);
        let mut queries = stack(x);
        let roots: Vec<f64> = lengths.iter().flat_map(|&t| query_weights(t, pairs)).map(f64::sqrt).collect();
        scale_rows(&mut queries, &roots);
        let weights: Vec<Vec<f64>> = lengths.iter().map(|&t| key_weights(t, pairs)).collect();
        let keys = innovations(x, &weights);
        let (sq, sk) = rayon::join(|| gram(queries.as_ref()), || gram(keys.as_ref()));
        Ok(Self { sq, sk, pairs, augmented: is_augmented(x) })
    }

    /// Columns that carry features: all but the constant one.
    fn features(&self) -> usize {
        self.sq.ncols() - usize::from(self.augmented)
    }

    /// `tr Sq` over the feature columns: mean square norm of the query-side input.
    pub fn trace_q(&self) -> f64 {
        (0..self.features()).map(|i| self.sq[(i, i)]).sum()
    }

    /// `tr Sk` over the feature columns: mean square distance of a key from its row's mean key.
    pub fn trace_k(&self) -> f64 {
        (0..self.features()).map(|i| self.sk[(i, i)]).sum()
    }
}
