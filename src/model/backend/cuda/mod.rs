//! An NVIDIA GPU: the CUDA kernels, in memory that is laid out once.
//!
//! A step uploads a batch and the update's numbers, launches (one graph, from its third step on), and starts one copy of
//! all its statistics to the host, where they are read a step later: nothing on the way waits for the device. Activations are stored as float32 or bf16; parameters, gradients,
//! optimizer state and statistics are float32, and in bf16 the products read a rounded copy of the parameters.

mod operations;
mod partials;
mod reading;
mod recorded;
mod recordings;
mod roofline;
mod stats;
mod update;
mod waiting;
mod weights;

use std::collections::VecDeque;

use growthpath_kernels::Stats;
use growthpath_kernels::attention::Shape;
use growthpath_kernels::attention::gpu::{Products, Tables, fastest, supported};
use growthpath_kernels::embedding::gpu::TokenBatch;
use growthpath_kernels::gpu::{Buffer, Elem, Gpu, Readback, Slice, Stopwatch};
use growthpath_kernels::optimizer::Rule;
use growthpath_kernels::optimizer::gpu::{Placed, Table};

use self::partials::Partials;
use self::recordings::{Recorded, Timed};
use self::stats::Layout;
use self::waiting::Waiting;
use self::weights::Weights;
use crate::error::{Error, Result};
use crate::model::params::{Group, segments};
use crate::model::{Decoder, ModelConfig, StepStats};

/// An NVIDIA GPU with a copy of a model and of its optimizer's state.
pub struct Cuda {
    /// First, so that graphs go before the memory that they use.
    recorded: Recorded,
    gpu: Gpu,
    config: ModelConfig,
    storage: Elem,
    /// Of attention.
    products: Products,
    weights: Weights,
    table: Table,
    batch: TokenBatch,
    /// The largest batch, and the one last sent.
    most: Shape,
    shape: Shape,
    measures: bool,
    rope: Option<(Buffer, Buffer)>,
    /// `[chunk, padded V]`, and losses of the tokens `[N]`.
    logits: Buffer,
    losses: Buffer,
    /// `<d_out, out>` of each query, `[N, H]`.
    delta: Buffer,
    partials: Partials,
    waiting: Waiting,
    /// `[L, H]`: heads whose attention is replaced, in the layers that have one.
    flags: Buffer,
    ablated_layers: Vec<bool>,
    layout: Layout,
    packed: Buffer,
    readbacks: [Readback; 2],
    watches: [Stopwatch; 2],
    /// Steps whose statistics were started and not yet read, oldest first.
    unread: VecDeque<Unread>,
    turn: usize,
}

/// A step whose statistics are on their way.
struct Unread {
    /// Which readback, and which stopwatch.
    turn: usize,
    shape: Shape,
    /// Whether all statistics were filled.
    stats: Stats,
    timed: Option<Timed>,
}

impl Cuda {
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
        let second_moment = Some(matches!(rule, Rule::AdamW { .. }));
        let weights = Weights::new(gpu, &model.params, storage, second_moment)?;
        Self::over(gpu, model, weights, most, storage, true)
    }

    /// Over weights that are on the device, with room for batches of the size `most`; `head`: with room for output logits.
    fn over(
        gpu: &Gpu,
        model: &Decoder,
        weights: Weights,
        most: Shape,
        storage: Elem,
        head: bool,
    ) -> Result<Self> {
        let (c, n) = (model.config.clone(), most.tokens());
        let placed: Vec<Placed> = model
            .params
            .specs
            .iter()
            .enumerate()
            .map(|(i, s)| Placed { start: weights.start(i), decay: s.decay(), segments: segments(&c, s) })
            .collect();
        let layout = Layout::new(&c);
        let rope = match model.rope() {
            Some(r) => Some((gpu.upload(&r.cos)?, gpu.upload(&r.sin)?)),
            None => None,
        };
        let partials = Partials::new(gpu, &c, most, storage)?;
        Ok(Self {
            table: Table::new(gpu, &placed, Group::count(c.layers), 2 * c.layers * c.heads, weights.total)?,
            batch: TokenBatch::new(gpu, n, c.vocab)?,
            logits: gpu.zeros(
                storage,
                if head { partials.chunk * weights::padded_vocabulary(c.vocab) } else { 0 },
            )?,
            losses: gpu.zeros(Elem::F32, n)?,
            delta: gpu.zeros(Elem::F32, n * c.heads)?,
            packed: gpu.zeros(Elem::F32, layout.total)?,
            readbacks: [Readback::new(gpu, layout.total)?, Readback::new(gpu, layout.total)?],
            waiting: Waiting::new(gpu, &c, most)?,
            flags: gpu.zeros(Elem::U32, c.layers * c.heads)?,
            ablated_layers: vec![false; c.layers],
            watches: [Stopwatch::new(gpu)?, Stopwatch::new(gpu)?],
            unread: VecDeque::new(),
            turn: 0,
            measures: false,
            products: fastest(gpu, storage, c.head_dim()),
            recorded: Recorded::default(),
            gpu: gpu.clone(),
            config: c,
            storage,
            weights,
            partials,
            shape: most,
            layout,
            rope,
            most,
        })
    }

    fn tables(&self) -> Option<Tables<'_>> {
        self.rope.as_ref().map(|(cos, sin)| Tables { cos: cos.all(), sin: sin.all() })
    }

    /// The first tokens' rows of a buffer that holds `width` elements a token.
    fn rows<'a>(&self, buffer: &'a Buffer, width: usize) -> Result<Slice<'a>> {
        Ok(buffer.at(0, self.shape.tokens() * width)?)
    }

    /// The rows of activations that have room for the largest batch.
    fn active<'a>(&self, buffer: &'a Buffer) -> Result<Slice<'a>> {
        self.rows(buffer, buffer.len() / self.most.tokens())
    }

    fn part(&self, (start, len): (usize, usize)) -> Result<Slice<'_>> {
        Ok(self.packed.at(start, len)?)
    }

    /// Mark the heads whose attention the next forward replaces by the causal average.
    fn mark_ablated(&mut self, uniform: &[(usize, usize)]) -> Result<()> {
        self.ablated_layers.fill(false);
        if uniform.is_empty() {
            return Ok(());
        }
        let mut flags = vec![0u32; self.config.layers * self.config.heads];
        for &(l, h) in uniform {
            if l >= self.config.layers || h >= self.config.heads {
                return Err(Error::usage(format!("there is no head {h} in layer {l}")));
            }
            flags[l * self.config.heads + h] = 1;
            self.ablated_layers[l] = true;
        }
        Ok(self.flags.all().write_u32(&flags)?)
    }

    /// Start the copy of the step's statistics to the host.
    fn start_readback(&mut self, stats: Stats, timed: Option<Timed>) -> Result<()> {
        self.turn = 1 - self.turn;
        self.readbacks[self.turn].start(self.packed.all())?;
        self.unread.push_back(Unread { turn: self.turn, shape: self.shape, stats, timed });
        Ok(())
    }

    /// Wait for the oldest unread step and read its statistics.
    fn finish_readback(&mut self) -> Result<Option<StepStats>> {
        let Some(Unread { turn, shape, stats, timed }) = self.unread.pop_front() else { return Ok(None) };
        if let Some(timed) = timed {
            self.recorded.took(timed, self.watches[turn].milliseconds()?);
        }
        let packed = self.readbacks[turn].wait()?;
        Ok(Some(self.layout.parse(&self.config, shape, packed, stats)))
    }
}
