//! What a probe needs on a device beside matrix products, in float64: see `cuda/probe.cuh` for the layouts.
//!
//! Launchers check the length and type of every array, so that no kernel can leave its buffers; what is worked out of them,
//! and in which order, is the caller's. Nothing is waited for.

pub mod grams;
pub mod inputs;
pub mod logits;
pub mod moments;
pub mod shares;

use crate::error::Result;
use crate::gpu::{Arg, Elem, Grid, Slice, int};

/// Sizes of a probe: `S` sequences of `T` tokens through `H` heads of width `d_h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Sequences S.
    pub sequences: usize,
    /// Their length T.
    pub length: usize,
    /// Heads H.
    pub heads: usize,
    /// Width of a head d_h.
    pub head_dim: usize,
    /// Width of the attention input d, without the column that carries biases.
    pub width: usize,
    /// Columns of the augmented input, padded.
    pub padded: usize,
}

impl Sizes {
    /// Sizes with room for a column that carries biases.
    pub fn new(sequences: usize, length: usize, heads: usize, head_dim: usize, width: usize) -> Self {
        // Rows stay multiples of 64 bytes: the library's float64 products like aligned ones.
        Self { sequences, length, heads, head_dim, width, padded: (width + 1).next_multiple_of(8) }
    }

    /// Tokens `n = S T`.
    pub fn tokens(&self) -> usize {
        self.sequences * self.length
    }

    /// Columns of one side of one projection, `D = H d_h`.
    pub fn columns(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Elements of an augmented input, `[n, padded]`.
    pub fn input(&self) -> usize {
        self.tokens() * self.padded
    }

    /// Elements of the queries and keys of one input under old and new weights, `[n, 4 D]`.
    pub fn projected(&self) -> usize {
        self.tokens() * 4 * self.columns()
    }

    /// Elements of a head's matrix of midpoints and steps, `[2 d_h, 2 d_h]`.
    pub fn gram(&self) -> usize {
        4 * self.head_dim * self.head_dim
    }
}

/// Check that a float64 array has a length.
fn doubles(op: &'static str, what: &'static str, s: Slice<'_>, len: usize) -> Result<()> {
    s.check(op, what, Elem::F64, len)
}

/// A double as a kernel's argument.
fn double(v: f64) -> Arg {
    Arg::Address(v.to_bits())
}

fn ints<const N: usize>(op: &'static str, values: [usize; N]) -> Result<[Arg; N]> {
    let mut out = [Arg::NULL; N];
    for (to, v) in out.iter_mut().zip(values) {
        *to = int(op, v)?.into();
    }
    Ok(out)
}

/// # Safety
/// As [`crate::gpu::Gpu::launch`].
unsafe fn launch(kernel: &'static str, on: Slice<'_>, grid: Grid, args: &[&[Arg]]) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { on.gpu().launch(kernel, grid, &args.concat()) }
}
