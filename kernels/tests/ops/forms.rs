//! The slice kernels called on tensors: what tests and benches of this crate draw and compare.
#![allow(dead_code)] // Benches use some of it.

use candle_core::{Device, Tensor};
use growthpath_kernels::tensor::read;

fn flat(t: &Tensor) -> Vec<f32> {
    read(t).unwrap().to_vec()
}

fn matrix(v: Vec<f32>, columns: usize) -> Tensor {
    let rows = v.len() / columns;
    Tensor::from_vec(v, (rows, columns), &Device::Cpu).unwrap()
}

fn vector(v: Vec<f32>) -> Tensor {
    let n = v.len();
    Tensor::from_vec(v, n, &Device::Cpu).unwrap()
}

fn columns(t: &Tensor) -> usize {
    *t.dims().last().unwrap()
}

pub mod activation {
    use growthpath_kernels::Stats;
    use growthpath_kernels::activation::{Activation, HiddenStats, cpu};

    use super::*;

    fn width(act: Activation, up: &Tensor) -> usize {
        columns(up) / if act.gated() { 2 } else { 1 }
    }

    pub fn forward(act: Activation, up: &Tensor, stats: Stats) -> (Tensor, Option<HiddenStats>) {
        let f = width(act, up);
        let mut a = vec![0f32; up.dims()[0] * f];
        let stats = cpu::forward(act, f, &read(up).unwrap(), &mut a, stats);
        (matrix(a, f), stats)
    }

    pub fn backward(act: Activation, up: &Tensor, d_out: &Tensor) -> Tensor {
        let mut du = vec![0f32; up.elem_count()];
        cpu::backward(act, width(act, up), &read(up).unwrap(), &read(d_out).unwrap(), &mut du);
        matrix(du, columns(up))
    }
}

pub mod linear {
    use growthpath_kernels::linear::cpu;

    use super::*;

    pub fn forward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let out = weight.dims()[0];
        let mut y = vec![0f32; x.dims()[0] * out];
        let bias = bias.map(flat);
        cpu::forward(&mut y, &read(x).unwrap(), &read(weight).unwrap(), bias.as_deref(), columns(x), out);
        matrix(y, out)
    }

    pub struct Grads {
        pub x: Tensor,
        pub weight: Tensor,
        pub bias: Option<Tensor>,
    }

    pub fn backward(dy: &Tensor, x: &Tensor, weight: &Tensor, bias: bool) -> Grads {
        let (k, out) = (columns(x), columns(dy));
        let (mut dx, mut dw) = (vec![0f32; x.elem_count()], vec![0f32; weight.elem_count()]);
        let mut db = bias.then(|| vec![0f32; out]);
        let (dy, x, w) = (read(dy).unwrap(), read(x).unwrap(), read(weight).unwrap());
        cpu::backward((&mut dx, &mut dw, db.as_deref_mut()), &dy, &x, &w, (out, k));
        Grads { x: matrix(dx, k), weight: matrix(dw, k), bias: db.map(vector) }
    }
}

pub struct HeadLoss {
    pub loss: f64,
    pub losses: Vec<f32>,
    pub max_logit: f32,
    pub grads: Option<(Tensor, Tensor)>,
}

pub fn head_loss(x: &Tensor, weight: &Tensor, targets: &[u32], grads: bool) -> HeadLoss {
    use growthpath_kernels::cross_entropy::cpu;
    let (n, d, v) = (targets.len(), columns(x), weight.dims()[0]);
    let (mut losses, mut logits) = (vec![0f32; n], vec![0f32; cpu::logits_len(n, v)]);
    let (mut dx, mut dw) = (vec![0f32; n * d], vec![0f32; v * d]);
    let room = grads.then_some((&mut dx[..], &mut dw[..]));
    let (x, w) = (read(x).unwrap(), read(weight).unwrap());
    let (loss, max_logit) = cpu::head_loss(&x, (&w, v), targets, &mut logits, &mut losses, room);
    HeadLoss { loss, losses, max_logit, grads: grads.then(|| (matrix(dx, d), matrix(dw, d))) }
}

pub mod embedding {
    use growthpath_kernels::embedding::cpu;
    use growthpath_kernels::tensor::edit;

    use super::*;

    pub fn forward(tokens: &[u32], seq_len: usize, wte: &Tensor, wpe: Option<&Tensor>) -> Tensor {
        let mut h = vec![0f32; tokens.len() * columns(wte)];
        cpu::forward(tokens, seq_len, &read(wte).unwrap(), wpe.map(flat).as_deref(), &mut h);
        matrix(h, columns(wte))
    }

    /// Adds into `d_wte`, where a tied head has already written; returns the gradient of the positions.
    pub fn backward(
        tokens: &[u32],
        seq_len: usize,
        d_h: &Tensor,
        d_wte: &Tensor,
        positions: Option<usize>,
    ) -> Option<Tensor> {
        let (g, d) = (flat(d_h), columns(d_h));
        edit(d_wte, |w| cpu::backward(tokens, &g, w)).unwrap();
        let mut dp = vec![0f32; positions? * d];
        cpu::positions(&g, seq_len, d, &mut dp);
        Some(matrix(dp, d))
    }
}

pub mod qk_norm {
    use growthpath_kernels::attention::Shape;
    use growthpath_kernels::qk_norm::cpu;

    use super::*;

    pub struct QkNorm {
        pub qkv: Tensor,
        rrms: Vec<f32>,
    }

    pub fn forward(shape: Shape, qkv: &Tensor, q_gain: &Tensor, k_gain: &Tensor) -> QkNorm {
        let (mut y, mut rrms) = (vec![0f32; qkv.elem_count()], vec![0f32; shape.tokens() * 2 * shape.heads]);
        cpu::forward(shape, &read(qkv).unwrap(), [&flat(q_gain), &flat(k_gain)], &mut y, &mut rrms);
        QkNorm { qkv: matrix(y, columns(qkv)), rrms }
    }

    pub fn backward(
        shape: Shape,
        qkv: &Tensor,
        saved: &QkNorm,
        q_gain: &Tensor,
        k_gain: &Tensor,
        d: &Tensor,
    ) -> (Tensor, Tensor, Tensor) {
        let mut dx = vec![0f32; qkv.elem_count()];
        let (mut dqg, mut dkg) = (vec![0f32; shape.head_dim], vec![0f32; shape.head_dim]);
        let gains = [flat(q_gain), flat(k_gain)];
        let (x, d) = (read(qkv).unwrap(), read(d).unwrap());
        cpu::backward(shape, (&x, &saved.rrms), [&gains[0], &gains[1]], &d, &mut dx, [&mut dqg, &mut dkg]);
        (matrix(dx, columns(qkv)), vector(dqg), vector(dkg))
    }
}
