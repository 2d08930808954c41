//! The decoder's reverse pass, written out block by block.

use candle_core::Tensor;
use growthpath_kernels::attention::LogitGradStats;
use growthpath_kernels::cross_entropy::head_loss;
use growthpath_kernels::norm::AddNorm;
use growthpath_kernels::{activation, attention, embedding, linear, norm, qk_norm};

use super::decoder::{Decoder, Forward};
use crate::error::{Error, Result};

/// Loss and gradients of one batch.
pub struct Gradients {
    /// Mean loss, nats per token.
    pub loss: f64,
    /// Largest output logit.
    pub max_logit: f32,
    /// One gradient a parameter, in the order of [`super::params::Params`].
    pub grads: Vec<Tensor>,
    /// Statistics of the logit gradients, per layer, per head.
    pub logit_grads: Vec<Vec<LogitGradStats>>,
}

struct Slots(Vec<Option<Tensor>>);

impl Slots {
    fn put(&mut self, i: usize, t: Tensor) {
        self.0[i] = Some(t);
    }
    fn put_opt(&mut self, i: Option<usize>, t: Option<Tensor>) {
        if let (Some(i), Some(t)) = (i, t) {
            self.put(i, t);
        }
    }
}

impl Decoder {
    /// Loss of `targets` and the gradient of every parameter; consumes what the forward kept.
    ///
    /// # Errors
    /// Targets that do not fit the forward's tokens.
    pub fn backward(&self, forward: &mut Forward, targets: &[u32]) -> Result<Gradients> {
        let top = self.top_index();
        let kind = self.norm_kind();
        let mut slots = Slots(vec![None; self.params.vars.len()]);
        let head = head_loss(forward.output(), self.p(top.head), targets, true)?;
        let (mut dx, d_head) =
            head.grads.ok_or_else(|| Error::usage("head_loss returned no gradients though asked for"))?;
        let mut logit_grads = vec![Vec::new(); self.config.layers];
        let mut dh: Option<Tensor> = None;
        let mut norm_index = (top.norm, top.norm_bias);
        let Forward { first, layers, shape, tokens, .. } = forward;
        // Popping frees a layer's activations as soon as its gradients are done.
        while let Some(s) = layers.pop() {
            let l = layers.len();
            let i = self.layer_index(l);
            let input: &AddNorm = layers.last().map_or(&*first, |p| &p.after);

            let n = norm::backward(
                kind,
                &s.after,
                self.p(norm_index.0),
                &dx,
                dh.as_ref(),
                norm_index.1.is_some(),
            )?;
            slots.put(norm_index.0, n.gain);
            slots.put_opt(norm_index.1, n.bias);

            let down = linear::backward(&n.h, &s.hidden, self.p(i.down), i.down_bias.is_some())?;
            slots.put(i.down, down.weight);
            slots.put_opt(i.down_bias, down.bias);
            let d_up = activation::backward(self.activation(), &s.up, &down.x)?;
            let up = linear::backward(&d_up, &s.mid.x, self.p(i.up), i.up_bias.is_some())?;
            slots.put(i.up, up.weight);
            slots.put_opt(i.up_bias, up.bias);

            let n = norm::backward(
                kind,
                &s.mid,
                self.p(i.ffn_norm),
                &up.x,
                Some(&n.h),
                i.ffn_norm_bias.is_some(),
            )?;
            slots.put(i.ffn_norm, n.gain);
            slots.put_opt(i.ffn_norm_bias, n.bias);

            let out = linear::backward(&n.h, &s.attention.out, self.p(i.out), i.out_bias.is_some())?;
            slots.put(i.out, out.weight);
            slots.put_opt(i.out_bias, out.bias);
            let heads_in = s.qk_norm.as_ref().map_or(&s.qkv, |n| &n.qkv);
            let (mut d_qkv, stats) =
                attention::backward(*shape, heads_in, &s.attention, self.rope(), &out.x)?;
            logit_grads[l] = stats;
            if let (Some((q, k)), Some(saved)) = (i.qk_norm, &s.qk_norm) {
                let (d, dq, dk) = qk_norm::backward(*shape, &s.qkv, saved, self.p(q), self.p(k), &d_qkv)?;
                d_qkv = d;
                slots.put(q, dq);
                slots.put(k, dk);
            }
            let qkv = linear::backward(&d_qkv, &input.x, self.p(i.qkv), i.qkv_bias.is_some())?;
            slots.put(i.qkv, qkv.weight);
            slots.put_opt(i.qkv_bias, qkv.bias);
            dx = qkv.x;
            dh = Some(n.h);
            norm_index = (i.attn_norm, i.attn_norm_bias);
        }
        let n = norm::backward(kind, first, self.p(norm_index.0), &dx, dh.as_ref(), norm_index.1.is_some())?;
        slots.put(norm_index.0, n.gain);
        slots.put_opt(norm_index.1, n.bias);

        let d_wte = if top.head == top.wte {
            d_head
        } else {
            slots.put(top.head, d_head);
            self.p(top.wte).zeros_like()?
        };
        let positions = top.wpe.map(|_| self.config.context);
        let d_wpe = embedding::backward(tokens, shape.seq_len, &n.h, &d_wte, positions)?;
        slots.put(top.wte, d_wte);
        slots.put_opt(top.wpe, d_wpe);

        let mut grads = Vec::with_capacity(slots.0.len());
        for (spec, g) in self.params.specs.iter().zip(slots.0) {
            grads.push(g.ok_or_else(|| Error::usage(format!("no gradient reached {spec:?}")))?);
        }
        Ok(Gradients { loss: head.loss, max_logit: head.max_logit, grads, logit_grads })
    }
}
