//! Partial sums of a step's statistics, reserved once.

use growthpath_kernels::attention::{Shape, accumulators, gpu as attention};
use growthpath_kernels::gpu::{Buffer, Elem, Gpu, reduce};
use growthpath_kernels::{activation, cross_entropy};

use super::weights::padded_vocabulary;
use crate::error::Result;
use crate::model::ModelConfig;

/// Most bytes of logits that exist at the same time.
const LOGIT_BYTES: usize = 512 << 20;
/// Rows of a chunk of logits are a multiple of this where there are as many: products like whole tiles.
const LOGIT_ROWS: usize = 128;

/// Rows of logits that exist at the same time.
fn chunk(c: &ModelConfig, tokens: usize, storage: Elem) -> usize {
    let chunk = LOGIT_BYTES / (padded_vocabulary(c.vocab) * storage.bytes());
    if chunk > LOGIT_ROWS { chunk / LOGIT_ROWS * LOGIT_ROWS } else { chunk.max(1) }.min(tokens)
}

/// Partial sums, whose first dimension is the layer (and site).
pub(super) struct Partials {
    /// Partial rows of the norms.
    pub norm_rows: usize,
    /// `[2 L + 1, norm_rows, 4]`; the last is the first norm's, which has no write.
    pub energy: Buffer,
    /// `[2 L, norm_rows, d]`.
    pub columns: Buffer,
    /// `[2 L, d]`.
    pub column_totals: Buffer,
    /// Partial rows of the activation.
    pub hidden_rows: usize,
    /// `[L, hidden_rows, energy_width]`.
    pub hidden_energy: Buffer,
    /// `[L, hidden_rows, f]`.
    pub hidden_columns: Buffer,
    /// `[L, f]`.
    pub hidden_totals: Buffer,
    /// `[L, H, partials, 6]`.
    pub logits: Buffer,
    /// `[L, H, partials, 2]`.
    pub logit_grads: Buffer,
    /// `[chunks, head_rows, 2]`.
    pub losses: Buffer,
    /// Partial rows of one chunk of logits.
    pub head_rows: usize,
    /// Partial rows of bias gradients.
    pub bias_rows: usize,
    /// Rows of a chunk of logits.
    pub chunk: usize,
}

impl Partials {
    pub(super) fn new(gpu: &Gpu, c: &ModelConfig, shape: Shape, storage: Elem) -> Result<Self> {
        let (n, d, f, layers) = (shape.tokens(), c.width, c.hidden_width(), c.layers);
        let float = |len: usize| gpu.zeros(Elem::F32, len);
        let norm_rows = reduce::norm_partials(gpu, n, d);
        let bias_rows = reduce::column_partials(gpu, n);
        let hidden_rows = reduce::activation_partials(gpu, n);
        let chunk = chunk(c, n, storage);
        let head_rows = cross_entropy::gpu::partial_rows(gpu, storage, chunk, padded_vocabulary(c.vocab));
        let tiles = attention::partials(shape, storage);
        Ok(Self {
            norm_rows,
            energy: float((2 * layers + 1) * norm_rows * 4)?,
            columns: float(2 * layers * norm_rows * d)?,
            column_totals: float(2 * layers * d)?,
            hidden_rows,
            hidden_energy: float(layers * hidden_rows * activation::gpu::energy_width(f))?,
            hidden_columns: float(layers * hidden_rows * f)?,
            hidden_totals: float(layers * f)?,
            logits: float(layers * c.heads * tiles * accumulators::forward::COUNT)?,
            logit_grads: float(layers * c.heads * tiles * accumulators::backward::COUNT)?,
            losses: float(n.div_ceil(chunk) * head_rows * cross_entropy::gpu::STATS)?,
            head_rows,
            bias_rows,
            chunk,
        })
    }
}
