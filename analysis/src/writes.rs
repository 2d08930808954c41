//! Contributions of upstream writes to an attention input, and sums against them.

use faer::{Accum, Mat};
use serde::{Deserialize, Serialize};

use crate::error::{Result, shape};
use crate::layer::finite;
use crate::linear::{dot, mul_into, unstack};

/// Parts of a quantity that is linear in the upstream writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteShares {
    /// One entry a write, in the order given (embedding, attn_0, ffn_0, ...).
    pub writes: Vec<f64>,
    /// The rest of the attention input: norm bias and the constant bias column.
    pub constant: f64,
}

impl WriteShares {
    /// Sum over writes and the constant part.
    pub fn total(&self) -> f64 {
        self.writes.iter().sum::<f64>() + self.constant
    }
}

/// Derivative of a quantity by the attention input, one `T x d` matrix a sequence.
#[derive(Debug, Clone)]
pub(crate) struct InputGradient {
    parts: Vec<Mat<f64>>,
}

impl InputGradient {
    /// The zero gradient.
    pub(crate) fn new(lengths: &[usize], width: usize) -> Self {
        let rows = lengths.iter().sum();
        Self { parts: unstack(&Mat::zeros(rows, width), lengths) }
    }

    /// Adds `g V^T`, the pull-back of a gradient with respect to `X V`.
    pub(crate) fn add_projected(&mut self, g: &[Mat<f64>], v: &Mat<f64>) {
        for (part, g) in self.parts.iter_mut().zip(g) {
            mul_into(part.as_mut(), Accum::Add, g.as_ref(), v.transpose(), 1.0);
        }
    }

    /// Inner product with whole attention inputs (`T x d`, bias column included).
    pub(crate) fn dot_input(&self, x: &[Mat<f64>]) -> f64 {
        self.sum(x)
    }

    /// Inner product with a write's contribution; the columns it has.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Shape`] or [`crate::AnalysisError::NotFinite`].
    pub(crate) fn dot_write(&self, write: &[Mat<f64>]) -> Result<f64> {
        if write.len() != self.parts.len() {
            return Err(shape("write contribution", format!("{} sequences", self.parts.len()), write.len()));
        }
        for (b, (part, w)) in self.parts.iter().zip(write).enumerate() {
            let (rows, cols) = part.shape();
            // Without the constant bias column, contributions are one narrower than augmented inputs.
            if w.nrows() != rows || !(w.ncols() == cols || w.ncols() + 1 == cols) {
                return Err(shape(
                    format!("write contribution, sequence {b}"),
                    format!("{rows} x {cols}, or {rows} x {} beside a bias column", cols - 1),
                    format!("{} x {}", w.nrows(), w.ncols()),
                ));
            }
            finite(&format!("write contribution, sequence {b}"), w)?;
        }
        Ok(self.sum(write))
    }

    fn sum(&self, x: &[Mat<f64>]) -> f64 {
        self.parts
            .iter()
            .zip(x)
            .map(|(g, x)| (0..x.ncols()).map(|j| dot(g.col_as_slice(j), x.col_as_slice(j))).sum::<f64>())
            .sum()
    }
}
