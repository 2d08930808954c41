//! What the trainer captures of one layer at one probe time.

use faer::Mat;
use serde::{Deserialize, Serialize};

use crate::error::{AnalysisError, Result, shape};

/// How positions enter the logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Nothing is rotated: learned positions in the stream, or none.
    Plain,
    /// Rotary positions in the rotate-half convention: coordinates `i` and `i + d_h/2` form a
    /// plane, turned by `position * base^(-2i/d_h)`.
    Rope {
        /// Base of the geometric frequencies (10,000 in LLaMA).
        base: f64,
    },
    /// Rotary positions on part of a head (GPT-NeoX, Phi): planes of coordinates `i` and `i + d_h/2` as above, of which
    /// the first `rotary / 2` turn by `position * base^(-2i/rotary)` and the rest stand still.
    PartialRope {
        /// Base of the geometric frequencies.
        base: f64,
        /// Coordinates that turn, even and at most `d_h`.
        rotary: usize,
    },
}

impl Positions {
    /// Angle by which plane `plane` of a head turns from one position to the next; `None` where nothing turns at all.
    pub(crate) fn frequency(self, plane: usize, head_dim: usize) -> Option<f64> {
        let (base, rotary) = match self {
            Self::Plain => return None,
            Self::Rope { base } => (base, head_dim),
            Self::PartialRope { base, rotary } => (base, rotary),
        };
        let turns = 2 * plane < rotary;
        Some(if turns { base.powf(-2.0 * plane as f64 / rotary as f64) } else { 0.0 })
    }
}

/// Heads of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Geometry {
    /// Number of heads H.
    pub heads: usize,
    /// Width of a head, d_h.
    pub head_dim: usize,
    /// Positions.
    pub positions: Positions,
}

impl Geometry {
    /// Checks that the numbers can describe an attention layer.
    ///
    /// # Errors
    /// No heads, no width, an odd width with rotary positions, or a base that is not positive.
    pub fn validate(&self) -> Result<()> {
        let fail = |reason: String| Err(AnalysisError::Geometry(reason));
        if self.heads == 0 || self.head_dim == 0 {
            return fail(format!("heads = {}, head_dim = {}; both must be >= 1", self.heads, self.head_dim));
        }
        if let Positions::PartialRope { rotary, .. } = self.positions
            && (rotary == 0 || rotary % 2 == 1 || rotary > self.head_dim)
        {
            return fail(format!(
                "rotary coordinates must be even, 2 to head_dim = {}, found {rotary}",
                self.head_dim
            ));
        }
        if let Positions::Rope { base } | Positions::PartialRope { base, .. } = self.positions {
            if self.head_dim % 2 == 1 {
                return fail(format!("rotary positions need an even head_dim, found {}", self.head_dim));
            }
            if !(base.is_finite() && base > 0.0) {
                return fail(format!("rotary base must be finite and positive, found {base}"));
            }
        }
        Ok(())
    }

    /// Columns of W_Q and W_K: `H * d_h`.
    pub fn columns(&self) -> usize {
        self.heads * self.head_dim
    }
}

/// One layer at one probe time: the attention inputs and the query and key weights.
///
/// # Shapes
/// `x`: one `T x d` matrix per probe sequence (lengths may differ); `wq`, `wk`: `d x (H*d_h)`, head
/// `h` in columns `h*d_h..(h+1)*d_h`. With biases, `x` has a last column of ones and the weights a
/// last row of biases; `d` is the augmented width then.
#[derive(Debug, Clone)]
pub struct LayerState {
    /// Normalised attention input, gain and bias of the norm included, one matrix a sequence.
    pub x: Vec<Mat<f64>>,
    /// Query weights.
    pub wq: Mat<f64>,
    /// Key weights.
    pub wk: Mat<f64>,
}

impl LayerState {
    /// Width d, the bias column included.
    pub fn width(&self) -> usize {
        self.wq.nrows()
    }

    /// Sequence lengths.
    pub fn lengths(&self) -> Vec<usize> {
        self.x.iter().map(Mat::nrows).collect()
    }

    /// Whether the last input column is the constant one that carries the biases.
    pub fn is_augmented(&self) -> bool {
        is_augmented(&self.x)
    }

    /// Checks shapes and finiteness against a geometry.
    ///
    /// # Errors
    /// [`AnalysisError::Geometry`], [`AnalysisError::Shape`] or [`AnalysisError::NotFinite`].
    pub fn validate(&self, geometry: &Geometry) -> Result<()> {
        geometry.validate()?;
        let (d, columns) = (self.width(), geometry.columns());
        if d == 0 {
            return Err(shape("wq", "at least one row", "none"));
        }
        for (name, w) in [("wq", &self.wq), ("wk", &self.wk)] {
            if w.shape() != (d, columns) {
                return Err(shape(
                    name,
                    format!("{d} x {columns}"),
                    format!("{} x {}", w.nrows(), w.ncols()),
                ));
            }
            finite(name, w)?;
        }
        if self.x.is_empty() {
            return Err(shape("x", "at least one probe sequence", "none"));
        }
        for (b, x) in self.x.iter().enumerate() {
            if x.ncols() != d || x.nrows() == 0 {
                return Err(shape(
                    format!("x[{b}]"),
                    format!("T x {d} with T >= 1"),
                    format!("{} x {}", x.nrows(), x.ncols()),
                ));
            }
            finite(&format!("x[{b}]"), x)?;
        }
        Ok(())
    }

    /// Checks that `next` can follow this state: same width, same sequences.
    ///
    /// # Errors
    /// As [`LayerState::validate`] on both, and [`AnalysisError::Shape`] where they differ.
    pub fn validate_pair(&self, next: &Self, geometry: &Geometry) -> Result<()> {
        self.validate(geometry)?;
        next.validate(geometry)?;
        self.matches(next)
    }

    /// The part of [`LayerState::validate_pair`] that compares the two states.
    pub(crate) fn matches(&self, next: &Self) -> Result<()> {
        if self.width() != next.width() {
            return Err(shape("width of the later state", self.width(), next.width()));
        }
        if self.lengths() != next.lengths() {
            return Err(shape(
                "sequence lengths of the later state",
                format!("{:?}", self.lengths()),
                format!("{:?}", next.lengths()),
            ));
        }
        Ok(())
    }
}

/// Whether every matrix ends in a column that is exactly one.
pub(crate) fn is_augmented(x: &[Mat<f64>]) -> bool {
    !x.is_empty()
        && x.iter().all(|m| m.ncols() > 0 && m.col_as_slice(m.ncols() - 1).iter().all(|&v| v == 1.0))
}

/// Rejects NaN and infinities.
pub(crate) fn finite(what: &str, m: &Mat<f64>) -> Result<()> {
    for col in 0..m.ncols() {
        if let Some(row) = m.col_as_slice(col).iter().position(|v| !v.is_finite()) {
            return Err(AnalysisError::NotFinite { what: what.to_owned(), row, col });
        }
    }
    Ok(())
}
