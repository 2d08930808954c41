//! Contributions of upstream writes to an attention input, and sums against them.

use faer::{Accum, Mat};
use multiversion::multiversion;
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
    /// From the parts of the writes and the whole that they and the constant part add up to.
    pub fn of(writes: Vec<f64>, whole: f64) -> Self {
        Self { constant: whole - writes.iter().sum::<f64>(), writes }
    }

    /// Sum over writes and the constant part.
    pub fn total(&self) -> f64 {
        self.writes.iter().sum::<f64>() + self.constant
    }
}

/// How a norm makes the attention input from the residual stream h, token by token:
/// `x = gain * centre(h) * rstd + bias`, linear in the writes that h is the sum of, given its statistics.
#[derive(Debug, Clone, Copy)]
pub struct StreamNorm<'a> {
    /// Gain of every channel, `[d]`.
    pub gain: &'a [f32],
    /// `1 / rms` (LayerNorm: of the centred stream) of every token, sequences one after another.
    pub rstd: &'a [f32],
    /// Whether channels are centred first (LayerNorm).
    pub centred: bool,
}

/// Share of each write in the energy of the stream that it is part of: `<w_k, h> / |h|^2` over all tokens (2.3).
pub fn stream_shares<'a>(stream: &[f32], writes: impl Iterator<Item = &'a [f32]>) -> Vec<f64> {
    let h2 = dot_both_stored(stream, stream);
    writes.map(|w| dot_both_stored(w, stream) / h2).collect()
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn dot_stored(a: &[f64], b: &[f32]) -> f64 {
    let mut lanes = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * f64::from(*b);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * f64::from(*b)).sum();
    lanes.iter().sum::<f64>() + rest
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn dot_both_stored(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f64::from(*a) * f64::from(*b);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// `rows[i, j] = columns[j][first + i] * gain[j]`, then the norm's mean and root: one block of tokens.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn through_block(rows: &mut [f64], columns: &[&[f64]], first: usize, norm: &StreamNorm<'_>) {
    let d = columns.len();
    for (j, (column, gain)) in columns.iter().zip(norm.gain).enumerate() {
        let (count, gain) = (rows.len() / d, f64::from(*gain));
        for (i, g) in column[first..first + count].iter().enumerate() {
            rows[i * d + j] = g * gain;
        }
    }
    for (row, rstd) in rows.chunks_exact_mut(d).zip(&norm.rstd[first..]) {
        let rstd = f64::from(*rstd);
        let mean = if norm.centred { crate::linear::sum(row) / d as f64 } else { 0.0 };
        row.iter_mut().for_each(|g| *g = (*g - mean) * rstd);
    }
}

/// Derivative of a quantity by the residual stream, token after token.
#[derive(Debug, Clone)]
pub(crate) struct StreamGradient {
    /// `[tokens x d]`, row-major like the stream.
    rows: Vec<f64>,
}

impl StreamGradient {
    /// Inner product with a write, `[tokens x d]` row-major.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Shape`] for another size, [`crate::AnalysisError::NotFinite`].
    pub(crate) fn dot(&self, write: &[f32]) -> Result<f64> {
        if write.len() != self.rows.len() {
            return Err(shape("write", format!("{} values", self.rows.len()), write.len()));
        }
        let sum = dot_stored(&self.rows, write);
        if sum.is_finite() {
            return Ok(sum);
        }
        match write.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(crate::AnalysisError::NotFinite { what: "a write".to_owned(), row: at, col: 0 }),
            None => Ok(sum),
        }
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

    /// The derivative by the stream that the norm reads: the norm's linear map transposed.
    ///
    /// # Errors
    /// [`crate::AnalysisError::Shape`] when the norm is of another width or number of tokens.
    pub(crate) fn through(&self, norm: &StreamNorm<'_>) -> Result<StreamGradient> {
        let (d, tokens) = (norm.gain.len(), self.parts.iter().map(Mat::nrows).sum::<usize>());
        let width = self.parts.first().map_or(0, Mat::ncols);
        if !(width == d || width == d + 1) {
            return Err(shape(
                "norm gain",
                format!("{width} channels, or one fewer beside a bias column"),
                d,
            ));
        }
        if norm.rstd.len() != tokens {
            return Err(shape("norm statistics", format!("{tokens} tokens"), norm.rstd.len()));
        }
        // Tokens whose rows stay in the nearest cache while columns are read.
        const BLOCK: usize = 16;
        let mut rows = vec![0.0; tokens * d];
        let mut rest = &mut rows[..];
        let mut token = 0;
        for part in &self.parts {
            let columns: Vec<&[f64]> = (0..d).map(|j| part.col_as_slice(j)).collect();
            let (own, later) = rest.split_at_mut(part.nrows() * d);
            let norm = StreamNorm { rstd: &norm.rstd[token..token + part.nrows()], ..*norm };
            for (n, block) in own.chunks_mut(BLOCK * d).enumerate() {
                through_block(block, &columns, n * BLOCK, &norm);
            }
            (rest, token) = (later, token + part.nrows());
        }
        Ok(StreamGradient { rows })
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
