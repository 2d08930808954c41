//! Logits of one head and sequence, block of query rows by block of query rows.

use faer::{Accum, Mat, MatRef};

use crate::linear::{mul_into, sum};

/// Query rows held at once: memory is `O(BLOCK * T)` a head whatever T is.
pub(crate) const BLOCK: usize = 64;

/// A block of query rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    /// First query row.
    pub first: usize,
    /// Number of query rows.
    pub rows: usize,
}

impl Block {
    /// Keys that any row of the block sees.
    pub(crate) fn keys(&self) -> usize {
        self.first + self.rows
    }

    /// The blocks that cover `length` rows.
    pub(crate) fn covering(length: usize) -> impl Iterator<Item = Self> {
        (0..length).step_by(BLOCK).map(move |first| Self { first, rows: BLOCK.min(length - first) })
    }
}

/// Keys by query rows of one block, reused from block to block: column `c` holds the logits of
/// query row `first + c`, of which the first `first + c + 1` are causal.
#[derive(Debug)]
pub(crate) struct LogitBlock {
    values: Mat<f64>,
}

impl LogitBlock {
    pub(crate) fn new(length: usize) -> Self {
        Self { values: Mat::zeros(length, BLOCK.min(length)) }
    }

    /// Sets (or adds to) the block `scale * K Q^T`.
    pub(crate) fn product(&mut self, block: Block, q: &Mat<f64>, k: &Mat<f64>, scale: f64, accum: Accum) {
        let keys: MatRef<'_, f64> = k.subrows(0, block.keys());
        let queries: MatRef<'_, f64> = q.subrows(block.first, block.rows);
        let target = self.values.as_mut().submatrix_mut(0, 0, block.keys(), block.rows);
        mul_into(target, accum, keys, queries.transpose(), scale);
    }

    /// Causal logits of the block's `c`-th query row.
    pub(crate) fn row(&self, block: Block, c: usize) -> &[f64] {
        &self.values.col_as_slice(c)[..=block.first + c]
    }

    /// As [`LogitBlock::row`], to be changed.
    pub(crate) fn row_mut(&mut self, block: Block, c: usize) -> &mut [f64] {
        &mut self.values.col_as_slice_mut(c)[..=block.first + c]
    }

    /// As [`LogitBlock::row`], centred in place: projection P for one row.
    pub(crate) fn centre(&mut self, block: Block, c: usize) {
        let row = self.row_mut(block, c);
        let mean = sum(row) / row.len() as f64;
        row.iter_mut().for_each(|v| *v -= mean);
    }
}
