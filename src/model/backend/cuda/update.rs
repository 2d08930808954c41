//! The optimizer's update on a device, and the totals of a step's statistics.

use growthpath_kernels::activation::gpu::energy_width;
use growthpath_kernels::attention::accumulators::{backward, forward};
use growthpath_kernels::attention::gpu::partials;
use growthpath_kernels::cross_entropy;
use growthpath_kernels::gpu::reduce::{self, Totals};
use growthpath_kernels::optimizer::Update;
use growthpath_kernels::optimizer::gpu::Arrays;

use super::Cuda;
use crate::error::Result;

impl Cuda {
    /// Update every parameter with the gradients of the last backward, and add the step's statistics up.
    ///
    /// The update's numbers were sent when the step began; the clip factor is computed on the device.
    ///
    /// # Errors
    /// What a launch meets.
    pub(super) fn apply(&mut self, update: &Update<'_>) -> Result<()> {
        let w = &self.weights;
        let arrays = Arrays {
            param: w.param.all(),
            grad: w.grad.all(),
            m: w.m.all(),
            v: w.v.as_ref().unwrap_or(&w.m).all(),
        };
        let scale = self.packed.at(self.layout.clip.0, self.layout.clip.1)?;
        self.table.clip(&arrays, scale)?;
        self.table.step(&arrays, update.rule, scale)?;
        w.round()?;
        let mut sums = vec![self.losses_total()?];
        if !update.stats.taken() {
            return Ok(reduce::all_totals(&sums)?);
        }
        sums.extend(self.totals()?);
        reduce::all_totals(&sums)?;
        let (p, at, scale) = (&self.partials, &self.layout, 1.0 / self.shape.tokens() as f32);
        reduce::column_energy(p.column_totals.all(), scale, self.part(at.common)?)?;
        reduce::column_energy(p.hidden_totals.all(), scale, self.part(at.hidden_common)?)?;
        Ok(self.table.stats(self.part(at.slots)?)?)
    }

    fn losses_total(&self) -> Result<Totals<'_>> {
        let (p, width) = (&self.partials, cross_entropy::gpu::STATS);
        let chunks = self.shape.tokens().div_ceil(self.partials.chunk);
        let partial = p.losses.at(0, chunks * p.head_rows * width)?;
        let maxima = cross_entropy::gpu::STATS_MAXIMA;
        Ok(Totals::of(partial, 1, width, maxima, self.part(self.layout.loss)?))
    }

    /// All layers' partial sums to totals.
    fn totals(&self) -> Result<[Totals<'_>; 6]> {
        let (c, p, at) = (&self.config, &self.partials, &self.layout);
        let (layers, heads, d, f) = (c.layers, c.heads, c.width, c.hidden_width());
        let tiles = partials(self.shape, self.storage);
        let logits = p.logits.at(0, layers * heads * tiles * forward::COUNT)?;
        let grads = p.logit_grads.at(0, layers * heads * tiles * backward::COUNT)?;
        let energy = p.energy.at(0, 2 * layers * p.norm_rows * 4)?;
        let hidden = p.hidden_energy.at(0, layers * p.hidden_rows * energy_width(f))?;
        let (columns, hidden_columns) = (p.columns.all(), p.hidden_columns.all());
        Ok([
            // the most rows first
            Totals::of(columns, 2 * layers, d, 0, p.column_totals.all()),
            Totals::of(hidden_columns, layers, f, 0, p.hidden_totals.all()),
            Totals::of(logits, layers * heads, forward::COUNT, forward::MAXIMA, self.part(at.logits)?),
            Totals::of(grads, layers * heads, backward::COUNT, backward::MAXIMA, self.part(at.logit_grads)?),
            Totals::of(energy, 2 * layers, 4, 0, self.part(at.energy)?),
            Totals::of(hidden, layers, 1, 0, self.part(at.hidden_energy)?),
        ])
    }
}
