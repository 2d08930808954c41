//! On a device: one launch updates every parameter, over a table of chunks made once.

use bytemuck::{Pod, Zeroable};

use super::{HeadUpdateStats, Rule, Segment, Update};
use crate::error::{Error, Result, shape_error};
use crate::gpu::{Arg, Buffer, Elem, Gpu, Grid, Slice, int};

/// Elements of one block's chunk.
const CHUNK: usize = 16_384;
/// Words of one [`DeviceChunk`].
const WORDS: usize = size_of::<DeviceChunk>() / 4;
/// Columns of the slice statistics: `|G|^2`, max, `|W|^2`, `|dW|^2`, `<W, G>`, `<W, dW>`, `<G, dW>`.
pub const STATS: usize = 7;

/// One parameter's place in the arrays that hold all of them.
#[derive(Debug, Clone)]
pub struct Placed {
    /// First element.
    pub start: usize,
    /// Whether weight decay applies.
    pub decay: bool,
    /// Its runs, offsets relative to `start`.
    pub segments: Vec<Segment>,
}

/// The arrays that hold all parameters, gradients and moments, float32 and equally long.
#[derive(Debug, Clone, Copy)]
pub struct Arrays<'a> {
    /// Parameters.
    pub param: Slice<'a>,
    /// Gradients.
    pub grad: Slice<'a>,
    /// First moments.
    pub m: Slice<'a>,
    /// Second moments; the first again for SGD, which has none.
    pub v: Slice<'a>,
}

/// `Chunk` of optimizer.cu, which checks its size.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct DeviceChunk {
    /// Addresses of parameter, gradient, first and second moment.
    arrays: [u64; 4],
    rows: u32,
    columns: u32,
    stride: u32,
    multiplier: f32,
    decay: u32,
    /// -1: none.
    slice: i32,
}

struct Chunk {
    start: usize,
    len: usize,
    group: usize,
    decay: bool,
    slot: Option<usize>,
}

/// Chunks of all parameters, ordered by statistics slot, and room for what they leave behind.
pub struct Table {
    chunks: Vec<Chunk>,
    /// What the chunks on the device were made of.
    current: (Vec<f32>, [u64; 4]),
    total: usize,
    slots: usize,
    device: Buffer,
    begin: Buffer,
    norm_partials: Buffer,
    stat_partials: Buffer,
}

impl Table {
    /// Cut parameters into chunks; `slots` is the number of statistics slots, each of which some segment has.
    ///
    /// # Errors
    /// Segments that lie outside the arrays, a slot without a segment, too little free memory.
    pub fn new(gpu: &Gpu, parameters: &[Placed], groups: usize, slots: usize, total: usize) -> Result<Self> {
        const OP: &str = "optimizer table";
        let mut chunks = Vec::new();
        for p in parameters {
            for s in &p.segments {
                let start = p.start + s.start;
                if start + s.len > total || s.group >= groups || s.slot.is_some_and(|s| s >= slots) {
                    return Err(Error::Unsupported { op: OP, message: format!("{s:?} does not fit") });
                }
                for o in (0..s.len).step_by(CHUNK) {
                    chunks.push(Chunk {
                        start: start + o,
                        len: CHUNK.min(s.len - o),
                        group: s.group,
                        decay: p.decay,
                        slot: s.slot,
                    });
                }
            }
        }
        chunks.sort_by_key(|c| c.slot.unwrap_or(usize::MAX)); // stable: the order of sums is fixed
        let mut begin: Vec<u32> =
            (0..slots).map(|s| chunks.partition_point(|c| c.slot.is_some_and(|t| t < s)) as u32).collect();
        begin.push(chunks.partition_point(|c| c.slot.is_some()) as u32);
        if begin.windows(2).any(|w| w[0] >= w[1]) {
            return Err(Error::Unsupported { op: OP, message: "a statistics slot has no parameters".into() });
        }
        let n = chunks.len();
        Ok(Self {
            device: gpu.zeros(Elem::U32, n * WORDS)?,
            begin: gpu.upload_u32(&begin)?,
            norm_partials: gpu.zeros(Elem::F32, n)?,
            stat_partials: gpu.zeros(Elem::F32, n * STATS)?,
            chunks,
            current: (Vec::new(), [0; 4]),
            total,
            slots,
        })
    }

    fn check(&self, a: &Arrays<'_>) -> Result<()> {
        const OP: &str = "optimizer";
        for (what, s) in [("param", a.param), ("grad", a.grad), ("m", a.m), ("v", a.v)] {
            s.check(OP, what, Elem::F32, self.total)?;
        }
        Ok(())
    }

    /// Bring the chunks on the device up to date with the learning-rate multipliers.
    fn refresh(&mut self, a: &Arrays<'_>, multipliers: &[f32]) -> Result<()> {
        let arrays = [a.param, a.grad, a.m, a.v].map(|s| s.address());
        if self.current.0 == multipliers && self.current.1 == arrays {
            return Ok(());
        }
        let mut chunks = Vec::with_capacity(self.chunks.len());
        for c in &self.chunks {
            let multiplier = *multipliers.get(c.group).ok_or_else(|| {
                let want = format!("more than {}", c.group);
                shape_error("optimizer", "multipliers", &[multipliers.len()], want)
            })?;
            let offset = (c.start * Elem::F32.bytes()) as u64;
            chunks.push(DeviceChunk {
                arrays: arrays.map(|a| a + offset),
                rows: 1,
                columns: c.len as u32,
                stride: c.len as u32,
                multiplier,
                decay: u32::from(c.decay),
                slice: c.slot.map_or(-1, |s| s as i32),
            });
        }
        self.device.all().write_u32(bytemuck::cast_slice(&chunks))?;
        self.current = (multipliers.to_vec(), arrays);
        Ok(())
    }

    /// Global gradient norm and clip factor into `clip [2]`; `limit` 0 clips nothing. A NaN norm makes a NaN factor.
    ///
    /// # Errors
    /// Slices of other lengths or types.
    pub fn clip(&mut self, a: &Arrays<'_>, multipliers: &[f32], limit: f32, clip: Slice<'_>) -> Result<()> {
        const OP: &str = "gradient norm";
        self.check(a)?;
        clip.check(OP, "clip", Elem::F32, 2)?;
        self.refresh(a, multipliers)?;
        let (gpu, partials) = (clip.gpu(), self.norm_partials.all());
        let grid = Grid::new([self.chunks.len(), 1, 1], 256);
        // SAFETY: the chunks lie in the arrays (checked when the table was made), whose lengths were checked.
        unsafe { gpu.launch("grad_norm_partials", grid, &[self.device.all().into(), partials.into()])? };
        let args = [partials.into(), clip.into(), int(OP, self.chunks.len())?.into(), limit.into()];
        // SAFETY: as above.
        unsafe { gpu.launch("grad_norm_finish", Grid::new([1, 1, 1], 256), &args) }
    }

    /// Update every parameter in place with the clip factor on the device, and leave each chunk's statistics.
    ///
    /// `update.clip_scale` and `update.stats` are not read.
    ///
    /// # Errors
    /// Slices of other lengths or types, or `t = 0`.
    pub fn step(&mut self, a: &Arrays<'_>, update: &Update<'_>, clip: Slice<'_>) -> Result<()> {
        const OP: &str = "optimizer";
        self.check(a)?;
        clip.check(OP, "clip", Elem::F32, 2)?;
        if update.t == 0 {
            return Err(Error::Unsupported { op: OP, message: "t counts updates from 1".into() });
        }
        self.refresh(a, update.multipliers)?;
        let head =
            [self.device.all().into(), clip.into(), self.stat_partials.all().into(), Arg::Float(update.lr)];
        let decay = Arg::Float(update.weight_decay);
        let (kernel, args) = match update.rule {
            Rule::AdamW { beta1, beta2, eps } => {
                let (beta1, beta2, eps) = (beta1 as f32, beta2 as f32, eps as f32);
                let correction = |b: f32| 1.0 - f64::from(b).powf(f64::from(update.t));
                let rest = [
                    Arg::Float(beta1),
                    Arg::Float(beta2),
                    Arg::Float(eps),
                    decay,
                    Arg::Float(correction(beta1) as f32),
                    Arg::Float(correction(beta2) as f32),
                ];
                ("adamw", [&head[..], &rest].concat())
            }
            Rule::Sgd { momentum } => ("sgd", [&head[..], &[Arg::Float(momentum as f32), decay]].concat()),
        };
        // SAFETY: as in `clip`.
        unsafe { clip.gpu().launch(kernel, Grid::new([self.chunks.len(), 1, 1], 256), &args) }
    }

    /// Totals of each slot into `out [slots, 7]`.
    ///
    /// # Errors
    /// A slice of another length or type.
    pub fn stats(&self, out: Slice<'_>) -> Result<()> {
        out.check("slice_stats", "out", Elem::F32, self.slots * STATS)?;
        let args = [self.stat_partials.all().into(), self.begin.all().into(), out.into()];
        // SAFETY: `begin` counts chunks of this table.
        unsafe { out.gpu().launch("slice_stats", Grid::new([1, self.slots, 1], 32), &args) }
    }
}

/// One slot's statistics from its totals.
pub fn slice_stats(totals: [f32; STATS]) -> HeadUpdateStats {
    let [g2, _, w2, d2, wg, wd, gd] = totals.map(f64::from);
    HeadUpdateStats { g2, g_max: totals[1], w2, d2, wg, wd, gd }
}
