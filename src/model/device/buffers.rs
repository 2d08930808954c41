//! Every activation and partial sum of a step, reserved once.

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

/// What a layer keeps for its backward; widths in elements a token.
pub(super) struct LayerBuffers {
    /// `3 d`.
    pub qkv: Buffer,
    /// `3 d`, and reciprocal RMS `2 H`: of a QK-norm arm.
    pub qk_norm: Option<(Buffer, Buffer)>,
    /// `d`.
    pub attended: Buffer,
    /// `H`.
    pub lse: Buffer,
    /// Stream after the attention write.
    pub mid: Normed,
    /// `f`, or `2 f` when gated.
    pub up: Buffer,
    /// `f`.
    pub hidden: Buffer,
    /// Stream after the feed-forward write.
    pub after: Normed,
}

/// A stream, its normalized form and the norm's moments.
pub(super) struct Normed {
    pub h: Buffer,
    pub x: Buffer,
    pub moments: Buffer,
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
    /// `[2, norm_rows, d]`: gain and bias gradients of one norm.
    pub gain: Buffer,
    /// Partial rows of bias gradients.
    pub bias_rows: usize,
    /// `[bias_rows, widest]`.
    pub bias: Buffer,
    /// `[norm_rows, 2, d_h]` and its totals `[2, d_h]`.
    pub qk_gain: Option<(Buffer, Buffer)>,
}

/// Gradients on their way down, widths in elements a token.
pub(super) struct Gradients {
    /// At the stream, two in turn: `d`.
    pub stream: [Buffer; 2],
    /// At a normalized stream, and at the attention's output: `d`.
    pub x: Buffer,
    /// `f`.
    pub hidden: Buffer,
    /// `f` or `2 f`.
    pub up: Buffer,
    /// `3 d`; two in a QK-norm arm.
    pub qkv: (Buffer, Option<Buffer>),
    /// `H`.
    pub delta: Buffer,
}

/// All of them.
pub(super) struct Buffers {
    pub first: Normed,
    pub layers: Vec<LayerBuffers>,
    /// The write under way: `d`.
    pub write: Buffer,
    /// `[chunk, padded V]`.
    pub logits: Buffer,
    /// Rows of a chunk of logits.
    pub chunk: usize,
    /// Losses of the tokens: `[N]`.
    pub losses: Buffer,
    pub grads: Gradients,
    pub partials: Partials,
}

impl Buffers {
    pub(super) fn new(gpu: &Gpu, c: &ModelConfig, shape: Shape, storage: Elem) -> Result<Self> {
        let (n, d, f, heads) = (shape.tokens(), c.width, c.hidden_width(), c.heads);
        let up = if c.ffn.gated() { 2 * f } else { f };
        let wide = |width: usize| gpu.zeros(storage, n * width);
        let float = |len: usize| gpu.zeros(Elem::F32, len);
        let normed = || -> Result<Normed> { Ok(Normed { h: wide(d)?, x: wide(d)?, moments: float(2 * n)? }) };
        let qk_norm = || -> Result<Option<(Buffer, Buffer)>> {
            Ok(if c.qk_norm { Some((wide(3 * d)?, float(2 * n * heads)?)) } else { None })
        };
        let mut layers = Vec::with_capacity(c.layers);
        for _ in 0..c.layers {
            layers.push(LayerBuffers {
                qkv: wide(3 * d)?,
                qk_norm: qk_norm()?,
                attended: wide(d)?,
                lse: float(n * heads)?,
                mid: normed()?,
                up: wide(up)?,
                hidden: wide(f)?,
                after: normed()?,
            });
        }
        let v = padded_vocabulary(c.vocab);
        let chunk = LOGIT_BYTES / (v * storage.bytes());
        let chunk = if chunk > LOGIT_ROWS { chunk / LOGIT_ROWS * LOGIT_ROWS } else { chunk.max(1) }.min(n);
        Ok(Self {
            first: normed()?,
            layers,
            write: wide(d)?,
            logits: gpu.zeros(storage, chunk * v)?,
            chunk,
            losses: float(n)?,
            grads: Gradients {
                stream: [wide(d)?, wide(d)?],
                x: wide(d)?,
                hidden: wide(f)?,
                up: wide(up)?,
                qkv: (wide(3 * d)?, if c.qk_norm { Some(wide(3 * d)?) } else { None }),
                delta: float(n * heads)?,
            },
            partials: Partials::new(gpu, c, shape, storage, n.div_ceil(chunk), up)?,
        })
    }
}

impl Partials {
    fn new(
        gpu: &Gpu,
        c: &ModelConfig,
        shape: Shape,
        storage: Elem,
        chunks: usize,
        up: usize,
    ) -> Result<Self> {
        let (n, d, f, layers) = (shape.tokens(), c.width, c.hidden_width(), c.layers);
        let float = |len: usize| gpu.zeros(Elem::F32, len);
        let norm_rows = reduce::partial_rows(gpu, n);
        let bias_rows = reduce::column_partials(gpu, n);
        let hidden_rows = bias_rows;
        let head_rows = reduce::partial_rows(gpu, n);
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
            losses: float(chunks * head_rows * cross_entropy::gpu::STATS)?,
            head_rows,
            gain: float(2 * norm_rows * d)?,
            bias_rows,
            bias: float(bias_rows * up.max(3 * d))?,
            qk_gain: if c.qk_norm {
                Some((float(norm_rows * 2 * c.head_dim())?, float(2 * c.head_dim())?))
            } else {
                None
            },
        })
    }
}
