//! On a device: one launch updates every parameter, over a table of chunks made once.

use bytemuck::{Pod, Zeroable};

use super::{Decay, HeadUpdateStats, Rule, Segment, Update};
use crate::error::{Error, Result, shape_error};
use crate::gpu::{Buffer, Elem, Gpu, Grid, Slice, Staging, int};

/// Elements of one block's chunk.
const CHUNK: usize = 16_384;
/// `Step` of optimizer.cu: lr, beta1 (or momentum), beta2, eps, decay, two bias corrections, largest norm.
const STEP: usize = 8;
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
    pub decay: Decay,
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
    group: u32,
    decay: u32,
    /// -1: none.
    slice: i32,
}

struct Chunk {
    start: usize,
    len: usize,
    group: usize,
    decay: Decay,
    slot: Option<usize>,
}

/// Chunks of all parameters, ordered by statistics slot, and room for what they leave behind.
pub struct Table {
    chunks: Vec<Chunk>,
    /// The arrays that the chunks on the device point into.
    current: [u64; 4],
    total: usize,
    slots: usize,
    groups: usize,
    device: Buffer,
    /// The step's constants and the groups' multipliers, as bits.
    constants: Buffer,
    staging: [Staging; 2],
    turn: usize,
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
            constants: gpu.zeros(Elem::U32, STEP + groups)?,
            staging: [Staging::new(gpu, STEP + groups)?, Staging::new(gpu, STEP + groups)?],
            turn: 0,
            chunks,
            current: [0; 4],
            total,
            slots,
            groups,
        })
    }

    fn check(&self, a: &Arrays<'_>) -> Result<()> {
        const OP: &str = "optimizer";
        for (what, s) in [("param", a.param), ("grad", a.grad), ("m", a.m), ("v", a.v)] {
            s.check(OP, what, Elem::F32, self.total)?;
        }
        Ok(())
    }

    /// Point the chunks on the device into these arrays; waits for the device where they were others.
    fn place(&mut self, a: &Arrays<'_>) -> Result<()> {
        self.check(a)?;
        let arrays = [a.param, a.grad, a.m, a.v].map(|s| s.address());
        if self.current == arrays {
            return Ok(());
        }
        let chunk = |c: &Chunk| {
            let offset = (c.start * Elem::F32.bytes()) as u64;
            DeviceChunk {
                arrays: arrays.map(|a| a + offset),
                rows: 1,
                columns: c.len as u32,
                stride: c.len as u32,
                group: c.group as u32,
                decay: u32::from(c.decay == Decay::Applied),
                slice: c.slot.map_or(-1, |s| s as i32),
            }
        };
        let chunks: Vec<DeviceChunk> = self.chunks.iter().map(chunk).collect();
        self.device.all().write_u32(bytemuck::cast_slice(&chunks))?;
        self.current = arrays;
        Ok(())
    }

    /// Send an update's numbers ahead, in stream order and without waiting for it: what [`Table::clip`] and
    /// [`Table::step`] read of it, the largest gradient norm `limit` (0: none) included.
    ///
    /// `update.clip_scale` and `update.stats` are not read.
    ///
    /// # Errors
    /// `t = 0`, or another number of multipliers than groups.
    pub fn send(&mut self, update: &Update<'_>, limit: f32) -> Result<()> {
        const OP: &str = "optimizer";
        if update.t == 0 {
            return Err(Error::Unsupported { op: OP, message: "t counts updates from 1".into() });
        }
        let given = update.multipliers.len();
        if given != self.groups {
            return Err(shape_error(OP, "multipliers", &[given], format!("[{}]", self.groups)));
        }
        let (lr, decay) = (update.lr, update.weight_decay);
        let step: [f32; STEP] = match update.rule {
            Rule::AdamW { beta1, beta2, eps } => {
                let (beta1, beta2, eps) = (beta1 as f32, beta2 as f32, eps as f32);
                let correction = |b: f32| (1.0 - f64::from(b).powf(f64::from(update.t))) as f32;
                [lr, beta1, beta2, eps, decay, correction(beta1), correction(beta2), limit]
            }
            Rule::Sgd { momentum } => [lr, momentum as f32, 0.0, 0.0, decay, 1.0, 1.0, limit],
        };
        let words: Vec<u32> = step.iter().chain(update.multipliers).map(|v| v.to_bits()).collect();
        self.turn = 1 - self.turn;
        self.staging[self.turn].send(&words, self.constants.all())
    }

    /// Global gradient norm and clip factor into `clip [2]`. A NaN norm makes a NaN factor.
    ///
    /// # Errors
    /// Slices of other lengths or types.
    pub fn clip(&mut self, a: &Arrays<'_>, clip: Slice<'_>) -> Result<()> {
        const OP: &str = "gradient norm";
        clip.check(OP, "clip", Elem::F32, 2)?;
        self.place(a)?;
        let (gpu, partials) = (clip.gpu(), self.norm_partials.all());
        let grid = Grid::new([self.chunks.len(), 1, 1], 256);
        // SAFETY: the chunks lie in the arrays (checked when the table was made), whose lengths were checked.
        unsafe { gpu.launch("grad_norm_partials", grid, &[self.device.all().into(), partials.into()])? };
        let count = int(OP, self.chunks.len())?;
        let args = [partials.into(), clip.into(), count.into(), self.constants.all().into()];
        // SAFETY: as above.
        unsafe { gpu.launch("grad_norm_finish", Grid::new([1, 1, 1], 256), &args) }
    }

    /// Update every parameter in place by `rule` and the numbers that [`Table::send`] sent, with the clip factor on the
    /// device, and leave each chunk's statistics.
    ///
    /// # Errors
    /// Slices of other lengths or types.
    pub fn step(&mut self, a: &Arrays<'_>, rule: Rule, clip: Slice<'_>) -> Result<()> {
        clip.check("optimizer", "clip", Elem::F32, 2)?;
        self.place(a)?;
        let kernel = match rule {
            Rule::AdamW { .. } => "adamw",
            Rule::Sgd { .. } => "sgd",
        };
        let constants = self.constants.all();
        let args = [self.device.all().into(), constants.into(), clip.into(), self.stat_partials.all().into()];
        // SAFETY: as in `clip`; there is a multiplier for every group.
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
