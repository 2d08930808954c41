//! The forward pass and the output head on a device.

use growthpath_kernels::attention::accumulators::forward as row;
use growthpath_kernels::attention::gpu::partials;
use growthpath_kernels::gpu::Slice;
use growthpath_kernels::{activation, attention, cross_entropy, embedding, linear, norm, qk_norm};

use super::buffers::Normed;
use super::decoder::DeviceDecoder;
use super::weights::padded_vocabulary;
use crate::error::Result;

impl DeviceDecoder {
    /// Run the blocks over the batch last sent.
    ///
    /// # Errors
    /// What a launch meets.
    pub fn forward(&self, stats: bool) -> Result<()> {
        let (c, b, w) = (&self.config, &self.buffers, &self.weights);
        let (n, d, f, shape) = (self.shape.tokens(), c.width, c.hidden_width(), self.shape);
        let up_width = if c.ffn.gated() { 2 * f } else { f };
        let (write, first) = (self.rows(&b.write, d)?, self.rows(&b.first.h, d)?);
        embedding::gpu::forward(&self.batch, w.p(self.top.wte)?, w.p_opt(self.top.wpe)?, first)?;
        // The first norm has no write; its partial sums go past the layers'.
        self.norm(&b.first, None, 2 * c.layers, false)?;
        let mut input = &b.first;
        for (l, (i, s)) in self.index.iter().zip(&b.layers).enumerate() {
            let qkv = self.rows(&s.qkv, 3 * d)?;
            linear::gpu::forward(n, self.rows(&input.x, d)?, w.w(i.qkv)?, w.p_opt(i.qkv_bias)?, qkv)?;
            let mut heads_in = qkv;
            if let (Some((q, k)), Some((out, rrms))) = (i.qk_norm, &s.qk_norm) {
                heads_in = self.rows(out, 3 * d)?;
                let rrms = self.rows(rrms, 2 * c.heads)?;
                qk_norm::gpu::forward(shape, qkv, [w.p(q)?, w.p(k)?], heads_in, rrms)?;
            }
            let attended = self.rows(&s.attended, d)?;
            let each = c.heads * partials(shape, qkv.elem()) * row::COUNT;
            let partial = b.partials.logits.at(l * each, each)?;
            let lse = self.rows(&s.lse, c.heads)?;
            attention::gpu::forward(shape, heads_in, self.tables(), attended, lse, partial)?;
            if self.flat_layers[l] {
                attention::gpu::uniform(shape, heads_in, self.flags.at(l * c.heads, c.heads)?, attended)?;
            }
            linear::gpu::forward(n, attended, w.w(i.out)?, None, write)?;
            self.norm(&s.mid, Some((input, write, i.out_bias)), 2 * l, stats)?;
            let up = self.rows(&s.up, up_width)?;
            linear::gpu::forward(n, self.rows(&s.mid.x, d)?, w.w(i.up)?, None, up)?;
            let hidden = self.rows(&s.hidden, f)?;
            let (rows, width) = (b.partials.hidden_rows, activation::gpu::energy_width(f));
            let energy = b.partials.hidden_energy.at(l * rows * width, rows * width)?;
            let columns = b.partials.hidden_columns.at(l * rows * f, rows * f)?;
            activation::gpu::forward(self.activation, up, w.p_opt(i.up_bias)?, f, hidden, energy, columns)?;
            linear::gpu::forward(n, hidden, w.w(i.down)?, None, write)?;
            self.norm(&s.after, Some((&s.mid, write, i.down_bias)), 2 * l + 1, stats)?;
            input = &s.after;
        }
        Ok(())
    }

    /// Gain and bias of the norm at a site: 2 l before layer l's feed-forward, 2 l + 1 after it, 2 L before everything.
    pub(super) fn norm_index(&self, site: usize) -> (usize, Option<usize>) {
        let layers = self.index.len();
        let attention = |l: usize| match self.index.get(l) {
            Some(i) => (i.attn_norm, i.attn_norm_bias),
            None => (self.top.norm, self.top.norm_bias),
        };
        match site {
            s if s == 2 * layers => attention(0),
            s if s % 2 == 1 => attention(s / 2 + 1),
            s => (self.index[s / 2].ffn_norm, self.index[s / 2].ffn_norm_bias),
        }
    }

    /// Add a write (with its projection's bias) to the stream before it, if there is one, and normalize into `to`.
    fn norm(
        &self,
        to: &Normed,
        write: Option<(&Normed, Slice<'_>, Option<usize>)>,
        site: usize,
        stats: bool,
    ) -> Result<()> {
        let (d, p) = (self.config.width, &self.buffers.partials);
        let (gain, bias) = self.norm_index(site);
        let h = self.rows(&write.map_or(to, |w| w.0).h, d)?;
        let args = norm::gpu::Forward {
            h,
            write: write.map(|w| w.1),
            write_bias: self.weights.p_opt(write.and_then(|w| w.2))?,
            gain: self.weights.p(gain)?,
            bias: self.weights.p_opt(bias)?,
            out: if write.is_some() { Some(self.rows(&to.h, d)?) } else { None },
            x: self.rows(&to.x, d)?,
            moments: self.rows(&to.moments, 2)?,
            energy: p.energy.at(site * p.norm_rows * 4, p.norm_rows * 4)?,
            columns: if stats { Some(p.columns.at(site * p.norm_rows * d, p.norm_rows * d)?) } else { None },
        };
        Ok(norm::gpu::forward(self.norm, self.config.norm_eps as f32, &args)?)
    }

    /// Losses of the batch and, where `grads`, the gradients at the last normalized stream and at the head's matrix.
    ///
    /// # Errors
    /// What a launch meets.
    pub fn head(&self, grads: bool) -> Result<()> {
        let (c, b) = (&self.config, &self.buffers);
        let (n, d, v) = (self.shape.tokens(), c.width, padded_vocabulary(c.vocab));
        let x = self.rows(&b.layers.last().map_or(&b.first, |l| &l.after).x, d)?;
        let weight = self.weights.w(self.top.head)?;
        let rows = b.partials.head_rows;
        for (k, start) in (0..n).step_by(b.chunk).enumerate() {
            let m = b.chunk.min(n - start);
            let logits = b.logits.at(0, m * v)?;
            let x = x.at(start * d, m * d)?;
            linear::gpu::forward(m, x, weight, None, logits)?;
            let width = cross_entropy::gpu::STATS;
            cross_entropy::gpu::rows(
                logits,
                c.vocab,
                self.batch.targets(start, m)?,
                b.partials.losses.at(k * rows * width, rows * width)?,
                b.losses.at(start, m)?,
                1.0 / n as f32,
            )?;
            if grads {
                let dx = self.rows(&b.grads.x, d)?.at(start * d, m * d)?;
                linear::gpu::backward_input(m, logits, weight, dx)?;
                let d_weight = self.weights.g_padded(self.top.head)?;
                linear::gpu::backward_weight(m, logits, x, d_weight, k > 0)?;
            }
        }
        Ok(())
    }
}
