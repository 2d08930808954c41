//! The fused operations inside candle's autograd against the same functions composed of candle's own operations in float64.

use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor, Var};
use growthpath_kernels::attention::Shape;
use growthpath_kernels::attention::autograd::{AttentionTap, causal_attention};
use growthpath_kernels::norm::autograd::{WriteTap, add_norm};
use growthpath_kernels::norm::{Norm, NormParams};
use growthpath_kernels::optimizer::{AdamW, AdamWSettings, Decay};
use growthpath_kernels::rope::Rope;

use crate::support::{Draw, tensor, values, wide};

fn var(draw: &mut Draw, shape: &[usize], deviation: f32) -> Var {
    Var::from_tensor(&tensor(&draw.normal(shape.iter().product(), deviation), shape)).unwrap()
}

/// Float32 sums of some hundred terms stay within a few 1e-6 of the largest entry; a wrong formula does not.
#[track_caller]
fn close(name: &str, got: &Tensor, want: &Tensor) {
    let (got, want) = (wide(&values(got)), want.flatten_all().unwrap().to_dtype(DType::F64).unwrap());
    let want = want.to_vec1::<f64>().unwrap();
    assert_eq!(got.len(), want.len(), "{name}");
    let largest = want.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
    let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
    assert!(largest > 0.0 && worst <= 2e-5 * largest, "{name}: off by {worst:e} of {largest:e}");
}

/// Head-major `[B, H, T, d_h]` part `i` of a packed projection, float64.
fn part(qkv: &Tensor, s: Shape, i: usize) -> Tensor {
    let t = qkv.narrow(1, i * s.width(), s.width()).unwrap().to_dtype(DType::F64).unwrap();
    t.reshape((s.batch, s.seq_len, s.heads, s.head_dim))
        .unwrap()
        .transpose(1, 2)
        .unwrap()
        .contiguous()
        .unwrap()
}

fn rotated(x: &Tensor, rope: &Rope, s: Shape) -> Tensor {
    let table = |v: &[f32]| {
        let t = tensor(&v[..s.seq_len * rope.half], &[s.seq_len, rope.half]);
        t.to_dtype(DType::F64).unwrap()
    };
    let (cos, sin) = (table(&rope.cos), table(&rope.sin));
    let (a, b) = (x.narrow(3, 0, rope.half).unwrap(), x.narrow(3, rope.half, rope.half).unwrap());
    let mul = |x: &Tensor, t: &Tensor| x.broadcast_mul(t).unwrap();
    let first = (mul(&a, &cos) - mul(&b, &sin)).unwrap();
    let second = (mul(&b, &cos) + mul(&a, &sin)).unwrap();
    Tensor::cat(&[first, second], D::Minus1).unwrap()
}

fn plain_attention(qkv: &Tensor, s: Shape, rope: Option<&Rope>) -> Tensor {
    let turn = |x: Tensor| rope.map_or(x.clone(), |r| rotated(&x, r, s));
    let (q, k, v) = (turn(part(qkv, s, 0)), turn(part(qkv, s, 1)), part(qkv, s, 2));
    let logits = (q.matmul(&k.t().unwrap()).unwrap() / (s.head_dim as f64).sqrt()).unwrap();
    let mask: Vec<f64> =
        (0..s.seq_len * s.seq_len).map(|i| if i % s.seq_len > i / s.seq_len { -1e30 } else { 0.0 }).collect();
    let mask = Tensor::from_vec(mask, (s.seq_len, s.seq_len), &Device::Cpu).unwrap();
    let logits = logits.broadcast_add(&mask).unwrap();
    let top = logits.max_keepdim(D::Minus1).unwrap().detach();
    let e = logits.broadcast_sub(&top).unwrap().exp().unwrap();
    let p = e.broadcast_div(&e.sum_keepdim(D::Minus1).unwrap()).unwrap();
    let out = p.matmul(&v).unwrap().transpose(1, 2).unwrap();
    out.reshape((s.tokens(), s.width())).unwrap()
}

#[test]
fn attention_and_its_gradient() {
    let mut draw = Draw::new();
    for (batch, seq_len, heads, head_dim, rotary) in
        [(2, 17, 3, 8, false), (1, 33, 2, 16, true), (3, 5, 1, 6, true), (1, 1, 2, 4, false)]
    {
        let s = Shape { batch, seq_len, heads, head_dim };
        let rope = rotary.then(|| Arc::new(Rope::new(seq_len, head_dim, 1e4)));
        let qkv = var(&mut draw, &[s.tokens(), 3 * s.width()], 1.0);
        let weight = tensor(&draw.normal(s.tokens() * s.width(), 1.0), &[s.tokens(), s.width()]);
        let tap = AttentionTap::default();
        let fused = causal_attention(&qkv, s, rope.as_ref(), Some(&tap)).unwrap();
        let plain = plain_attention(&qkv, s, rope.as_deref());
        close("attention", &fused, &plain);
        assert_eq!(tap.take_logits().unwrap().len(), heads);
        assert!(tap.take_gradients().is_none());
        let grads = (&fused * &weight).unwrap().sum_all().unwrap().backward().unwrap();
        let weight = weight.to_dtype(DType::F64).unwrap();
        let want = (plain * weight).unwrap().sum_all().unwrap().backward().unwrap();
        close("d qkv", grads.get(&qkv).unwrap(), want.get(&qkv).unwrap());
        let stats = tap.take_gradients().unwrap();
        // Euler's identity (2.1): <S, G_S> is the inner product of the queries with their gradient.
        let all = values(&qkv);
        let g = values(grads.get(&qkv).unwrap());
        let (row, width) = (3 * s.width(), head_dim);
        for (h, stat) in stats.iter().enumerate() {
            let entries = (0..s.tokens()).flat_map(|t| (0..width).map(move |i| t * row + h * width + i));
            let dot: f64 = entries.map(|i| f64::from(all[i]) * f64::from(g[i])).sum();
            assert!((stat.sgs - dot).abs() <= 1e-3 * (1.0 + dot.abs()), "{} {dot}", stat.sgs);
        }
    }
    let s = Shape { batch: 1, seq_len: 2, heads: 1, head_dim: 4 };
    let wrong = Tensor::zeros((2, 11), DType::F32, &Device::Cpu).unwrap();
    assert!(causal_attention(&wrong, s, None, None).is_err());
}

fn plain_norm(kind: Norm, h: &Tensor, gain: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let wide = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
    let mut h = wide(h);
    if kind == Norm::LayerNorm {
        h = h.broadcast_sub(&h.mean_keepdim(1).unwrap()).unwrap();
    }
    let rms = (h.sqr().unwrap().mean_keepdim(1).unwrap() + 1e-5).unwrap().sqrt().unwrap();
    let x = h.broadcast_div(&rms).unwrap().broadcast_mul(&wide(gain)).unwrap();
    bias.map_or(x.clone(), |b| x.broadcast_add(&wide(b)).unwrap())
}

#[test]
fn add_and_norm_and_their_gradients() {
    let mut draw = Draw::new();
    for (kind, biased, written) in [
        (Norm::LayerNorm, true, true),
        (Norm::LayerNorm, true, false),
        (Norm::RmsNorm, false, true),
        (Norm::RmsNorm, false, false),
    ] {
        let (n, d) = (13, 24);
        let (h, w) = (var(&mut draw, &[n, d], 1.0), var(&mut draw, &[n, d], 1.0));
        let (gain, bias) = (var(&mut draw, &[d], 1.0), var(&mut draw, &[d], 1.0));
        let (write, bias_used) = (written.then_some(w.as_tensor()), biased.then_some(bias.as_tensor()));
        let tap = WriteTap::default();
        let (after, x) =
            add_norm(NormParams { kind, eps: 1e-5, gain: &gain, bias: bias_used }, &h, write, Some(&tap))
                .unwrap();
        assert_eq!(tap.take().is_some(), written);
        let stream = if written { (h.as_tensor() + w.as_tensor()).unwrap() } else { h.as_tensor().clone() };
        let plain = plain_norm(kind, &stream, &gain, bias_used);
        close("x", &x, &plain);
        close("h", &after, &stream);
        // Both results are used, as in a block: the stream goes on past the norm.
        let (a, b) = (draw.normal(n * d, 1.0), draw.normal(n * d, 1.0));
        let (a, b) = (tensor(&a, &[n, d]), tensor(&b, &[n, d]));
        let loss = ((&x * &a).unwrap() + (&after * &b).unwrap()).unwrap().sum_all().unwrap();
        let f64s = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
        let plain = ((plain * f64s(&a)).unwrap() + (f64s(&stream) * f64s(&b)).unwrap()).unwrap();
        let (got, want) = (loss.backward().unwrap(), plain.sum_all().unwrap().backward().unwrap());
        let mut all = vec![("h", &h), ("gain", &gain)];
        all.extend(written.then_some(("write", &w)));
        all.extend(biased.then_some(("bias", &bias)));
        for (name, v) in all {
            close(name, got.get(v).unwrap(), want.get(v).unwrap());
        }
    }
}

#[test]
fn adamw_follows_its_formula() {
    let mut draw = Draw::new();
    let (heads, width) = (2, 3);
    let qkv = var(&mut draw, &[3 * heads * width, 5], 1.0);
    let bias = var(&mut draw, &[7], 1.0);
    let mut expected = [wide(&values(&qkv)), wide(&values(&bias))];
    let s = AdamWSettings { clip: 0.5, ..AdamWSettings::default() };
    let mut optimizer = AdamW::new(s);
    optimizer.add_qkv(&qkv, 0, heads).unwrap();
    optimizer.add(&bias, Decay::Exempt);
    let (mut m, mut v) = ([vec![0.0; 90], vec![0.0; 7]], [vec![0.0; 90], vec![0.0; 7]]);
    for t in 1..=4 {
        let loss = (qkv.sqr().unwrap().sum_all().unwrap() + bias.exp().unwrap().sum_all().unwrap()).unwrap();
        let info = optimizer.step(&loss.backward().unwrap(), 0.1).unwrap();
        let grads = [
            expected[0].iter().map(|w| 2.0 * w).collect::<Vec<f64>>(),
            expected[1].iter().map(|w| w.exp()).collect(),
        ];
        let norm = grads.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        assert!((info.grad_norm - norm).abs() < 1e-5 * norm, "{} {norm}", info.grad_norm);
        let g2: f64 = optimizer.slices().iter().map(|s| s.g2).sum();
        let want: f64 = grads[0][..60].iter().map(|g| g * g).sum();
        assert!(optimizer.slices().len() == 2 * heads && (g2 - want).abs() < 1e-5 * want, "{g2} {want}");
        let scale = (0.5 / norm).min(1.0);
        let (b1, b2) = (f64::from(s.beta1), f64::from(s.beta2));
        for (p, decay) in [(0, 0.1), (1, 0.0)] {
            for i in 0..expected[p].len() {
                let g = grads[p][i] * scale;
                m[p][i] = b1 * m[p][i] + (1.0 - b1) * g;
                v[p][i] = b2 * v[p][i] + (1.0 - b2) * g * g;
                let step = m[p][i] / (1.0 - b1.powi(t)) / ((v[p][i] / (1.0 - b2.powi(t))).sqrt() + 1e-8);
                expected[p][i] -= 0.1 * (step + decay * expected[p][i]);
            }
        }
        for (got, want) in [(&qkv, &expected[0]), (&bias, &expected[1])] {
            for (g, w) in wide(&values(got)).iter().zip(want) {
                assert!((g - w).abs() < 1e-4, "step {t}: {g} {w}");
            }
        }
    }
    let unused = var(&mut draw, &[2], 1.0);
    optimizer.add(&unused, Decay::Exempt);
    let loss = (qkv.sum_all().unwrap() + bias.sum_all().unwrap()).unwrap();
    let error = optimizer.step(&loss.backward().unwrap(), 0.1).unwrap_err().to_string();
    assert!(error.contains("has no gradient"), "{error}");
    assert!(optimizer.add_qkv(&unused, 0, 2).is_err());
}
