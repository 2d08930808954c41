//! The same bits under any number of threads, for shapes that are split among them.

use candle_core::Tensor;
use faer::{Accum, MatMut, MatRef};
use growthpath_kernels::Stats;
use growthpath_kernels::activation::Activation;
use growthpath_kernels::attention::{self, Shape};
use growthpath_kernels::gemm;
use growthpath_kernels::norm::{self, Norm, NormParams};
use growthpath_kernels::optimizer::{self, Decay, HeadUpdateStats, OptimizerState, Rule, Segment, Update};
use growthpath_kernels::rope::Rope;

use crate::forms::{activation, embedding, head_loss, linear, qk_norm};
use crate::support::{Draw, tensor, values};

const POOLS: [usize; 4] = [1, 2, 3, 5];

fn in_pool<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// A fingerprint: name and every bit of a result.
type Bits = Vec<(String, Vec<u64>)>;

fn floats(out: &mut Bits, name: &str, v: &[f32]) {
    out.push((name.into(), v.iter().map(|x| u64::from(x.to_bits())).collect()));
}

fn keep(out: &mut Bits, name: &str, t: &Tensor) {
    floats(out, name, &values(t));
}

fn doubles(out: &mut Bits, name: &str, v: &[f64]) {
    out.push((name.into(), v.iter().map(|x| x.to_bits()).collect()));
}

fn compare(f: impl Fn() -> Bits + Sync) {
    let want = in_pool(1, &f);
    for threads in POOLS {
        for ((name, want), (_, got)) in want.iter().zip(in_pool(threads, &f)) {
            let different = want.iter().zip(&got).filter(|(a, b)| a != b).count();
            assert!(!want.is_empty());
            assert_eq!(different, 0, "{name}: {different} of {} differ on {threads} threads", want.len());
        }
    }
}

#[test]
fn matrix_products() {
    let mut draw = Draw::new();
    // tall, wide, deep (beyond one depth block of 512), single rows and columns, and shapes at the task size
    let mut shapes = vec![
        (2048, 33, 32),
        (33, 4099, 70),
        (300, 301, 1201),
        (1, 20_000, 512),
        (20_000, 1, 512),
        (17, 2048, 128),
        (2, 9000, 257),
        (1024, 1024, 2),
        (4000, 2000, 1),
        (103, 103, 103),
        (128, 384, 2048),
    ];
    for _ in 0..10 {
        shapes.push((1 + draw.below(700), 1 + draw.below(700), 1 + draw.below(600)));
    }
    for (m, n, k) in shapes {
        let (a, b, c) = (draw.normal(m * k, 1.0), draw.normal(k * n, 1.0), draw.normal(m * n, 1.0));
        // operands by rows and by columns: the backward of a linear map reads both transposed
        for (at, bt) in [(false, false), (true, false), (false, true)] {
            for accum in [Accum::Replace, Accum::Add] {
                compare(|| {
                    let mut c = c.clone();
                    let a = if at { MatRef::from_column_major_slice(&a, m, k) } else { gemm::rows(&a, m, k) };
                    let b = if bt { MatRef::from_column_major_slice(&b, k, n) } else { gemm::rows(&b, k, n) };
                    let target: MatMut<'_, f32> = gemm::rows_mut(&mut c, m, n);
                    gemm::gemm(target, accum, a, b);
                    let mut out = Bits::new();
                    floats(&mut out, &format!("gemm {m}x{n}x{k} transposed {at} {bt} {accum:?}"), &c);
                    out
                });
            }
        }
    }
}

#[test]
fn linear_and_loss() {
    let mut draw = Draw::new();
    let (n, k, m) = (515, 200, 390);
    let (x, w) = (tensor(&draw.normal(n * k, 1.0), &[n, k]), tensor(&draw.normal(m * k, 1.0), &[m, k]));
    let (b, dy) = (tensor(&draw.normal(m, 1.0), &[m]), tensor(&draw.normal(n * m, 1.0), &[n, m]));
    let vocabulary = 4099;
    let head = tensor(&draw.normal(vocabulary * k, 0.1), &[vocabulary, k]);
    let targets = draw.tokens(n, vocabulary);
    compare(|| {
        let mut out = Bits::new();
        keep(&mut out, "linear", &linear::forward(&x, &w, Some(&b)));
        let g = linear::backward(&dy, &x, &w, true);
        keep(&mut out, "linear dx", &g.x);
        keep(&mut out, "linear dw", &g.weight);
        keep(&mut out, "linear db", &g.bias.unwrap());
        let h = head_loss(&x, &head, &targets, true);
        let (dx, dw) = h.grads.unwrap();
        keep(&mut out, "head dx", &dx);
        keep(&mut out, "head dw", &dw);
        doubles(&mut out, "loss", &[h.loss, f64::from(h.max_logit)]);
        out
    });
}

#[test]
fn attention_and_qk_norm() {
    let mut draw = Draw::new();
    let s = Shape { batch: 3, seq_len: 131, heads: 5, head_dim: 20 };
    let (n, width) = (s.tokens(), s.width());
    let qkv = tensor(&draw.normal(n * 3 * width, 1.0), &[n, 3 * width]);
    let d = tensor(&draw.normal(n * width, 1.0), &[n, width]);
    let gain = tensor(&draw.normal(20, 1.0), &[20]);
    let rope = Rope::new(131, 20, 1e4);
    compare(|| {
        let mut out = Bits::new();
        let f = attention::forward(s, &qkv, Some(&rope), Stats::Taken).unwrap();
        let (g, stats) = attention::backward(s, &qkv, &f, Some(&rope), &d).unwrap();
        keep(&mut out, "attention", &f.out);
        keep(&mut out, "attention backward", &g);
        for (f, b) in f.stats.unwrap().iter().zip(&stats) {
            doubles(&mut out, "logits", &[f.s_max, f.s_min, f.s_ms, f.spread, f.lse_gap, b.gs2, b.sgs]);
            doubles(&mut out, "attention", &[f.entropy, f.sharpness, f.top1, f.max_distance]);
            doubles(&mut out, "queries and keys", &[f.q_rms, f.k_rms, f.qk_cos]);
        }
        let y = qk_norm::forward(s, &qkv, &gain, &gain);
        let (dx, dq, dk) = qk_norm::backward(s, &qkv, &y, &gain, &gain, &g);
        for (name, t) in [("qk_norm", &y.qkv), ("qk_norm dx", &dx), ("qk_norm dq", &dq), ("qk_norm dk", &dk)]
        {
            keep(&mut out, name, t);
        }
        out
    });
}

#[test]
fn norm_and_activation() {
    let mut draw = Draw::new();
    let (n, d, f) = (1000, 203, 301);
    let (h, w) = (tensor(&draw.normal(n * d, 1.0), &[n, d]), tensor(&draw.normal(n * d, 1.0), &[n, d]));
    let (gain, dx) = (tensor(&draw.normal(d, 1.0), &[d]), tensor(&draw.normal(n * d, 1.0), &[n, d]));
    let (up, da) =
        (tensor(&draw.normal(n * 2 * f, 1.0), &[n, 2 * f]), tensor(&draw.normal(n * f, 1.0), &[n, f]));
    compare(|| {
        let mut out = Bits::new();
        for kind in [Norm::LayerNorm, Norm::RmsNorm] {
            let params = NormParams { kind, eps: 1e-5, gain: &gain, bias: Some(&gain) };
            let r = norm::forward(params, &h, Some(&w), Stats::Taken).unwrap();
            let g = norm::backward(params, &r, &dx, Some(&w)).unwrap();
            keep(&mut out, "norm h", &r.h);
            keep(&mut out, "norm x", &r.x);
            let s = r.stats.unwrap();
            doubles(&mut out, "write", &[s.energy, s.common, s.dot, s.h2_before, s.h2_after]);
            for (name, t) in [("norm dh", &g.h), ("norm dgain", &g.gain), ("norm dbias", &g.bias.unwrap())] {
                keep(&mut out, name, t);
            }
        }
        let (a, s) = activation::forward(Activation::Geglu, &up, Stats::Taken);
        let s = s.unwrap();
        keep(&mut out, "activation", &a);
        doubles(&mut out, "hidden", &[s.hidden_ms, s.hidden_common]);
        keep(&mut out, "activation backward", &activation::backward(Activation::Geglu, &up, &da));
        out
    });
}

#[test]
fn optimizer_and_embedding() {
    let mut draw = Draw::new();
    let len = 100_003;
    let (w, g) = (draw.normal(len, 1.0), tensor(&draw.normal(len, 1.0), &[len]));
    let (v, d, t) = (97, 65, 130);
    let tokens = draw.tokens(4 * t, v);
    let (wte, wpe) = (tensor(&draw.normal(v * d, 1.0), &[v, d]), tensor(&draw.normal(t * d, 1.0), &[t, d]));
    let dh = tensor(&draw.normal(4 * t * d, 1.0), &[4 * t, d]);
    let segments = [(0, 40_000), (40_000, 30_001), (70_001, 30_002)].map(|(start, len)| Segment {
        start,
        len,
        group: 0,
        slot: Some(0),
    });
    compare(|| {
        let mut out = Bits::new();
        let rule = Rule::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
        let u = Update {
            rule,
            lr: 0.01,
            multipliers: &[0.5],
            weight_decay: 0.1,
            clip_scale: 0.3,
            t: 1,
            stats: Stats::Taken,
        };
        let param = tensor(&w, &[len]);
        let (mut moments, mut slots) = (OptimizerState::zeros(rule, len), [HeadUpdateStats::default()]);
        optimizer::step(&u, &param, &g, (Decay::Applied, &segments), &mut moments, &mut slots).unwrap();
        keep(&mut out, "optimizer", &param);
        floats(&mut out, "second moment", &moments.v);
        let s = slots[0];
        doubles(&mut out, "slot", &[s.g2, f64::from(s.g_max), s.w2, s.d2, s.wg, s.wd, s.gd]);
        doubles(&mut out, "sum_squares", &[optimizer::sum_squares(&g).unwrap()]);
        keep(&mut out, "embedding", &embedding::forward(&tokens, t, &wte, Some(&wpe)));
        let dw = tensor(&vec![0.0; v * d], &[v, d]);
        let dp = embedding::backward(&tokens, t, &dh, &dw, Some(t)).unwrap();
        keep(&mut out, "d_wte", &dw);
        keep(&mut out, "d_wpe", &dp);
        out
    });
}
