//! Sizes of attention.

use growthpath_statistics::Counted;

use crate::error::{Result, shape_error};

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Sequences B.
    pub batch: usize,
    /// Sequence length T.
    pub seq_len: usize,
    /// Heads H.
    pub heads: usize,
    /// Head width d_h.
    pub head_dim: usize,
}

impl Shape {
    /// `H * d_h`.
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// `B * T`.
    pub fn tokens(&self) -> usize {
        self.batch * self.seq_len
    }

    /// What a head's statistics run over.
    pub fn counted(&self) -> Counted {
        Counted { sequences: self.batch, seq_len: self.seq_len, head_dim: self.head_dim }
    }

    /// Every size is at least one and the largest product, `3 B T H d_h`, fits a usize.
    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        let sizes = [self.batch, self.seq_len, self.heads, self.head_dim];
        match sizes.iter().try_fold(3usize, |p, s| p.checked_mul(*s)) {
            Some(p) if p > 0 => Ok(()),
            _ => Err(shape_error(op, "(B, T, H, d_h)", &sizes, "sizes of at least one".into())),
        }
    }
}
