//! The operations of a decoder as launches.

use growthpath_kernels::Stats;
use growthpath_kernels::attention::accumulators;
use growthpath_kernels::attention::gpu::partials;
use growthpath_kernels::gemm::Accum;
use growthpath_kernels::gpu::{Buffer, Elem, Slice, reduce};
use growthpath_kernels::optimizer::{OptimizerState, Update};
use growthpath_kernels::{activation, attention, cross_entropy, embedding, linear, norm, qk_norm};

use super::super::{Affine, Backend, Calls, Normed, shape_of};
use super::Cuda;
use super::waiting::Rows;
use super::weights::padded_vocabulary;
use crate::error::Result;
use crate::model::StepStats;
use crate::model::params::Params;

impl Cuda {
    /// Add a write (with its projection's bias) to the stream before it, if there is one, and normalize into `to`.
    fn add_norm(
        &self,
        to: &Normed<Buffer>,
        write: Option<(&Buffer, &Buffer, Option<usize>)>,
        norm: Affine,
        site: usize,
    ) -> Result<()> {
        let (d, p) = (self.config.width, &self.partials);
        let stats = self.measures && write.is_some();
        let args = norm::gpu::Forward {
            h: self.active(write.map_or(&to.h, |w| w.0))?,
            write: write.map(|w| self.active(w.1)).transpose()?,
            write_bias: self.weights.param_opt(write.and_then(|w| w.2))?,
            gain: self.weights.param(norm.weight)?,
            bias: self.weights.param_opt(norm.bias)?,
            out: if write.is_some() { Some(self.active(&to.h)?) } else { None },
            x: self.active(&to.x)?,
            mean_rstd: self.active(&to.mean_rstd)?,
            energy: p.energy.at(site * p.norm_rows * 4, p.norm_rows * 4)?,
            columns: if stats { Some(p.columns.at(site * p.norm_rows * d, p.norm_rows * d)?) } else { None },
        };
        Ok(norm::gpu::forward(self.config.norm, self.config.norm_eps as f32, &args)?)
    }

    /// `write_bias`: of the projection whose gradient `dh` is too.
    fn norm_backward_with(
        &mut self,
        (norm, write_bias): (Affine, Option<usize>),
        saved: &Normed<Buffer>,
        dx: &Buffer,
        d_residual: Option<&Buffer>,
        dh: &Buffer,
    ) -> Result<()> {
        let (d, rows) = (self.config.width, self.partials.norm_rows);
        let parts = self.waiting.reserve(&self.gpu, &self.weights, 3 * rows, d)?.thirds();
        let vectors = [Some(norm.weight), norm.bias, write_bias];
        let [gain, bias, write] = parts.map(|part| self.waiting.rows(part));
        let args = norm::gpu::Backward {
            dx: self.active(dx)?,
            d_residual: d_residual.map(|r| self.active(r)).transpose()?,
            h: self.active(&saved.h)?,
            mean_rstd: self.active(&saved.mean_rstd)?,
            gain: self.weights.param(norm.weight)?,
            dh: self.active(dh)?,
            d_gain: gain?,
            d_bias: norm.bias.map(|_| bias).transpose()?,
            d_write: write_bias.map(|_| write).transpose()?,
        };
        norm::gpu::backward(self.config.norm, &args)?;
        for (part, vector) in parts.into_iter().zip(vectors) {
            if let Some(i) = vector {
                self.waiting.push(&self.weights, part, 0, i);
            }
        }
        Ok(())
    }

    /// A layer's part of an array of partial rows of attention, `count` numbers each.
    fn attention_partials<'a>(&self, array: &'a Buffer, layer: usize, count: usize) -> Result<Slice<'a>> {
        let each = self.config.heads * partials(self.shape, self.storage) * count;
        Ok(array.at(layer * each, each)?)
    }

    /// The products of a backward: `dW = dy^T x`, `dx = dy W`, and the partial column sums of `dy` where there is room.
    ///
    /// What becomes a gradient may be computed beside what follows: the next operations read no gradients, write no partial
    /// rows of others, and write over `dy` only after two more products.
    fn products(
        &self,
        weight: usize,
        x: &Buffer,
        dy: &Buffer,
        dx: &Buffer,
        columns: Option<Rows>,
    ) -> Result<()> {
        let (n, dy) = (self.shape.tokens(), self.active(dy)?);
        let (x, grad) = (self.active(x)?, self.weights.grad(weight)?);
        let columns = columns.map(|r| self.waiting.rows(r)).transpose()?;
        self.gpu.beside(|| {
            if let Some(columns) = columns {
                reduce::column_sums(dy, dy.len() / n, columns)?;
            }
            linear::gpu::backward_weight(n, dy, x, grad, Accum::Replace)
        })?;
        Ok(linear::gpu::backward_input(n, dy, self.weights.matmul_weight(weight)?, self.active(dx)?)?)
    }
}

impl Backend for Cuda {
    type Buffer = Buffer;

    const IN_FLIGHT: usize = 1;

    fn activations(&self, width: usize) -> Result<Buffer> {
        Ok(self.gpu.zeros(self.storage, self.most.tokens() * width)?)
    }

    fn floats(&self, width: usize) -> Result<Buffer> {
        Ok(self.gpu.zeros(Elem::F32, self.most.tokens() * width)?)
    }

    fn send(&mut self, tokens: &[u32], targets: &[u32], seq_len: usize) -> Result<()> {
        self.shape = shape_of(&self.config, self.most.tokens(), tokens, targets, seq_len)?;
        Ok(self.batch.send(tokens, targets, seq_len)?)
    }

    fn begin_step(&mut self, update: &Update<'_>, clip: f64) -> Result<Calls> {
        self.begin_recorded(update, clip as f32)
    }

    fn end_step(&mut self, outcome: Result<()>) -> Result<Calls> {
        self.end_recorded(outcome)
    }

    fn begin(&mut self, stats: Stats, uniform: &[(usize, usize)]) -> Result<()> {
        self.measures = stats.taken();
        self.waiting.clear();
        self.mark_ablated(uniform)
    }

    fn embedding(&mut self, wte: usize, wpe: Option<usize>, h: &mut Buffer) -> Result<()> {
        let (wte, wpe) = (self.weights.param(wte)?, self.weights.param_opt(wpe)?);
        Ok(embedding::gpu::forward(&self.batch, wte, wpe, self.active(h)?)?)
    }

    fn norm(&mut self, norm: Affine, to: &mut Normed<Buffer>) -> Result<()> {
        // The first norm has no write; its partial sums go past the layers'.
        self.add_norm(to, None, norm, 2 * self.config.layers)
    }

    fn linear(&mut self, p: Affine, x: &Buffer, y: &mut Buffer) -> Result<()> {
        let (w, b) = (self.weights.matmul_weight(p.weight)?, self.weights.param_opt(p.bias)?);
        Ok(linear::gpu::forward(self.shape.tokens(), self.active(x)?, w, b, self.active(y)?)?)
    }

    fn qk_norm(
        &mut self,
        (q, k): (usize, usize),
        qkv: &Buffer,
        out: &mut Buffer,
        rrms: &mut Buffer,
    ) -> Result<()> {
        let gains = [self.weights.param(q)?, self.weights.param(k)?];
        let (out, rrms) = (self.active(out)?, self.active(rrms)?);
        Ok(qk_norm::gpu::forward(self.shape, self.active(qkv)?, gains, out, rrms)?)
    }

    fn attention(&mut self, layer: usize, qkv: &Buffer, out: &mut Buffer, lse: &mut Buffer) -> Result<()> {
        let (qkv, out, heads) = (self.active(qkv)?, self.active(out)?, self.config.heads);
        let partial = self.attention_partials(&self.partials.logits, layer, accumulators::forward::COUNT)?;
        let args = attention::gpu::Forward { qkv, out, lse: self.active(lse)?, stats: partial };
        attention::gpu::forward(self.products, self.shape, self.tables(), args)?;
        if self.ablated_layers[layer] {
            attention::gpu::uniform(self.shape, qkv, self.flags.at(layer * heads, heads)?, out)?;
        }
        Ok(())
    }

    fn linear_add_norm(
        &mut self,
        site: usize,
        (p, norm): (Affine, Affine),
        (x, h): (&Buffer, &Buffer),
        write: &mut Buffer,
        to: &mut Normed<Buffer>,
    ) -> Result<()> {
        self.linear(Affine { bias: None, ..p }, x, write)?;
        self.add_norm(to, Some((h, write, p.bias)), norm, site)
    }

    fn linear_activation(
        &mut self,
        layer: usize,
        p: Affine,
        x: &Buffer,
        up: &mut Buffer,
        hidden: &mut Buffer,
    ) -> Result<()> {
        self.linear(Affine { bias: None, ..p }, x, up)?;
        let (c, partials) = (&self.config, &self.partials);
        let (f, rows) = (c.hidden_width(), partials.hidden_rows);
        let width = activation::gpu::energy_width(f);
        let energy = partials.hidden_energy.at(layer * rows * width, rows * width)?;
        let columns = partials.hidden_columns.at(layer * rows * f, rows * f)?;
        let (up, bias, hidden) = (self.active(up)?, self.weights.param_opt(p.bias)?, self.active(hidden)?);
        let input = activation::gpu::Input { act: c.ffn, f, up, bias };
        Ok(activation::gpu::forward(input, hidden, energy, columns)?)
    }

    fn lm_head(&mut self, head: usize, x: &Buffer, dx: Option<&mut Buffer>) -> Result<()> {
        let (c, p) = (&self.config, &self.partials);
        let (n, d, v) = (self.shape.tokens(), c.width, padded_vocabulary(c.vocab));
        let (x, weight) = (self.active(x)?, self.weights.matmul_weight(head)?);
        let dx = dx.map(|dx| self.active(dx)).transpose()?;
        let stats = p.head_rows * cross_entropy::gpu::STATS;
        for (k, start) in (0..n).step_by(p.chunk).enumerate() {
            let m = p.chunk.min(n - start);
            let logits = self.logits.at(0, m * v)?;
            let x = x.at(start * d, m * d)?;
            linear::gpu::forward(m, x, weight, None, logits)?;
            let (targets, partial) = (self.batch.targets(start, m)?, p.losses.at(k * stats, stats)?);
            let losses = self.losses.at(start, m)?;
            cross_entropy::gpu::rows(logits, c.vocab, targets, partial, losses, 1.0 / n as f32)?;
            if let Some(dx) = dx {
                linear::gpu::backward_input(m, logits, weight, dx.at(start * d, m * d)?)?;
                let accum = if k > 0 { Accum::Add } else { Accum::Replace };
                linear::gpu::backward_weight(m, logits, x, self.weights.grad_padded(head)?, accum)?;
            }
        }
        Ok(())
    }

    fn norm_backward(
        &mut self,
        norm: Affine,
        saved: &Normed<Buffer>,
        dx: &Buffer,
        d_residual: Option<&Buffer>,
        dh: &mut Buffer,
    ) -> Result<()> {
        self.norm_backward_with((norm, None), saved, dx, d_residual, dh)
    }

    fn add_norm_backward(
        &mut self,
        (write, norm): (Affine, Affine),
        saved: &Normed<Buffer>,
        dx: &Buffer,
        d_residual: Option<&Buffer>,
        dh: &mut Buffer,
    ) -> Result<Affine> {
        if !norm::gpu::sums_columns(self.config.width) {
            self.norm_backward(norm, saved, dx, d_residual, dh)?;
            return Ok(write);
        }
        self.norm_backward_with((norm, write.bias), saved, dx, d_residual, dh)?;
        Ok(Affine { bias: None, ..write })
    }

    fn linear_backward(&mut self, p: Affine, x: &Buffer, dy: &Buffer, dx: &mut Buffer) -> Result<()> {
        let mut columns = None;
        if let Some(bias) = p.bias {
            let (rows, width) = (self.partials.bias_rows, self.weights.extent(bias).1);
            let room = self.waiting.reserve(&self.gpu, &self.weights, rows, width)?;
            self.waiting.push(&self.weights, room, 0, bias);
            columns = Some(room);
        }
        self.products(p.weight, x, dy, dx, columns)
    }

    fn linear_activation_backward(
        &mut self,
        p: Affine,
        (x, up): (&Buffer, &Buffer),
        d_hidden: &Buffer,
        d_up: &mut Buffer,
        dx: &mut Buffer,
    ) -> Result<()> {
        let width = self.config.up_width();
        let rows = match p.bias {
            Some(_) => {
                Some(self.waiting.reserve(&self.gpu, &self.weights, self.partials.hidden_rows, width)?)
            }
            None => None,
        };
        let (c, columns) = (&self.config, rows.map(|r| self.waiting.rows(r)).transpose()?);
        let (dy, u, du) = (self.active(d_hidden)?, self.active(up)?, self.active(d_up)?);
        let bias = self.weights.param_opt(p.bias)?;
        let input = activation::gpu::Input { act: c.ffn, f: c.hidden_width(), up: u, bias };
        activation::gpu::backward(input, dy, du, columns)?;
        if let Some((rows, bias)) = rows.zip(p.bias) {
            self.waiting.push(&self.weights, rows, 0, bias);
        }
        self.products(p.weight, x, d_up, dx, None)
    }

    fn attention_backward(
        &mut self,
        layer: usize,
        (qkv, out, lse): (&Buffer, &Buffer, &Buffer),
        d_out: &Buffer,
        d_qkv: &mut Buffer,
    ) -> Result<()> {
        let count = accumulators::backward::COUNT;
        let args = attention::gpu::Backward {
            qkv: self.active(qkv)?,
            out: self.active(out)?,
            lse: self.active(lse)?,
            d_out: self.active(d_out)?,
            delta: self.active(&self.delta)?,
            d_qkv: self.active(d_qkv)?,
            stats: self.attention_partials(&self.partials.logit_grads, layer, count)?,
        };
        Ok(attention::gpu::backward(self.products, self.shape, self.tables(), &args)?)
    }

    fn qk_norm_backward(
        &mut self,
        (q, k): (usize, usize),
        (qkv, rrms): (&Buffer, &Buffer),
        d_out: &Buffer,
        d_qkv: &mut Buffer,
    ) -> Result<()> {
        let dh = self.config.head_dim();
        let rows = self.waiting.reserve(&self.gpu, &self.weights, self.partials.norm_rows, 2 * dh)?;
        let (w, partial) = (&self.weights, self.waiting.rows(rows)?);
        let (qkv, rrms) = (self.active(qkv)?, self.active(rrms)?);
        let (d_out, d_qkv, gains) = (self.active(d_out)?, self.active(d_qkv)?, [w.param(q)?, w.param(k)?]);
        qk_norm::gpu::backward(self.shape, (qkv, rrms), gains, d_out, d_qkv, partial)?;
        // Query and key gains lie side by side in the partial rows, apart in the gradients.
        self.waiting.push(&self.weights, rows, 0, q);
        self.waiting.push(&self.weights, rows, dh, k);
        Ok(())
    }

    fn embedding_backward(&mut self, wte: usize, wpe: Option<usize>, tied: bool, dh: &Buffer) -> Result<()> {
        let (c, w, dh) = (&self.config, &self.weights, self.active(dh)?);
        if !tied {
            w.grad_padded(wte)?.zero()?;
        }
        embedding::gpu::backward(&self.batch, dh, w.grad(wte)?)?;
        if let Some(wpe) = wpe {
            let (d_wpe, seq_len) = (w.grad(wpe)?, self.shape.seq_len);
            if seq_len < c.context {
                d_wpe.zero()?;
            }
            embedding::gpu::positions(dh, seq_len, c.width, d_wpe)?;
        }
        // The last operation of a backward: nothing runs beside from here on.
        self.waiting.add_up(&self.gpu, &self.weights)
    }

    fn update(&mut self, update: &Update<'_>, _: f64, _: &mut [OptimizerState]) -> Result<()> {
        self.apply(update)
    }

    fn unread(&self) -> usize {
        self.unread.len()
    }

    fn read(&mut self) -> Result<Option<StepStats>> {
        self.finish_readback()
    }

    fn losses(&self) -> Result<Vec<f32>> {
        Ok(self.rows(&self.losses, 1)?.read()?)
    }

    fn gradients(&self) -> Result<Vec<Vec<f32>>> {
        self.weights.split(&self.weights.grad)
    }

    fn finite(&self, _: &Params) -> Result<bool> {
        self.weights.finite()
    }

    fn pull(&self, params: &Params) -> Result<()> {
        self.weights.pull(params)
    }

    fn pull_state(&self, state: &mut [OptimizerState]) -> Result<()> {
        self.weights.pull_state(state)
    }

    fn push_state(&mut self, state: &[OptimizerState]) -> Result<()> {
        self.weights.push_state(state)
    }

    fn launches(&self) -> u64 {
        self.gpu.launches()
    }

    fn roofline(&self) -> Vec<(&'static str, f64)> {
        self.bytes_to_move()
    }
}
