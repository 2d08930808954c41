//! A second backend over a copy of the parameters, for passes that keep what training does not.

use growthpath_kernels::attention::Shape;
use growthpath_kernels::gpu::{Buffer, Elem, Gpu, Slice, reduce};

use super::Cuda;
use super::weights::Weights;
use crate::error::Result;
use crate::model::Decoder;
use crate::model::params::Params;

impl Cuda {
    /// A copy of `model`'s parameters with room for forward passes over `sequences` of `length` tokens, without output
    /// logits.
    ///
    /// # Errors
    /// Too little device memory.
    pub(in crate::model) fn reading(
        gpu: &Gpu,
        model: &Decoder,
        (sequences, length): (usize, usize),
        storage: Elem,
    ) -> Result<Self> {
        let c = &model.config;
        let most = Shape { batch: sequences, seq_len: length, heads: c.heads, head_dim: c.head_dim() };
        let weights = Weights::new(gpu, &model.params, storage, None)?;
        Self::over(gpu, model, weights, most, storage, false)
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Type of the activations.
    pub fn storage(&self) -> Elem {
        self.storage
    }

    /// Take another backend's parameters over, of the same model.
    pub(in crate::model) fn take_parameters(&self, from: &Self) -> Result<()> {
        self.weights.copy_from(&from.weights)
    }

    /// Take the host's parameters over.
    pub(in crate::model) fn push_parameters(&self, params: &Params) -> Result<()> {
        self.weights.push(params)
    }

    /// Room for all parameters.
    pub(in crate::model) fn room_for_parameters(&self) -> Result<Buffer> {
        Ok(self.gpu.zeros(Elem::F32, self.weights.total)?)
    }

    /// Copy all parameters to `kept`.
    pub(in crate::model) fn keep_parameters(&self, kept: Buffer) -> Result<Buffer> {
        kept.all().copy_from(self.weights.param.all())?;
        Ok(kept)
    }

    /// Bring the host's parameters to those that were kept.
    pub(in crate::model) fn pull_parameters(&self, kept: &Buffer, params: &Params) -> Result<()> {
        self.weights.pull_from(kept, params)
    }

    /// A parameter as float32.
    pub(in crate::model) fn parameter(&self, index: usize) -> Result<Slice<'_>> {
        self.weights.param(index)
    }

    /// The rows of the batch last sent in a buffer of activations.
    pub(in crate::model) fn active_rows<'a>(&self, buffer: &'a Buffer) -> Result<Slice<'a>> {
        self.active(buffer)
    }

    /// Add a projection's bias to what [`super::super::Backend::linear_add_norm`] left of it in `write`.
    pub(in crate::model) fn add_bias(&self, write: &Buffer, bias: Option<usize>) -> Result<()> {
        match self.weights.param_opt(bias)? {
            Some(bias) => Ok(reduce::bias_add(self.active(write)?, bias)?),
            None => Ok(()),
        }
    }
}
