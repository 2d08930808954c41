//! Forward passes on a GPU that keep every write, over a copy of the parameters.

use growthpath_kernels::Stats;
use growthpath_kernels::gpu::{Buffer, Elem, Gpu, Slice};

use super::backend::{Backend, Cuda, Normed};
use super::network::Network;
use super::params::{Params, Role};
use super::{Decoder, ModelConfig};
use crate::error::{Error, Result};

/// A network on a GPU for forward passes alone: its own copy of the parameters, and every residual write kept.
pub struct DeviceForward {
    network: Network<Cuda>,
    config: ModelConfig,
    /// Of each layer: query, key and value projection, its bias, the gain of the norm before attention.
    attention: Vec<(usize, Option<usize>, usize)>,
    kept: Option<Buffer>,
}

impl DeviceForward {
    /// For `sequences` of `length` tokens through `model`; activations are stored as `storage`.
    ///
    /// # Errors
    /// Too little device memory.
    pub fn new(gpu: &Gpu, model: &Decoder, sizes: (usize, usize), storage: Elem) -> Result<Self> {
        let backend = Cuda::reading(gpu, model, sizes, storage)?;
        let attention = (0..model.config.layers)
            .map(|l| {
                let missing = || Error::usage(format!("layer {l} has no attention"));
                let find = |role| model.params.index(role, Some(l));
                let qkv = find(Role::Qkv).ok_or_else(missing)?;
                Ok((qkv, find(Role::QkvBias), find(Role::AttnNormGain).ok_or_else(missing)?))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            network: Network::new(backend, &model.config, model.index.clone(), true)?,
            config: model.config.clone(),
            attention,
            kept: None,
        })
    }

    /// Take over what is trained on `from`.
    ///
    /// # Errors
    /// Parameters of another model.
    pub fn take(&mut self, from: &Cuda) -> Result<()> {
        self.network.backend.take_parameters(from)
    }

    /// Take the host's parameters over.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn push(&mut self, params: &Params) -> Result<()> {
        self.network.backend.push_parameters(params)
    }

    /// Keep a copy of the parameters beside those that the next pass takes over.
    ///
    /// # Errors
    /// Too little device memory.
    pub fn keep(&mut self) -> Result<()> {
        let backend = &self.network.backend;
        let kept = match self.kept.take() {
            Some(kept) => kept,
            None => backend.room_for_parameters()?,
        };
        self.kept = Some(backend.keep_parameters(kept)?);
        Ok(())
    }

    /// Bring the host's parameters to those that were kept.
    ///
    /// # Errors
    /// When none were, or the device refuses.
    pub fn pull_kept(&self, params: &Params) -> Result<()> {
        match &self.kept {
            Some(kept) => self.network.backend.pull_parameters(kept, params),
            None => Err(Error::usage("no parameters were kept")),
        }
    }

    /// Run the blocks over `tokens`, sequences of `length`; writes are left without their projections' biases.
    ///
    /// # Errors
    /// Tokens that do not fit, or what the device met.
    pub fn run(&mut self, tokens: &[u32], length: usize) -> Result<()> {
        self.network.backend.send(tokens, tokens, length)?;
        self.network.forward(Stats::Off, &[])
    }

    /// Add to every write what the backend left out of it.
    ///
    /// # Errors
    /// What the device met.
    pub fn add_biases(&mut self) -> Result<()> {
        let network = &self.network;
        for (layer, i) in network.layers.iter().zip(&network.index().layers) {
            if let Some([attention, ffn]) = &layer.writes {
                network.backend.add_bias(attention, i.out.bias)?;
                network.backend.add_bias(ffn, i.down.bias)?;
            }
        }
        Ok(())
    }

    /// A layer's write with its bias, on the host, after a pass alone: as it stands in the stream, which takes both as float32.
    ///
    /// # Errors
    /// A write that the model does not have, or what the device met.
    pub fn whole_write(&self, k: usize) -> Result<Vec<f32>> {
        let mut write = self.write(k)?.read()?;
        let at = k.checked_sub(1).and_then(|k| self.network.index().layers.get(k / 2).map(|i| (k, i)));
        let bias = at.and_then(|(k, i)| if k % 2 == 0 { i.out.bias } else { i.down.bias });
        if let Some(bias) = bias {
            let bias = self.network.backend.parameter(bias)?.read()?;
            for row in write.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(&bias).for_each(|(w, b)| *w += b);
            }
        }
        Ok(write)
    }

    fn before(&self, layer: usize) -> &Normed<Buffer> {
        if layer == 0 { &self.network.first } else { &self.network.layers[layer - 1].after }
    }

    /// Attention input of a layer, `[n, d]`.
    ///
    /// # Errors
    /// None that a finished pass has.
    pub fn input(&self, layer: usize) -> Result<Slice<'_>> {
        self.network.backend.active_rows(&self.before(layer).x)
    }

    /// Residual stream before a layer, `[n, d]`.
    ///
    /// # Errors
    /// None that a finished pass has.
    pub fn stream(&self, layer: usize) -> Result<Slice<'_>> {
        self.network.backend.active_rows(&self.before(layer).h)
    }

    /// Reciprocal root of each token in the norm before a layer's attention, `[n]`.
    ///
    /// # Errors
    /// None that a finished pass has.
    pub fn rstd(&self, layer: usize) -> Result<Slice<'_>> {
        // Means come first.
        let both = self.network.backend.active_rows(&self.before(layer).mean_rstd)?;
        Ok(both.at(both.len() / 2, both.len() / 2)?)
    }

    /// Write number `k`, `[n, d]`: the embedding, attn_0, ffn_0, ...
    ///
    /// # Errors
    /// A write that the model does not have.
    pub fn write(&self, k: usize) -> Result<Slice<'_>> {
        let Some(k) = k.checked_sub(1) else { return self.stream(0) };
        let kept = self.network.layers.get(k / 2).and_then(|l| l.writes.as_ref());
        let both = kept.ok_or_else(|| Error::usage(format!("there is no write {}", k + 1)))?;
        self.network.backend.active_rows(&both[k % 2])
    }

    /// Query and key rows of a layer's projection, `[2 d, d]`.
    ///
    /// # Errors
    /// None that a finished pass has.
    pub fn qk_weight(&self, layer: usize) -> Result<Slice<'_>> {
        let d = self.config.width;
        Ok(self.network.backend.parameter(self.attention[layer].0)?.at(0, 2 * d * d)?)
    }

    /// Their biases, `[2 d]`, in the arms that have them.
    ///
    /// # Errors
    /// None that a finished pass has.
    pub fn qk_bias(&self, layer: usize) -> Result<Option<Slice<'_>>> {
        let bias = self.attention[layer].1.map(|i| self.network.backend.parameter(i));
        Ok(bias.transpose()?.map(|b| b.at(0, 2 * self.config.width)).transpose()?)
    }

    /// Gain of the norm before a layer's attention, `[d]`.
    ///
    /// # Errors
    /// None that a finished pass has.
    pub fn gain(&self, layer: usize) -> Result<Slice<'_>> {
        self.network.backend.parameter(self.attention[layer].2)
    }
}
