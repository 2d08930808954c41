//! What one probe leaves on the device for the next: inputs, writes and weights as float32, as the passes made them.

use growthpath_analysis::reduced::BasisSums;
use growthpath_kernels::gpu::{Buffer, Elem, Gpu, Slice};
use growthpath_kernels::probe::Sizes;

use crate::error::Result;
use crate::model::{DeviceForward, ModelConfig};

/// One probe's state.
pub(super) struct Taken {
    sizes: Sizes,
    /// `[L][n, d]`.
    inputs: Buffer,
    /// Those that some layer's attention reads, `[2 L - 1][n, d]`.
    writes: Buffer,
    /// `[L][n]`.
    rstd: Buffer,
    /// `[L][d]`.
    gains: Buffer,
    /// Query and key rows, `[L][2 D, d]`.
    weights: Buffer,
    /// `[L][2 D]`, in the arms that have them.
    biases: Option<Buffer>,
    /// One entry a layer; empty before the first probe.
    pub(super) basis: Vec<BasisSums>,
}

fn part(buffer: &Buffer, number: usize, len: usize) -> Result<Slice<'_>> {
    Ok(buffer.at(number * len, len)?)
}

impl Taken {
    /// Room for a probe of a model.
    pub(super) fn new(gpu: &Gpu, c: &ModelConfig, sizes: Sizes) -> Result<Self> {
        let floats = |len: usize| gpu.zeros(Elem::F32, len);
        let (l, d, stream) = (c.layers, sizes.width, sizes.tokens() * sizes.width);
        Ok(Self {
            inputs: floats(l * stream)?,
            writes: floats((2 * l - 1) * stream)?,
            rstd: floats(l * sizes.tokens())?,
            gains: floats(l * d)?,
            weights: floats(l * 2 * sizes.columns() * d)?,
            biases: if c.bias { Some(floats(l * 2 * sizes.columns())?) } else { None },
            basis: Vec::new(),
            sizes,
        })
    }

    /// Copy what a finished pass holds.
    pub(super) fn fill(&mut self, pass: &DeviceForward, layers: usize) -> Result<()> {
        for l in 0..layers {
            self.input(l)?.copy_from(pass.input(l)?)?;
            self.rstd(l)?.copy_from(pass.rstd(l)?)?;
            self.gain(l)?.copy_from(pass.gain(l)?)?;
            self.weight(l)?.copy_from(pass.qk_weight(l)?)?;
            if let (Some(to), Some(from)) = (self.bias(l)?, pass.qk_bias(l)?) {
                to.copy_from(from)?;
            }
        }
        let len = self.sizes.tokens() * self.sizes.width;
        for k in 0..2 * layers - 1 {
            part(&self.writes, k, len)?.copy_from(pass.write(k)?)?;
        }
        Ok(())
    }

    pub(super) fn input(&self, layer: usize) -> Result<Slice<'_>> {
        part(&self.inputs, layer, self.sizes.tokens() * self.sizes.width)
    }

    pub(super) fn rstd(&self, layer: usize) -> Result<Slice<'_>> {
        part(&self.rstd, layer, self.sizes.tokens())
    }

    pub(super) fn gain(&self, layer: usize) -> Result<Slice<'_>> {
        part(&self.gains, layer, self.sizes.width)
    }

    pub(super) fn weight(&self, layer: usize) -> Result<Slice<'_>> {
        part(&self.weights, layer, 2 * self.sizes.columns() * self.sizes.width)
    }

    pub(super) fn bias(&self, layer: usize) -> Result<Option<Slice<'_>>> {
        self.biases.as_ref().map(|b| part(b, layer, 2 * self.sizes.columns())).transpose()
    }

    /// The first `count` writes.
    pub(super) fn writes(&self, count: usize) -> Result<Slice<'_>> {
        Ok(self.writes.at(0, count * self.sizes.tokens() * self.sizes.width)?)
    }
}
