//! Moments of every layer's attention input on the device, and their largest eigenvalues by repeated squaring.

use growthpath_analysis::AnalysisError;
use growthpath_analysis::reduced::BasisSums;
use growthpath_kernels::gpu::{Buffer, Elem, Gpu, Panel, Slice};
use growthpath_kernels::probe::Sizes;
use growthpath_kernels::probe::inputs::{self, Columns, Edge, Interleaved};
use growthpath_kernels::probe::moments::{PARTS, normalise, squares, traces, triangle};

use super::work::Work;
use crate::error::Result;
use crate::train::moments::KeyMoments;

/// Bytes of matrices that are squared at a time.
const AT_A_TIME: usize = 128 << 20;
/// Width of the bracket around an eigenvalue, relative, at which squaring stops.
const BRACKET: f64 = 1e-11;
/// Squarings at most: the bracket of equal eigenvalues is `ln d / 2^k` wide.
const SQUARINGS: usize = 40;

/// Moments of all layers and room to square them.
pub(super) struct Moments {
    sizes: Sizes,
    layers: usize,
    augmented: bool,
    /// Query and key moment of every layer, `[L][2][padded, padded]`.
    moments: Buffer,
    /// `X_b X_b^T` or `X_b^T X_b`, whichever is smaller, `[L][S][side, side]`.
    grams: Buffer,
    side: usize,
    scratch: [Buffer; 2],
    sums: Buffer,
    triangle: Buffer,
}

impl Moments {
    pub(super) fn new(gpu: &Gpu, sizes: Sizes, layers: usize, augmented: bool) -> Result<Self> {
        let columns = sizes.width + usize::from(augmented);
        let side = if sizes.length < columns { sizes.length } else { sizes.padded };
        let (moment, gram) = (sizes.padded * sizes.padded, side * side);
        let doubles = |len: usize| gpu.zeros(Elem::F64, len);
        let room = (chunk(moment) * moment).max(chunk(gram) * gram);
        let room = room.min((2 * layers * moment).max(layers * sizes.sequences * gram));
        Ok(Self {
            moments: doubles(layers * 2 * moment)?,
            grams: doubles(layers * sizes.sequences * gram)?,
            scratch: [doubles(room)?, doubles(room)?],
            sums: doubles(PARTS * layers * (2 + sizes.sequences))?,
            triangle: gpu.zeros(Elem::F32, columns * (columns + 1) / 2)?,
            sizes,
            layers,
            augmented,
            side,
        })
    }

    /// Work out the moments of every layer's `input`; with `grams` those of the sequences as well.
    pub(super) fn take<'a>(
        &self,
        gpu: &Gpu,
        input: &dyn Fn(usize) -> Result<Slice<'a>>,
        work: &Work,
        grams: bool,
    ) -> Result<()> {
        let (s, n, dp) = (&self.sizes, self.sizes.tokens(), self.sizes.padded);
        let (x, y) = (work.inputs.at(0, s.input())?, work.inputs.at(s.input(), s.input())?);
        let square = dp * dp;
        for l in 0..self.layers {
            widen_input(s, input(l)?, self.augmented, x)?;
            let all = Columns { pitch: dp, first: 0, count: dp };
            let gram = |number: usize| -> Result<()> {
                let to = Panel::new(self.moments.at((2 * l + number) * square, square)?, dp, dp);
                let rows = Panel::new(y, n, dp);
                Ok(gpu.gemm_f64(1, to, rows.t(), rows, 1.0)?)
            };
            inputs::scale_rows(s, x, y, work.tables.query_roots.all(), all)?;
            gram(0)?;
            inputs::innovations(s, x, y, work.tables.innovations())?;
            gram(1)?;
            if grams {
                let (side, count) = (self.side, s.sequences * self.side * self.side);
                let to = Panel::new(self.grams.at(l * count, count)?, side, side);
                let rows = Panel::new(x, s.length, dp);
                let small = side == s.length && side != dp;
                let (a, b) = if small { (rows, rows.t()) } else { (rows.t(), rows) };
                gpu.gemm_f64(s.sequences, to, a, b, 1.0)?;
            }
        }
        Ok(())
    }

    /// The key moments as a run keeps them.
    pub(super) fn key_moments(&self, step: u32) -> Result<KeyMoments> {
        let (dp, columns) = (self.sizes.padded, self.sizes.width + usize::from(self.augmented));
        let layer = |l: usize| -> Result<Vec<f32>> {
            triangle(self.moments.at((2 * l + 1) * dp * dp, dp * dp)?, dp, columns, self.triangle.all())?;
            Ok(self.triangle.all().read()?)
        };
        Ok(KeyMoments { step, layers: (0..self.layers).map(layer).collect::<Result<_>>()? })
    }

    /// Traces, squares and largest eigenvalues of every layer, after [`Moments::take`] with the sequences' matrices.
    pub(super) fn basis(&self, gpu: &Gpu) -> Result<Vec<BasisSums>> {
        let (dp, layers) = (self.sizes.padded, self.layers);
        let sums = self.sums.at(0, 2 * layers * PARTS)?;
        traces(self.moments.all(), dp, self.sizes.width, sums)?;
        let trace = totals(sums)?;
        squares(self.moments.all(), dp * dp, sums)?;
        let square = totals(sums)?;
        let lambdas = self.largest(gpu, self.moments.all(), dp)?;
        let inputs = self.largest(gpu, self.grams.all(), self.side)?;
        let layer = |l: usize| BasisSums {
            trace_q: trace[2 * l],
            trace_k: trace[2 * l + 1],
            square_k: square[2 * l + 1],
            lambda_sq: lambdas[2 * l],
            lambda_sk: lambdas[2 * l + 1],
            lambda_x: inputs[l * self.sizes.sequences..(l + 1) * self.sizes.sequences].to_vec(),
        };
        Ok((0..layers).map(layer).collect())
    }

    fn largest(&self, gpu: &Gpu, all: Slice<'_>, side: usize) -> Result<Vec<f64>> {
        let size = side * side;
        let count = all.len() / size;
        let mut out = Vec::with_capacity(count);
        for first in (0..count).step_by(chunk(size)) {
            let some = chunk(size).min(count - first);
            out.extend(self.squared(gpu, all.at(first * size, some * size)?, side)?);
        }
        Ok(out)
    }

    /// An upper bound on the largest eigenvalue of each positive semidefinite matrix, tight to [`BRACKET`].
    ///
    /// With `B_0 = A / tr A` and `B_{k+1} = B_k^2 / tr B_k^2`, `A^(2^k) = e^(L_k) B_k`, and `f_k = |B_k|_F^2 = tr B_k^2` brackets
    /// the largest eigenvalue of `B_k`, whose trace is one: `f_k <= mu <= sqrt(f_k)`. The root of the upper end bounds A's from
    /// above whatever the spectrum, and errors of a squaring are divided by `2^k`.
    fn squared(&self, gpu: &Gpu, a: Slice<'_>, side: usize) -> Result<Vec<f64>> {
        let size = side * side;
        let count = a.len() / size;
        let sums = self.sums.at(0, count * PARTS)?;
        let [mut now, mut next] = [self.scratch[0].at(0, a.len())?, self.scratch[1].at(0, a.len())?];
        traces(a, side, side, sums)?;
        let trace = totals(sums)?;
        if let Some(bad) = trace.iter().find(|t| !t.is_finite()) {
            let what = format!("largest eigenvalue of a {side} x {side} matrix of trace {bad}");
            return Err(AnalysisError::Decomposition { what }.into());
        }
        normalise(a, now, size, sums)?;
        let mut logs: Vec<f64> = trace.iter().map(|t| t.ln()).collect();
        let mut power = 1.0;
        for k in 0.. {
            squares(now, size, sums)?;
            let f = totals(sums)?;
            let open = |(f, t): (&f64, &f64)| *t > 0.0 && -0.5 * f.ln() > BRACKET * power;
            if k == SQUARINGS || !f.iter().zip(&trace).any(open) {
                let margin = 1.0 + 8.0 * (side as f64 + 1.0) * f64::EPSILON;
                let upper = |((l, f), t): ((&f64, &f64), &f64)| {
                    if *t > 0.0 { ((l + 0.5 * f.ln()) / power).exp() * margin } else { 0.0 }
                };
                return Ok(logs.iter().zip(&f).zip(&trace).map(upper).collect());
            }
            let panel = |s| Panel::new(s, side, side);
            gpu.gemm_f64(count, panel(next), panel(now), panel(now), 1.0)?;
            normalise(next, next, size, sums)?;
            logs.iter_mut().zip(&f).for_each(|(l, f)| *l = 2.0 * *l + f.ln());
            power *= 2.0;
            (now, next) = (next, now);
        }
        Ok(Vec::new())
    }
}

/// Matrices of `size` elements that are squared at a time.
fn chunk(size: usize) -> usize {
    (AT_A_TIME / (8 * size)).max(1)
}

fn totals(sums: Slice<'_>) -> Result<Vec<f64>> {
    Ok(sums.read_f64()?.chunks_exact(PARTS).map(|p| p.iter().sum()).collect())
}

/// An attention input as float64, its column of ones beside it where biases ask for one.
pub(super) fn widen_input(s: &Sizes, from: Slice<'_>, augmented: bool, to: Slice<'_>) -> Result<()> {
    let plain = Interleaved { group: s.tokens(), slots: 1, slot: 0 };
    Ok(inputs::widen(s, from, Edge::Constant(if augmented { 1.0 } else { 0.0 }), to, plain)?)
}
