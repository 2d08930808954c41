//! The reverse pass on a device: the order of `model::backward`, over buffers that are reused from layer to layer.

use growthpath_kernels::attention::accumulators::backward as row;
use growthpath_kernels::attention::gpu::partials;
use growthpath_kernels::gpu::{Buffer, Slice, reduce};
use growthpath_kernels::{activation, attention, embedding, linear, norm, qk_norm};

use super::buffers::Normed;
use super::decoder::DeviceDecoder;
use crate::error::Result;

impl DeviceDecoder {
    /// Gradient of every parameter, after [`DeviceDecoder::forward`] and [`DeviceDecoder::head`] with gradients.
    ///
    /// # Errors
    /// What a launch meets.
    pub fn backward(&self) -> Result<()> {
        let (c, b, w) = (&self.config, &self.buffers, &self.weights);
        let (n, d, f, shape) = (self.shape.tokens(), c.width, c.hidden_width(), self.shape);
        let up_width = if c.ffn.gated() { 2 * f } else { f };
        let g = &b.grads;
        let dx = self.rows(&g.x, d)?;
        let stream = [self.rows(&g.stream[0], d)?, self.rows(&g.stream[1], d)?];
        let mut residual = None;
        for (l, (i, s)) in self.index.iter().zip(&b.layers).enumerate().rev() {
            let input = if l == 0 { &b.first } else { &b.layers[l - 1].after };
            let dh = stream[0];
            self.norm_backward(&s.after, 2 * l + 1, dx, residual, dh)?;
            let hidden = self.rows(&s.hidden, f)?;
            let d_hidden = self.rows(&g.hidden, f)?;
            self.linear_backward(dh, hidden, (i.down, i.down_bias), d_hidden)?;

            let (up, d_up) = (self.rows(&s.up, up_width)?, self.rows(&g.up, up_width)?);
            let partial = b.partials.bias.at(0, b.partials.bias_rows * up_width)?;
            let columns = i.up_bias.map(|_| partial);
            activation::gpu::backward(self.activation, d_hidden, up, w.p_opt(i.up_bias)?, f, d_up, columns)?;
            if let Some(bias) = i.up_bias {
                reduce::totals(partial, 1, up_width, 0, w.g(bias)?)?;
            }
            self.linear_backward(d_up, self.rows(&s.mid.x, d)?, (i.up, None), dx)?;

            let dh2 = stream[1];
            self.norm_backward(&s.mid, 2 * l, dx, Some(dh), dh2)?;
            let attended = self.rows(&s.attended, d)?;
            // `dx` is free until the projection's input gradient: it holds the gradient at the attention's output.
            self.linear_backward(dh2, attended, (i.out, i.out_bias), dx)?;

            let d_heads = self.rows(&g.qkv.0, 3 * d)?;
            let heads_in = self.rows(s.qk_norm.as_ref().map_or(&s.qkv, |q| &q.0), 3 * d)?;
            let each = c.heads * partials(shape, heads_in.elem()) * row::COUNT;
            let args = attention::gpu::Backward {
                qkv: heads_in,
                out: attended,
                lse: self.rows(&s.lse, c.heads)?,
                d_out: dx,
                delta: self.rows(&g.delta, c.heads)?,
                d_qkv: d_heads,
                stats: b.partials.logit_grads.at(l * each, each)?,
            };
            attention::gpu::backward(shape, self.tables(), &args)?;
            let mut d_qkv = d_heads;
            if let (Some((q, k)), Some((_, rrms)), Some(out), Some(partial)) =
                (i.qk_norm, &s.qk_norm, &g.qkv.1, &b.partials.qk_gain)
            {
                d_qkv = self.rows(out, 3 * d)?;
                self.qk_norm_backward((q, k), d_heads, self.rows(&s.qkv, 3 * d)?, rrms, d_qkv, partial)?;
            }
            self.linear_backward(d_qkv, self.rows(&input.x, d)?, (i.qkv, i.qkv_bias), dx)?;
            // The next layer up writes stream[0] while it reads the residual: hand the other one on.
            residual = Some(dh2);
        }
        let dh = stream[0];
        self.norm_backward(&b.first, 2 * c.layers, dx, residual, dh)?;
        if self.top.head != self.top.wte {
            w.g_padded(self.top.wte)?.zero()?;
        }
        embedding::gpu::backward(&self.batch, dh, w.g(self.top.wte)?)?;
        if let Some(wpe) = self.top.wpe {
            let d_wpe = w.g(wpe)?;
            if shape.seq_len < c.context {
                d_wpe.zero()?;
            }
            embedding::gpu::positions(dh, shape.seq_len, d, d_wpe)?;
        }
        debug_assert_eq!(n, self.batch.rows(), "the batch of the forward");
        Ok(())
    }

    fn norm_backward(
        &self,
        saved: &Normed,
        site: usize,
        dx: Slice<'_>,
        residual: Option<Slice<'_>>,
        dh: Slice<'_>,
    ) -> Result<()> {
        let (d, p) = (self.config.width, &self.buffers.partials);
        let (gain, bias) = self.norm_index(site);
        let each = p.norm_rows * d;
        let (to_gain, to_bias) = (p.gain.at(0, each)?, p.gain.at(each, each)?);
        let args = norm::gpu::Backward {
            dx,
            d_residual: residual,
            h: self.rows(&saved.h, d)?,
            moments: self.rows(&saved.moments, 2)?,
            gain: self.weights.p(gain)?,
            dh,
            d_gain: to_gain,
            d_bias: bias.map(|_| to_bias),
        };
        norm::gpu::backward(self.norm, &args)?;
        let Some(bias) = bias else {
            return Ok(reduce::totals(to_gain, 1, d, 0, self.weights.g(gain)?)?);
        };
        if let Some(both) = self.weights.g_pair(gain, bias)? {
            return Ok(reduce::totals(p.gain.all(), 2, d, 0, both)?);
        }
        reduce::totals(to_gain, 1, d, 0, self.weights.g(gain)?)?;
        Ok(reduce::totals(to_bias, 1, d, 0, self.weights.g(bias)?)?)
    }

    fn linear_backward(
        &self,
        dy: Slice<'_>,
        x: Slice<'_>,
        (weight, bias): (usize, Option<usize>),
        dx: Slice<'_>,
    ) -> Result<()> {
        let (n, p) = (self.shape.tokens(), &self.buffers.partials);
        linear::gpu::backward_weight(n, dy, x, self.weights.g(weight)?, false)?;
        if let Some(bias) = bias {
            let to = self.weights.g(bias)?;
            let partial = p.bias.at(0, p.bias_rows * to.len())?;
            reduce::column_sums(dy, to.len(), partial)?;
            reduce::totals(partial, 1, to.len(), 0, to)?;
        }
        Ok(linear::gpu::backward_input(n, dy, self.weights.w(weight)?, dx)?)
    }

    fn qk_norm_backward(
        &self,
        (q, k): (usize, usize),
        d_out: Slice<'_>,
        qkv: Slice<'_>,
        rrms: &Buffer,
        d_qkv: Slice<'_>,
        (partial, totals): &(Buffer, Buffer),
    ) -> Result<()> {
        let (w, dh) = (&self.weights, self.config.head_dim());
        let rrms = self.rows(rrms, 2 * self.config.heads)?;
        qk_norm::gpu::backward(self.shape, d_out, qkv, rrms, [w.p(q)?, w.p(k)?], d_qkv, partial.all())?;
        // Query and key gains lie side by side in the partial rows, apart in the gradients.
        let both = totals.all();
        reduce::totals(partial.all(), 1, 2 * dh, 0, both)?;
        w.g(q)?.copy_from(both.at(0, dh)?)?;
        Ok(w.g(k)?.copy_from(both.at(dh, dh)?)?)
    }
}
