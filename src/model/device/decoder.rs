//! A decoder whose parameters, activations and optimizer state live on a device.

use growthpath_kernels::attention::Shape;
use growthpath_kernels::attention::gpu::{Tables, supported};
use growthpath_kernels::embedding::gpu::TokenBatch;
use growthpath_kernels::gpu::{Buffer, Elem, Gpu, Readback, Slice};
use growthpath_kernels::optimizer::gpu::{Placed, Table};
use growthpath_kernels::optimizer::{Moments, Rule, Update};

use super::buffers::Buffers;
use super::stats::Layout;
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::model::decoder::{LayerIndex, TopIndex};
use crate::model::params::{Group, Params, segments};
use crate::model::{Decoder, ModelConfig, StepStats};

/// A copy of a [`Decoder`] on a device, with its optimizer state.
pub struct DeviceDecoder {
    pub(super) gpu: Gpu,
    pub(super) config: ModelConfig,
    pub(super) index: Vec<LayerIndex>,
    pub(super) top: TopIndex,
    pub(super) norm: growthpath_kernels::norm::NormKind,
    pub(super) activation: growthpath_kernels::activation::Activation,
    pub(super) weights: Weights,
    pub(super) buffers: Buffers,
    pub(super) table: Table,
    pub(super) batch: TokenBatch,
    /// The batch last sent.
    pub(super) shape: Shape,
    pub(super) layout: Layout,
    pub(super) packed: Buffer,
    /// `[L, H]`: heads whose attention is replaced, in the layers that have one.
    pub(super) flags: Buffer,
    pub(super) flat_layers: Vec<bool>,
    rope: Option<(Buffer, Buffer)>,
    most: Shape,
    readbacks: [Readback; 2],
    /// Steps whose statistics were started and not yet read, oldest first: readback, batch, whether all were filled.
    pending: std::collections::VecDeque<(usize, Shape, bool)>,
    turn: usize,
    launches: u64,
}

impl DeviceDecoder {
    /// Copy `model` to the device, with room for batches of `rows` sequences of the model's context.
    ///
    /// `storage` is the type of the activations: [`Elem::F32`] or [`Elem::Bf16`].
    ///
    /// # Errors
    /// A configuration that no kernel takes, or too little device memory.
    pub fn new(gpu: &Gpu, model: &Decoder, rule: Rule, rows: usize, storage: Elem) -> Result<Self> {
        let c = model.config.clone();
        supported(c.head_dim())?;
        if storage == Elem::U32 {
            return Err(Error::usage("activations are stored as float32 or bf16"));
        }
        for (what, n) in [("width", c.width), ("hidden width", c.hidden_width())] {
            if n % 8 != 0 {
                return Err(Error::usage(format!("a {what} of {n} on a device: it takes multiples of 8")));
            }
        }
        let most = Shape { batch: rows, seq_len: c.context, heads: c.heads, head_dim: c.head_dim() };
        let adam = matches!(rule, Rule::AdamW { .. });
        let weights = Weights::new(gpu, &model.params, storage, adam)?;
        let placed: Vec<Placed> = model
            .params
            .specs
            .iter()
            .enumerate()
            .map(|(i, s)| Placed { start: weights.start(i), decay: s.decays(), segments: segments(&c, s) })
            .collect();
        let slots = 2 * c.layers * c.heads;
        let layout = Layout::new(&c);
        let rope = match model.rope() {
            Some(r) => Some((gpu.upload(&r.cos)?, gpu.upload(&r.sin)?)),
            None => None,
        };
        Ok(Self {
            table: Table::new(gpu, &placed, Group::count(c.layers), slots, weights.total)?,
            buffers: Buffers::new(gpu, &c, most, storage)?,
            batch: TokenBatch::new(gpu, most.tokens(), c.vocab)?,
            packed: gpu.zeros(Elem::F32, layout.total)?,
            readbacks: [Readback::new(gpu, layout.total)?, Readback::new(gpu, layout.total)?],
            flags: gpu.zeros(Elem::U32, c.layers * c.heads)?,
            flat_layers: vec![false; c.layers],
            pending: std::collections::VecDeque::new(),
            turn: 0,
            launches: 0,
            gpu: gpu.clone(),
            index: (0..c.layers).map(|l| model.layer_index(l).clone()).collect(),
            top: model.top_index().clone(),
            norm: model.norm_kind(),
            activation: model.activation(),
            config: c,
            weights,
            shape: most,
            layout,
            rope,
            most,
        })
    }

    pub(super) fn tables(&self) -> Option<Tables<'_>> {
        self.rope.as_ref().map(|(cos, sin)| Tables { cos: cos.all(), sin: sin.all() })
    }

    /// The first tokens' rows of a buffer that holds `width` elements a token.
    pub(super) fn rows<'a>(&self, buffer: &'a Buffer, width: usize) -> Result<Slice<'a>> {
        Ok(buffer.at(0, self.shape.tokens() * width)?)
    }

    pub(super) fn part(&self, (start, len): (usize, usize)) -> Result<Slice<'_>> {
        Ok(self.packed.at(start, len)?)
    }

    /// Send the next batch.
    ///
    /// # Errors
    /// More tokens than there is room for, tokens outside the vocabulary, sequences longer than the context.
    pub fn send(&mut self, inputs: &[u32], targets: &[u32], seq_len: usize) -> Result<()> {
        let most = self.most.tokens();
        if seq_len > self.config.context || inputs.len() > most {
            return Err(Error::usage(format!(
                "{} tokens in sequences of {seq_len}: this model takes {most} in sequences of at most {}",
                inputs.len(),
                self.config.context
            )));
        }
        self.batch.send(inputs, targets, seq_len)?;
        self.shape = Shape { batch: inputs.len() / seq_len, seq_len, ..self.most };
        Ok(())
    }

    /// Losses of each token of a batch, nats, with the attention of the heads in `uniform` (layer, head) replaced by the
    /// causal average; waits for them.
    ///
    /// # Errors
    /// As [`DeviceDecoder::send`], or a head that the model does not have.
    pub fn losses(
        &mut self,
        inputs: &[u32],
        targets: &[u32],
        seq_len: usize,
        uniform: &[(usize, usize)],
    ) -> Result<Vec<f32>> {
        self.send(inputs, targets, seq_len)?;
        self.flatten(uniform)?;
        self.forward(false)?;
        self.head(false)?;
        Ok(self.rows(&self.buffers.losses, 1)?.read()?)
    }

    /// Mark the heads whose attention the next forward replaces by the causal average.
    fn flatten(&mut self, uniform: &[(usize, usize)]) -> Result<()> {
        self.flat_layers.fill(false);
        if uniform.is_empty() {
            return Ok(());
        }
        let mut flags = vec![0u32; self.config.layers * self.config.heads];
        for &(l, h) in uniform {
            if l >= self.config.layers || h >= self.config.heads {
                return Err(Error::usage(format!("there is no head {h} in layer {l}")));
            }
            flags[l * self.config.heads + h] = 1;
            self.flat_layers[l] = true;
        }
        Ok(self.flags.all().write_u32(&flags)?)
    }

    /// Train on the batch last sent, and start the copy of the step's statistics.
    ///
    /// # Errors
    /// What a launch meets, or two steps whose statistics nobody read.
    pub fn step(&mut self, update: &Update<'_>, clip: f32) -> Result<()> {
        let before = self.gpu.launches();
        self.flatten(&[])?;
        self.forward(update.stats)?;
        self.head(true)?;
        self.backward()?;
        self.update(update, clip)?;
        self.launches = self.gpu.launches() - before;
        Ok(())
    }

    /// Kernel launches of the last step.
    pub fn step_launches(&self) -> u64 {
        self.launches
    }

    /// Start the copy of the step's statistics to the host.
    pub(super) fn start_readback(&mut self, stats: bool) -> Result<()> {
        if self.pending.len() == self.readbacks.len() {
            return Err(Error::usage("statistics of two steps are waiting: read one first"));
        }
        self.turn = 1 - self.turn;
        self.readbacks[self.turn].start(self.packed.all())?;
        self.pending.push_back((self.turn, self.shape, stats));
        Ok(())
    }

    /// Number of steps whose statistics were not read yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Wait for the oldest unread step and read its statistics; none: all were read.
    ///
    /// # Errors
    /// When a launch of that step failed.
    pub fn read(&mut self) -> Result<Option<StepStats>> {
        let Some((turn, shape, stats)) = self.pending.pop_front() else { return Ok(None) };
        let packed = self.readbacks[turn].wait()?;
        Ok(Some(self.layout.parse(&self.config, shape, packed, stats)))
    }

    /// Copy the parameters to the host.
    ///
    /// # Errors
    /// When an earlier launch failed, or `params` are another model's.
    pub fn pull(&self, params: &Params) -> Result<()> {
        self.weights.pull(params)
    }

    /// Copy the optimizer's moments to the host.
    ///
    /// # Errors
    /// As [`DeviceDecoder::pull`].
    pub fn pull_moments(&self, moments: &mut [Moments]) -> Result<()> {
        for (to, m) in moments.iter_mut().zip(self.weights.split(&self.weights.m)?) {
            to.m = m;
        }
        if let Some(v) = &self.weights.v {
            for (to, v) in moments.iter_mut().zip(self.weights.split(v)?) {
                to.v = v;
            }
        }
        Ok(())
    }

    /// Copy the optimizer's moments to the device.
    ///
    /// # Errors
    /// Moments of another model.
    pub fn push_moments(&self, moments: &[Moments]) -> Result<()> {
        let m: Vec<&[f32]> = moments.iter().map(|m| m.m.as_slice()).collect();
        self.weights.join(&self.weights.m, &m)?;
        if let Some(array) = &self.weights.v {
            let v: Vec<&[f32]> = moments.iter().map(|m| m.v.as_slice()).collect();
            self.weights.join(array, &v)?;
        }
        Ok(())
    }
}
