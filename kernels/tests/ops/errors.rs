//! Arguments that do not fit are errors that name the operation, never panics.

use candle_core::{DType, Device, Tensor};
use growthpath_kernels::Stats;
use growthpath_kernels::attention::{self, Attention, Shape};
use growthpath_kernels::norm::{self, Norm, NormParams};
use growthpath_kernels::optimizer::{self, Decay, HeadUpdateStats, OptimizerState, Rule, Segment, Update};
use growthpath_kernels::rope::Rope;
use growthpath_kernels::{Result, embedding, tensor};

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap()
}

/// The same shape in three forms that no operation takes.
fn unfit(dims: &[usize]) -> Vec<(&'static str, Tensor)> {
    let double = Tensor::zeros(dims, DType::F64, &Device::Cpu).unwrap();
    let reversed: Vec<usize> = dims.iter().rev().copied().collect();
    let mut all = vec![("float32 CPU tensor", double)];
    if dims.len() == 2 {
        all.push(("not contiguous", zeros(&reversed).t().unwrap()));
    }
    all
}

#[track_caller]
fn fails<T>(result: Result<T>, words: &[&str]) {
    let Err(e) = result else { panic!("accepted; expected an error with {words:?}") };
    let text = e.to_string();
    for w in words {
        assert!(text.contains(w), "{text:?} does not say {w:?}");
    }
}

#[test]
fn norm_rejects_what_does_not_fit() {
    let kind = Norm::LayerNorm;
    let (h, gain) = (zeros(&[3, 4]), zeros(&[4]));
    let run = |h: &Tensor, w: Option<&Tensor>, g: &Tensor, b: Option<&Tensor>| {
        norm::forward(NormParams { kind, eps: 1e-5, gain: g, bias: b }, h, w, Stats::Taken)
    };
    fails(run(&zeros(&[3]), None, &gain, None), &["add_norm", "h"]);
    fails(run(&zeros(&[3, 0]), None, &zeros(&[0]), None), &["add_norm", "h"]);
    fails(run(&h, Some(&zeros(&[4, 3])), &gain, None), &["add_norm", "write", "[3, 4]"]);
    fails(run(&h, None, &zeros(&[3]), None), &["add_norm", "gain"]);
    fails(run(&h, None, &gain, Some(&zeros(&[5]))), &["add_norm", "bias"]);
    let mut saved = run(&h, None, &gain, None).unwrap();
    let back = |s: &norm::AddNorm, g: &Tensor, dx: &Tensor, r: Option<&Tensor>| {
        norm::backward(NormParams { kind, eps: 1e-5, gain: g, bias: Some(g) }, s, dx, r)
    };
    fails(back(&saved, &zeros(&[3]), &h, None), &["add_norm backward", "gain"]);
    fails(back(&saved, &gain, &zeros(&[2, 4]), None), &["add_norm backward", "dx"]);
    fails(back(&saved, &gain, &h, Some(&zeros(&[3, 5]))), &["add_norm backward", "d_residual"]);
    for (why, t) in unfit(&[3, 4]) {
        fails(run(&t, None, &gain, None), &["add_norm", "h", why]);
        fails(run(&h, Some(&t), &gain, None), &["add_norm", "write", why]);
        fails(back(&saved, &gain, &t, None), &["add_norm backward", "dx", why]);
        fails(back(&saved, &gain, &h, Some(&t)), &["add_norm backward", "d_residual", why]);
    }
    saved.mean_rstd.pop();
    fails(back(&saved, &gain, &h, None), &["add_norm backward", "mean_rstd"]);
}

#[test]
fn attention_rejects_what_does_not_fit() {
    let s = Shape { batch: 2, seq_len: 3, heads: 2, head_dim: 4 };
    let (qkv, out) = (zeros(&[6, 24]), zeros(&[6, 8]));
    fails(attention::forward(s, &zeros(&[6, 25]), None, Stats::Taken), &["attention", "qkv", "[6, 24]"]);
    for zero in 0..4 {
        let mut sizes = [2, 3, 2, 4];
        sizes[zero] = 0;
        let [batch, seq_len, heads, head_dim] = sizes;
        let s = Shape { batch, seq_len, heads, head_dim };
        let empty = zeros(&[s.tokens(), 3 * s.width()]);
        fails(attention::forward(s, &empty, None, Stats::Taken), &["attention", "at least one"]);
    }
    let huge = Shape { batch: 1 << 62, seq_len: 3, heads: 2, head_dim: 4 };
    fails(attention::forward(huge, &qkv, None, Stats::Taken), &["attention"]);
    for rope in [Rope::new(2, 4, 1e4), Rope::new(3, 6, 1e4), Rope { sin: vec![], ..Rope::new(3, 4, 1e4) }] {
        fails(attention::forward(s, &qkv, Some(&rope), Stats::Taken), &["attention", "rotary"]);
    }
    let odd = Shape { head_dim: 3, ..s };
    fails(
        attention::forward(odd, &zeros(&[6, 18]), Some(&Rope::new(3, 3, 1e4)), Stats::Taken),
        &["attention", "rotary"],
    );
    let saved = attention::forward(s, &qkv, None, Stats::Taken).unwrap();
    fails(attention::backward(s, &qkv, &saved, None, &zeros(&[6, 9])), &["attention backward", "d_out"]);
    let short = Attention { out: zeros(&[5, 8]), lse: saved.lse.clone(), stats: None };
    fails(attention::backward(s, &qkv, &short, None, &out), &["attention backward", "saved.out"]);
    let short = Attention { out: saved.out.clone(), lse: vec![0.0], stats: None };
    fails(attention::backward(s, &qkv, &short, None, &out), &["attention backward", "saved.lse"]);
    for (why, t) in unfit(&[6, 24]) {
        fails(attention::forward(s, &t, None, Stats::Taken), &["attention", "qkv", why]);
        fails(attention::backward(s, &t, &saved, None, &out), &["attention backward", "qkv", why]);
    }
    for (why, t) in unfit(&[6, 8]) {
        fails(attention::backward(s, &qkv, &saved, None, &t), &["attention backward", "d_out", why]);
    }
}

#[test]
fn embedding_rejects_what_does_not_fit() {
    let check = |tokens: &[u32], t: usize| embedding::check("embedding", tokens, t, 5);
    check(&[0, 1, 2, 3, 4, 0], 3).unwrap();
    fails(check(&[5, 0, 0], 3), &["embedding", "token 5", "vocabulary of 5"]);
    fails(check(&[0, 1, 2, 3, 4, 0], 4), &["embedding", "tokens"]);
    fails(check(&[0, 1, 2], 0), &["embedding", "tokens"]);
    fails(check(&[], 1), &["embedding", "tokens"]);
}

#[test]
fn optimizer_rejects_what_does_not_fit() {
    let rule = Rule::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
    let good = Update {
        rule,
        lr: 0.1,
        multipliers: &[1.0],
        weight_decay: 0.0,
        clip_scale: 1.0,
        t: 1,
        stats: Stats::Taken,
    };
    let (w, g) = (zeros(&[8]), zeros(&[8]));
    let segment = |start, len, group, slot| Segment { start, len, group, slot };
    let all = [segment(0, 8, 0, Some(0))];
    let run = |u: &Update<'_>, w: &Tensor, g: &Tensor, s: &[Segment], m: &mut OptimizerState| {
        optimizer::step(u, w, g, (Decay::Applied, s), m, &mut [HeadUpdateStats::default()])
    };
    let fresh = || OptimizerState::zeros(rule, 8);
    run(&good, &w, &g, &all, &mut fresh()).unwrap();
    fails(run(&good, &w, &zeros(&[7]), &all, &mut fresh()), &["optimizer", "gradient"]);
    fails(run(&good, &w, &g, &all, &mut OptimizerState::zeros(rule, 7)), &["optimizer", "moments"]);
    let sgd = Rule::Sgd { momentum: 0.9 };
    fails(run(&good, &w, &g, &all, &mut OptimizerState::zeros(sgd, 8)), &["optimizer", "moments"]);
    fails(run(&Update { t: 0, ..good }, &w, &g, &all, &mut fresh()), &["optimizer", "t counts"]);
    for bad in [
        vec![],
        vec![segment(0, 7, 0, None)],
        vec![segment(0, 9, 0, None)],
        vec![segment(0, usize::MAX, 0, None)],
        vec![segment(1, 7, 0, None)],
        vec![segment(0, 5, 0, None), segment(4, 4, 0, None)],
        vec![segment(4, 4, 0, None), segment(0, 4, 0, None)],
    ] {
        fails(run(&good, &w, &g, &bad, &mut fresh()), &["optimizer", "segments"]);
    }
    fails(run(&good, &w, &g, &[segment(0, 8, 1, None)], &mut fresh()), &["optimizer", "multipliers"]);
    fails(run(&good, &w, &g, &[segment(0, 8, 0, Some(1))], &mut fresh()), &["optimizer", "slots"]);
    fails(run(&good, &w, &w, &all, &mut fresh()), &["optimizer", "share one storage"]);
    for (why, t) in unfit(&[4, 2]) {
        fails(run(&good, &t, &g, &all, &mut fresh()), &["optimizer", "param", why]);
        fails(run(&good, &w, &t, &all, &mut fresh()), &["optimizer", "gradient", why]);
        fails(optimizer::sum_squares(&t), &["sum_squares", "gradient", why]);
    }
}

#[test]
fn borrowing_a_tensor_rejects_what_is_not_contiguous_float32() {
    for (why, t) in unfit(&[3, 4]) {
        fails(tensor::read(&t).map(|v| v.len()), &[why]);
        assert!(tensor::edit(&t, |_| {}).is_err(), "{why}");
    }
    let t = zeros(&[3, 4]);
    tensor::edit(&t.narrow(0, 1, 1).unwrap(), |v| v.fill(1.0)).unwrap();
    let sum = t.sum_all().unwrap().to_scalar::<f32>().unwrap();
    assert_eq!(sum, 4.0, "a view's edit stays inside the view");
}
