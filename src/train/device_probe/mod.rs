//! Probes on a GPU: the forward pass over a float32 copy of the parameters and the analysis in float64, where the model trains.
//!
//! The host reads a few numbers a head and writes the same rows as [`super::host_probe::HostProbes`] does; the formulas from sums to
//! rows are the analysis' own (`growthpath_analysis::reduced`). Where float64 is slow or memory short the host probes while
//! training goes on ([`super::beside`]).

mod interval;
mod moments;
mod taken;
#[cfg(test)]
mod tests;
mod work;

use candle_core::{DType, Device, Tensor, Var};
use growthpath_analysis::probe_rows::{first_share_rows, head_rows, share_rows};
use growthpath_analysis::reduced::LayerSums;
use growthpath_analysis::{AnalysisError, Geometry};
use growthpath_kernels::gpu::{Elem, Gpu};
use growthpath_kernels::probe::Sizes;

use self::interval::{Change, LayerDots, head_sums, write_shares};
use self::moments::Moments;
use self::taken::Taken;
use self::work::{Left, Work};
use super::activations::geometry;
use super::moments::KeyMoments;
use super::probe::{Measured, Measurement, ProbeRows, Probes, ProbesOn};
use crate::data::Batch;
use crate::error::Result;
use crate::model::backend::Cuda;
use crate::model::config::Norm;
use crate::model::params::{Params, Spec};
use crate::model::{Decoder, DeviceForward, ModelConfig};

/// Probes on a GPU.
pub(super) struct DeviceProbes {
    gpu: Gpu,
    config: ModelConfig,
    geometry: Geometry,
    sizes: Sizes,
    batch: Batch,
    pass: DeviceForward,
    moments: Moments,
    work: Work,
    /// Two probes in turn; the last one's place.
    taken: [Taken; 2],
    turn: usize,
    last: Option<u32>,
    /// What the parameters are, in the model's order.
    specs: Vec<Spec>,
}

impl DeviceProbes {
    /// Probes of `model` over fixed sequences.
    ///
    /// # Errors
    /// Too little device memory.
    pub(super) fn new(gpu: &Gpu, model: &Decoder, batch: Batch) -> Result<Self> {
        let c = model.config.clone();
        let sizes = Sizes::new(batch.rows, batch.context, c.heads, c.head_dim(), c.width);
        let geometry = geometry(model);
        let mut pass = DeviceForward::new(gpu, model, (batch.rows, batch.context), Elem::F32)?;
        // All that probes need is reserved here: what does not fit is to show before the first step.
        pass.keep()?;
        Ok(Self {
            pass,
            moments: Moments::new(gpu, sizes, c.layers, c.bias)?,
            work: Work::new(gpu, &geometry, &sizes, c.layers)?,
            taken: [Taken::new(gpu, &c, sizes)?, Taken::new(gpu, &c, sizes)?],
            turn: 0,
            last: None,
            specs: model.params.specs.clone(),
            gpu: gpu.clone(),
            config: c,
            geometry,
            sizes,
            batch,
        })
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.sizes.length; self.sizes.sequences]
    }

    /// Run the parameters that the pass holds and keep what the next probe needs, in the turn after the last one's.
    fn take(&mut self) -> Result<()> {
        self.pass.run(&self.batch.inputs, self.batch.context)?;
        self.pass.add_biases()?;
        let taken = &mut self.taken[1 - self.turn];
        taken.fill(&self.pass, self.config.layers)?;
        self.moments.take(&self.gpu, &|l| taken.input(l), &self.work, true)?;
        taken.basis = self.moments.basis(&self.gpu)?;
        self.pass.keep()?;
        self.turn = 1 - self.turn;
        Ok(())
    }

    /// The change of every layer, from `prev` to `now` (which are the same at a run's first probe).
    fn changes(&self, prev: &Taken, now: &Taken) -> Result<Vec<(LayerSums, Vec<f64>)>> {
        let layers = self.config.layers;
        let mut inners = Vec::with_capacity(layers);
        for layer in 0..layers {
            let change = Change {
                gpu: &self.gpu,
                sizes: &self.sizes,
                work: &self.work,
                prev,
                now,
                layer,
                layers,
                centred: self.config.norm == Norm::LayerNorm,
                augmented: self.config.bias,
            };
            inners.push(change.work_out(self.pass.stream(layer)?)?);
        }
        let at = Left::new(&self.sizes, layers);
        let left = self.work.left.all().read_f64()?;
        let layer = |((left, inners), prev): ((&[f64], Vec<_>), &_)| {
            let sums = LayerSums {
                geometry: self.geometry,
                lengths: self.lengths(),
                heads: head_sums(&self.sizes, left, &at, inners),
                basis: Clone::clone(prev),
            };
            (sums, left.to_vec())
        };
        Ok(left.chunks_exact(at.total).zip(inners).zip(&prev.basis).map(layer).collect())
    }
}

impl DeviceProbes {
    fn probe(&mut self, from: &Cuda, step: u32, eta: &[f64]) -> Result<(ProbeRows, KeyMoments)> {
        self.pass.take(from)?;
        self.take()?;
        let (now, prev) = (&self.taken[self.turn], &self.taken[1 - self.turn]);
        let changes = self.changes(if self.last.is_some() { prev } else { now }, now)?;
        let (at, mut rows) = (Left::new(&self.sizes, self.config.layers), ProbeRows::default());
        for (l, (sums, left)) in changes.iter().enumerate() {
            let dots = LayerDots::of(left, &at, l);
            let stream = dots.stream();
            rows.layers.push(now.basis[l].row(step, l, &sums.lengths)?);
            let Some(before) = self.last else {
                rows.heads.extend(sums.first_rows(step, l));
                rows.shares.extend(first_share_rows(step, l, &stream));
                continue;
            };
            if stream.iter().any(|s| !s.is_finite()) {
                let what = format!("a write before layer {l}");
                return Err(AnalysisError::NotFinite { what, row: 0, col: 0 }.into());
            }
            let interval = sums.interval(&vec![eta[l]; self.sizes.heads])?;
            rows.heads.extend(head_rows(step, before, l, &interval));
            let [energy, drift] = write_shares(sums, &dots);
            rows.shares.extend(share_rows(step, l, &stream, &energy, &drift));
        }
        self.last = Some(step);
        Ok((rows, self.moments.key_moments(step)?))
    }

    fn capture(&mut self, from: &Cuda, step: u32) -> Result<KeyMoments> {
        self.pass.take(from)?;
        self.pass.run(&self.batch.inputs, self.batch.context)?;
        self.moments.take(&self.gpu, &|l| self.pass.input(l), &self.work, false)?;
        self.moments.key_moments(step)
    }
}

impl Probes<Cuda> for DeviceProbes {
    fn on(&self) -> ProbesOn {
        ProbesOn::Device
    }

    fn reads_host(&self) -> bool {
        false
    }

    fn begin(&mut self, from: &Cuda, _: &Decoder, what: Measurement) -> Result<Option<Measured>> {
        let (rows, moments) = match what {
            Measurement::Probe { step, eta } => {
                let (rows, moments) = self.probe(from, step, &eta)?;
                (Some(rows), moments)
            }
            Measurement::Moments { step } => (None, self.capture(from, step)?),
        };
        Ok(Some(Measured { rows, moments, seconds_beside: 0.0 }))
    }

    fn restore(&mut self, probed: &Decoder, step: u32) -> Result<()> {
        self.pass.push(&probed.params)?;
        self.take()?;
        self.last = Some(step);
        Ok(())
    }

    fn probed(&self) -> Result<Vec<Tensor>> {
        let zeros = |s: &Spec| Var::zeros(s.shape.as_slice(), DType::F32, &Device::Cpu);
        let vars = self.specs.iter().map(zeros).collect::<candle_core::Result<Vec<_>>>()?;
        let params = Params { specs: self.specs.clone(), vars };
        self.pass.pull_kept(&params)?;
        Ok(params.vars.into_iter().map(|v| v.into_inner()).collect())
    }
}
