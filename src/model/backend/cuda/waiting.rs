//! Gradients of vectors, whose partial rows wait to be added up together: one launch for many.

use growthpath_kernels::attention::Shape;
use growthpath_kernels::gpu::reduce::{self, Totals};
use growthpath_kernels::gpu::{Buffer, Elem, Gpu, Slice};

use super::weights::Weights;
use crate::error::Result;
use crate::model::ModelConfig;

/// Room for partial rows beyond one layer's, bytes: what a device's cache keeps, so that they never reach its memory.
const ROOM: usize = 24 << 20;

/// Partial rows of some gradients.
struct Sum {
    /// Where they start, how many numbers they are, and how many a row.
    start: usize,
    len: usize,
    pitch: usize,
    /// Which columns, and the gradient's place in the array of all.
    first: usize,
    to: (usize, usize),
}

/// Partial rows under way, in one buffer that is emptied when it is full.
pub(super) struct Waiting {
    buffer: Buffer,
    used: usize,
    sums: Vec<Sum>,
}

/// Partial rows that a kernel is about to write.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    start: usize,
    len: usize,
    pitch: usize,
}

impl Rows {
    /// The rows' thirds.
    pub(super) fn thirds(self) -> [Self; 3] {
        let len = self.len / 3;
        [0, 1, 2].map(|k| Self { start: self.start + k * len, len, ..self })
    }
}

impl Waiting {
    /// Room for one layer's partial rows, or for more layers' where they are small.
    pub(super) fn new(gpu: &Gpu, c: &ModelConfig, shape: Shape) -> Result<Self> {
        let norm_rows = reduce::norm_partials(gpu, shape.tokens(), c.width);
        let bias_rows = reduce::column_partials(gpu, shape.tokens());
        let up_rows = reduce::activation_partials(gpu, shape.tokens());
        let heads = if c.qk_norm { norm_rows * 2 * c.head_dim() } else { 0 };
        // Two norms' gains and biases, and the biases of the projections before them, here or of four projections.
        let layer = 6 * norm_rows * c.width + bias_rows * 5 * c.width + up_rows * c.up_width() + heads;
        let all = c.layers * layer + 3 * norm_rows * c.width;
        let len = all.min(ROOM / Elem::F32.bytes()).max(layer);
        Ok(Self { buffer: gpu.zeros(Elem::F32, len)?, used: 0, sums: Vec::new() })
    }

    /// Room for `rows` partial rows of `pitch` columns; what waits is added up first where there is none.
    pub(super) fn reserve(
        &mut self,
        gpu: &Gpu,
        weights: &Weights,
        rows: usize,
        pitch: usize,
    ) -> Result<Rows> {
        let len = rows * pitch;
        if self.used + len > self.buffer.len() {
            self.add_up(gpu, weights)?;
        }
        let start = self.used;
        self.buffer.at(start, len)?; // all there is too little for it
        // Every part starts where sixteen bytes can be stored at a time.
        self.used = (start + len).next_multiple_of(4);
        Ok(Rows { start, len, pitch })
    }

    /// The memory of partial rows.
    pub(super) fn rows(&self, rows: Rows) -> Result<Slice<'_>> {
        Ok(self.buffer.at(rows.start, rows.len)?)
    }

    /// Have the columns from `first` added up to the gradient of parameter `i`, when the others are.
    pub(super) fn push(&mut self, weights: &Weights, rows: Rows, first: usize, i: usize) {
        let Rows { start, len, pitch } = rows;
        self.sums.push(Sum { start, len, pitch, first, to: weights.extent(i) });
    }

    /// Forget what waits: what a pass that failed left behind.
    pub(super) fn clear(&mut self) {
        self.sums.clear();
        self.used = 0;
    }

    /// Add everything up that waits; some of the rows may have been written beside other work.
    pub(super) fn add_up(&mut self, gpu: &Gpu, weights: &Weights) -> Result<()> {
        gpu.join()?;
        let total = |s: &Sum| {
            Ok(Totals {
                partials: self.buffer.at(s.start, s.len)?,
                slices: 1,
                pitch: s.pitch,
                first: s.first,
                columns: s.to.1,
                max_mask: 0,
                out: weights.grad.at(s.to.0, s.to.1)?,
            })
        };
        let all = self.sums.iter().map(total).collect::<Result<Vec<_>>>()?;
        reduce::all_totals(&all)?;
        self.clear();
        Ok(())
    }
}
