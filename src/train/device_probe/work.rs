//! Device memory that a probe works in, reserved once: one layer's arrays, and what is left of every layer.

use growthpath_analysis::Geometry;
use growthpath_analysis::reduced::MetricTables;
use growthpath_kernels::gpu::{Buffer, Elem, Gpu};
use growthpath_kernels::probe::grams::{INNERS, RopeTables};
use growthpath_kernels::probe::inputs::{InnovationScales, RopeWeights};
use growthpath_kernels::probe::logits::{ROW_VALUES, growing_blocks, tiles};
use growthpath_kernels::probe::{Sizes, shares};

use crate::error::Result;

/// Query rows whose logits are worked out at a time.
pub(super) const ROWS: usize = 256;
/// Blocks of the inner products with whole inputs.
const INPUT_BLOCKS: usize = 64;

/// Weights of positions on the device.
pub(super) struct Tables {
    pub query_roots: Buffer,
    innovation_scales: Buffer,
    inverses: Buffer,
    pub rope: Option<Rope>,
}

/// What rotary arms need beside.
pub(super) struct Rope {
    pub cos: Buffer,
    pub sin: Buffer,
    weights: Buffer,
    roots: Buffer,
    total: f64,
    average: Buffer,
    scatter: Buffer,
}

fn upload(gpu: &Gpu, values: &[f64]) -> Result<Buffer> {
    let buffer = gpu.zeros(Elem::F64, values.len())?;
    buffer.all().write_f64(values)?;
    Ok(buffer)
}

impl Tables {
    fn new(gpu: &Gpu, geometry: &Geometry, sizes: &Sizes) -> Result<Self> {
        let t = MetricTables::new(geometry, sizes.sequences, sizes.length);
        let rope = match &t.rope {
            None => None,
            Some(r) => Some(Rope {
                cos: upload(gpu, &r.cos)?,
                sin: upload(gpu, &r.sin)?,
                weights: upload(gpu, &r.key_weights)?,
                roots: upload(gpu, &r.key_roots)?,
                total: r.key_weights.iter().sum(),
                average: upload(gpu, &r.average)?,
                scatter: upload(gpu, &r.scatter)?,
            }),
        };
        Ok(Self {
            query_roots: upload(gpu, &t.query_roots)?,
            innovation_scales: upload(gpu, &t.innovation_scales)?,
            inverses: upload(gpu, &t.inverses)?,
            rope,
        })
    }

    pub(super) fn innovations(&self) -> InnovationScales<'_> {
        InnovationScales { scale: self.innovation_scales.all(), inverse: self.inverses.all() }
    }
}

impl Rope {
    pub(super) fn weights(&self) -> RopeWeights<'_> {
        RopeWeights { weights: self.weights.all(), roots: self.roots.all(), total: self.total }
    }

    pub(super) fn tables(&self) -> RopeTables<'_> {
        RopeTables { average: self.average.all(), scatter: self.scatter.all() }
    }
}

/// Arrays of one layer's interval, and of rotary arms alone where a pair says so.
pub(super) struct Work {
    pub tables: Tables,
    /// Old and new, `[2][n, padded]`.
    pub inputs: Buffer,
    /// `[4 D, padded]`, and midpoints and steps of the same.
    pub weights: Buffer,
    pub weight_planes: Buffer,
    /// `[2 n, 4 D]`, and turned.
    pub projected: Buffer,
    pub turned: Option<Buffer>,
    /// `[2][2][H][n][2 d_h]`, and their mean over both ends.
    pub planes: Buffer,
    pub mean_planes: Buffer,
    /// `[3][2][H][2 d_h, 2 d_h]` and the numbers of it.
    pub grams: Buffer,
    pub inners: Buffer,
    /// `[2][H][S][2 d_h]`, their mean over both ends, and their Gram matrices.
    pub means: Option<[Buffer; 3]>,
    /// Weights of the heads in the drift, `[H][2]`.
    pub alpha: Buffer,
    /// `[H]` matrices for the energy, `[2][H]` for the drift; rows' and means' of the averages' transposes.
    pub pull_energy: Buffer,
    pub pull_drift: Buffer,
    pub pulled: Option<[Buffer; 2]>,
    /// What came back to the mean keys, `[H][S][2 d_h]`.
    pub pulled_means: Option<Buffer>,
    /// By projected keys, `[n, 2 D]`, and by everything projected, `[n, 4 D]`.
    pub by_energy: Buffer,
    pub by_drift: Buffer,
    /// By the input, `[n, padded]`: energy, drift.
    pub gradients: [Buffer; 2],
    /// By the stream, `[n, d]`: energy, drift at the start, drift at the end.
    pub stream: [Buffer; 3],
    /// Rows of the tight bound.
    pub tight_rows: [Buffer; 2],
    pub logits: Buffer,
    pub rows: Buffer,
    pub write_partials: Buffer,
    pub input_partials: Buffer,
    /// What is left of every layer: `[L][..]` of [`Left`].
    pub left: Buffer,
}

/// Where a layer's results lie: heads' totals, the tight bound's parts, inner products of writes and of inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub heads: (usize, usize),
    pub tight: (usize, usize),
    pub writes: (usize, usize),
    pub inputs: (usize, usize),
    pub total: usize,
}

impl Left {
    pub(super) fn new(sizes: &Sizes, layers: usize) -> Self {
        let heads = sizes.heads * ROW_VALUES;
        let tight = sizes.heads * sizes.sequences * growing_blocks(sizes.length) * tiles(sizes);
        let writes = (2 * layers - 1) * 4;
        Self {
            heads: (0, heads),
            tight: (heads, tight),
            writes: (heads + tight, writes),
            inputs: (heads + tight + writes, 4),
            total: heads + tight + writes + 4,
        }
    }
}

impl Work {
    pub(super) fn new(gpu: &Gpu, geometry: &Geometry, s: &Sizes, layers: usize) -> Result<Self> {
        let doubles = |len: usize| gpu.zeros(Elem::F64, len);
        let tables = Tables::new(gpu, geometry, s)?;
        let rope = tables.rope.is_some();
        let (n, d2, g) = (s.tokens(), 2 * s.columns(), s.heads * s.gram());
        let stream = n * s.width;
        let rows = ROWS.min(s.length);
        let means = s.heads * s.sequences * 2 * s.head_dim;
        Ok(Self {
            inputs: doubles(2 * s.input())?,
            weights: doubles(2 * d2 * s.padded)?,
            weight_planes: doubles(2 * d2 * s.padded)?,
            projected: doubles(2 * s.projected())?,
            turned: if rope { Some(doubles(2 * s.projected())?) } else { None },
            planes: doubles(2 * s.projected())?,
            mean_planes: doubles(s.projected())?,
            grams: doubles(6 * g)?,
            inners: doubles(3 * s.heads * INNERS)?,
            means: if rope { Some([doubles(2 * means)?, doubles(means)?, doubles(2 * g)?]) } else { None },
            alpha: doubles(2 * s.heads)?,
            pull_energy: doubles(g)?,
            pull_drift: doubles(2 * g)?,
            pulled: if rope { Some([doubles(g)?, doubles(g)?]) } else { None },
            pulled_means: if rope { Some(doubles(means)?) } else { None },
            by_energy: doubles(n * d2)?,
            by_drift: doubles(n * 2 * d2)?,
            gradients: [doubles(s.input())?, doubles(s.input())?],
            stream: [doubles(stream)?, doubles(stream)?, doubles(stream)?],
            tight_rows: [doubles(n * d2)?, doubles(n * d2)?],
            logits: doubles(8 * s.heads * rows * s.length)?,
            rows: doubles(s.heads * n * ROW_VALUES)?,
            write_partials: doubles(shares::blocks(stream) * (2 * layers - 1) * 4)?,
            input_partials: doubles(INPUT_BLOCKS * 4)?,
            left: doubles(layers * Left::new(s, layers).total)?,
            tables,
        })
    }
}
