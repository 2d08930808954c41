//! One step's statistics: a packed array on the device, and what the host reads out of it.

use growthpath_kernels::Stats;
use growthpath_kernels::activation::HiddenStats;
use growthpath_kernels::attention::accumulators::{backward, forward};
use growthpath_kernels::attention::{LogitGradStats, LogitStats, Shape};
use growthpath_kernels::cross_entropy::gpu::STATS as LOSS_STATS;
use growthpath_kernels::norm::WriteStats;
use growthpath_kernels::optimizer::gpu::{STATS as SLICE_STATS, slice_stats};

use crate::model::{LayerStats, ModelConfig, StepStats};

/// Where each part stands in the packed array: `(start, length)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub loss: (usize, usize),
    pub clip: (usize, usize),
    pub logits: (usize, usize),
    pub logit_grads: (usize, usize),
    pub energy: (usize, usize),
    pub common: (usize, usize),
    pub hidden_energy: (usize, usize),
    pub hidden_common: (usize, usize),
    pub slots: (usize, usize),
    pub total: usize,
}

impl Layout {
    pub(super) fn new(c: &ModelConfig) -> Self {
        let (l, h) = (c.layers, c.heads);
        let mut total = 0;
        let mut part = |len: usize| {
            let at = (total, len);
            // 16-byte alignment: some kernels store four floats at a time.
            total += len.next_multiple_of(4);
            at
        };
        let mut layout = Self {
            loss: part(LOSS_STATS),
            clip: part(2),
            logits: part(l * h * forward::COUNT),
            logit_grads: part(l * h * backward::COUNT),
            energy: part(2 * l * 4),
            common: part(2 * l),
            hidden_energy: part(l),
            hidden_common: part(l),
            slots: part(2 * l * h * SLICE_STATS),
            total: 0,
        };
        layout.total = total;
        layout
    }

    /// Read a step's array; the parts that only statistics fill are read where `stats`.
    pub(super) fn parse(&self, c: &ModelConfig, shape: Shape, packed: &[f32], stats: Stats) -> StepStats {
        let part = |(start, len): (usize, usize)| &packed[start..start + len];
        let (n, counted) = (shape.tokens(), shape.counted());
        let (loss, clip) = (part(self.loss), part(self.clip));
        let mut out = StepStats {
            loss: f64::from(loss[0]) / n as f64,
            max_logit: loss[1],
            grad_norm: f64::from(clip[0]),
            clip_scale: f64::from(clip[1]),
            layers: Vec::new(),
            logit_grads: Vec::new(),
            slots: Vec::new(),
        };
        if !stats.taken() {
            return out;
        }
        let (logits, _) = part(self.logits).as_chunks::<{ forward::COUNT }>();
        let (grads, _) = part(self.logit_grads).as_chunks::<{ backward::COUNT }>();
        let (energy, _) = part(self.energy).as_chunks::<4>();
        let (slots, _) = part(self.slots).as_chunks::<SLICE_STATS>();
        let (common, hidden, shared) =
            (part(self.common), part(self.hidden_energy), part(self.hidden_common));
        let f = c.hidden_width();
        let write = |i: usize| WriteStats::finish(n, energy[i].map(f64::from), f64::from(common[i]));
        for l in 0..c.layers {
            let heads = l * c.heads..(l + 1) * c.heads;
            out.layers.push(LayerStats {
                logits: logits[heads.clone()]
                    .iter()
                    .map(|t| LogitStats::finish(counted, &t.map(f64::from)))
                    .collect(),
                writes: [write(2 * l), write(2 * l + 1)],
                hidden: HiddenStats::finish(n, f, f64::from(hidden[l]), f64::from(shared[l])),
            });
            out.logit_grads.push(
                grads[heads].iter().map(|t| LogitGradStats::finish(counted, &t.map(f64::from))).collect(),
            );
        }
        out.slots = slots.iter().map(|t| slice_stats(*t)).collect();
        out
    }
}
