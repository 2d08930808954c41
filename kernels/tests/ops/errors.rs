//! Arguments that do not fit are errors that name the operation, never panics.

use candle_core::{DType, Device, Tensor};
use growthpath_kernels::activation::{self, Activation};
use growthpath_kernels::attention::{self, Attention, Shape};
use growthpath_kernels::cross_entropy::head_loss;
use growthpath_kernels::norm::{self, Norm};
use growthpath_kernels::optimizer::{self, HeadUpdateStats, OptimizerState, Rule, Segment, Update};
use growthpath_kernels::rope::Rope;
use growthpath_kernels::{Result, embedding, linear, qk_norm, tensor};

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
fn linear_rejects_what_does_not_fit() {
    let (x, w, b, dy) = (zeros(&[3, 4]), zeros(&[5, 4]), zeros(&[5]), zeros(&[3, 5]));
    fails(linear::forward(&zeros(&[3, 6]), &w, None), &["linear", "weight", "[5, 4]"]);
    fails(linear::forward(&zeros(&[12]), &w, None), &["linear", "x"]);
    fails(linear::forward(&zeros(&[0, 4]), &w, None), &["linear", "x"]);
    fails(linear::forward(&x, &zeros(&[0, 4]), None), &["linear", "weight"]);
    fails(linear::forward(&x, &w, Some(&zeros(&[4]))), &["linear", "bias"]);
    fails(linear::backward(&zeros(&[3, 4]), &x, &w, true), &["linear backward", "dy"]);
    for (why, t) in unfit(&[3, 4]) {
        fails(linear::forward(&t, &w, Some(&b)), &["linear", "x", why]);
        fails(linear::backward(&dy, &t, &w, true), &["linear backward", "x", why]);
    }
    for (why, t) in unfit(&[5, 4]) {
        fails(linear::forward(&x, &t, None), &["linear", "weight", why]);
    }
    for (why, t) in unfit(&[3, 5]) {
        fails(linear::backward(&t, &x, &w, true), &["linear backward", "dy", why]);
    }
}

#[test]
fn norm_rejects_what_does_not_fit() {
    let kind = Norm::LayerNorm;
    let (h, gain) = (zeros(&[3, 4]), zeros(&[4]));
    let run = |h: &Tensor, w: Option<&Tensor>, g: &Tensor, b: Option<&Tensor>| {
        norm::forward(kind, 1e-5, h, w, g, b, true)
    };
    fails(run(&zeros(&[3]), None, &gain, None), &["add_norm", "h"]);
    fails(run(&zeros(&[3, 0]), None, &zeros(&[0]), None), &["add_norm", "h"]);
    fails(run(&h, Some(&zeros(&[4, 3])), &gain, None), &["add_norm", "write", "[3, 4]"]);
    fails(run(&h, None, &zeros(&[3]), None), &["add_norm", "gain"]);
    fails(run(&h, None, &gain, Some(&zeros(&[5]))), &["add_norm", "bias"]);
    let mut saved = run(&h, None, &gain, None).unwrap();
    let back = |s: &norm::AddNorm, g: &Tensor, dx: &Tensor, r: Option<&Tensor>| {
        norm::backward(kind, s, g, dx, r, true)
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
fn activation_rejects_what_does_not_fit() {
    fails(activation::forward(Activation::Geglu, &zeros(&[2, 5]), true), &["activation", "gated"]);
    fails(activation::forward(Activation::Gelu, &zeros(&[2, 0]), true), &["activation", "up"]);
    fails(activation::forward(Activation::Gelu, &zeros(&[2, 3, 4]), true), &["activation", "up"]);
    let back = |u: &Tensor, d: &Tensor| activation::backward(Activation::Swiglu, u, d);
    fails(back(&zeros(&[2, 6]), &zeros(&[2, 6])), &["activation backward", "d_out", "[2, 3]"]);
    for (why, t) in unfit(&[2, 6]) {
        fails(activation::forward(Activation::Gelu, &t, false), &["activation", "up", why]);
        fails(back(&t, &zeros(&[2, 3])), &["activation backward", "up", why]);
    }
}

#[test]
fn attention_rejects_what_does_not_fit() {
    let s = Shape { batch: 2, seq_len: 3, heads: 2, head_dim: 4 };
    let (qkv, out) = (zeros(&[6, 24]), zeros(&[6, 8]));
    fails(attention::forward(s, &zeros(&[6, 25]), None, true), &["attention", "qkv", "[6, 24]"]);
    for zero in 0..4 {
        let mut sizes = [2, 3, 2, 4];
        sizes[zero] = 0;
        let [batch, seq_len, heads, head_dim] = sizes;
        let s = Shape { batch, seq_len, heads, head_dim };
        let empty = zeros(&[s.tokens(), 3 * s.width()]);
        fails(attention::forward(s, &empty, None, true), &["attention", "at least one"]);
    }
    let huge = Shape { batch: 1 << 62, seq_len: 3, heads: 2, head_dim: 4 };
    fails(attention::forward(huge, &qkv, None, true), &["attention"]);
    for rope in [Rope::new(2, 4, 1e4), Rope::new(3, 6, 1e4), Rope { sin: vec![], ..Rope::new(3, 4, 1e4) }] {
        fails(attention::forward(s, &qkv, Some(&rope), true), &["attention", "rotary"]);
    }
    let odd = Shape { head_dim: 3, ..s };
    fails(
        attention::forward(odd, &zeros(&[6, 18]), Some(&Rope::new(3, 3, 1e4)), true),
        &["attention", "rotary"],
    );
    let saved = attention::forward(s, &qkv, None, true).unwrap();
    fails(attention::backward(s, &qkv, &saved, None, &zeros(&[6, 9])), &["attention backward", "d_out"]);
    let short = Attention { out: zeros(&[5, 8]), lse: saved.lse.clone(), stats: None };
    fails(attention::backward(s, &qkv, &short, None, &out), &["attention backward", "saved.out"]);
    let short = Attention { out: saved.out.clone(), lse: vec![0.0], stats: None };
    fails(attention::backward(s, &qkv, &short, None, &out), &["attention backward", "saved.lse"]);
    for (why, t) in unfit(&[6, 24]) {
        fails(attention::forward(s, &t, None, true), &["attention", "qkv", why]);
        fails(attention::backward(s, &t, &saved, None, &out), &["attention backward", "qkv", why]);
        fails(attention::uniform(s, &t, &out, &[0]), &["uniform", "qkv", why]);
    }
    for (why, t) in unfit(&[6, 8]) {
        fails(attention::backward(s, &qkv, &saved, None, &t), &["attention backward", "d_out", why]);
        fails(attention::uniform(s, &qkv, &t, &[0]), &["uniform", "out", why]);
    }
    fails(attention::uniform(s, &qkv, &out, &[2]), &["uniform", "head 2"]);
    fails(attention::uniform(s, &zeros(&[6, 8]), &out, &[0]), &["uniform", "qkv"]);
    fails(attention::uniform(s, &qkv, &zeros(&[6, 7]), &[0]), &["uniform", "out"]);
}

#[test]
fn qk_norm_rejects_what_does_not_fit() {
    let s = Shape { batch: 1, seq_len: 3, heads: 2, head_dim: 4 };
    let (x, gain, short) = (zeros(&[3, 24]), zeros(&[4]), zeros(&[3]));
    fails(qk_norm::forward(s, &zeros(&[4, 24]), &gain, &gain), &["qk_norm", "qkv"]);
    fails(qk_norm::forward(s, &x, &short, &gain), &["qk_norm", "q_gain"]);
    fails(qk_norm::forward(s, &x, &gain, &short), &["qk_norm", "k_gain"]);
    fails(qk_norm::forward(Shape { heads: 0, ..s }, &zeros(&[3, 0]), &gain, &gain), &["qk_norm"]);
    let saved = qk_norm::forward(s, &x, &gain, &gain).unwrap();
    let back = |x: &Tensor, g: &Tensor, d: &Tensor| qk_norm::backward(s, x, &saved, g, &gain, d);
    fails(back(&x, &short, &x), &["qk_norm backward", "q_gain"]);
    fails(back(&x, &gain, &zeros(&[3, 8])), &["qk_norm backward", "d "]);
    let other = Shape { batch: 2, ..s };
    let longer = zeros(&[6, 24]);
    fails(qk_norm::backward(other, &longer, &saved, &gain, &gain, &longer), &["qk_norm backward", "saved"]);
    for (why, t) in unfit(&[3, 24]) {
        fails(qk_norm::forward(s, &t, &gain, &gain), &["qk_norm", "qkv", why]);
        fails(back(&x, &gain, &t), &["qk_norm backward", "d ", why]);
    }
}

#[test]
fn head_loss_rejects_what_does_not_fit() {
    let (x, w) = (zeros(&[2, 4]), zeros(&[7, 4]));
    fails(head_loss(&x, &w, &[0, 7], true), &["head_loss", "target 7", "vocabulary of 7"]);
    fails(head_loss(&x, &w, &[0], true), &["head_loss", "targets"]);
    fails(head_loss(&x, &zeros(&[7, 5]), &[0, 1], true), &["head_loss", "weight"]);
    fails(head_loss(&zeros(&[0, 4]), &w, &[], true), &["head_loss", "x"]);
    for (why, t) in unfit(&[2, 4]) {
        fails(head_loss(&t, &w, &[0, 1], true), &["head_loss", "x", why]);
    }
}

#[test]
fn embedding_rejects_what_does_not_fit() {
    let (wte, wpe, dh) = (zeros(&[5, 4]), zeros(&[3, 4]), zeros(&[6, 4]));
    let tokens = [0, 1, 2, 3, 4, 0];
    fails(embedding::forward(&[5, 0, 0], 3, &wte, None), &["embedding", "token 5", "vocabulary of 5"]);
    fails(embedding::forward(&tokens, 4, &wte, None), &["embedding", "tokens"]);
    fails(embedding::forward(&tokens, 0, &wte, Some(&wpe)), &["embedding", "tokens"]);
    fails(embedding::forward(&[], 1, &wte, None), &["embedding", "tokens"]);
    fails(embedding::forward(&tokens, 6, &wte, Some(&wpe)), &["embedding", "wpe"]);
    fails(embedding::forward(&tokens, 3, &wte, Some(&zeros(&[3, 5]))), &["embedding", "wpe"]);
    fails(embedding::backward(&tokens, 3, &zeros(&[5, 4]), &wte, None), &["embedding backward", "d_h"]);
    fails(embedding::backward(&tokens, 3, &dh, &zeros(&[5, 3]), None), &["embedding backward", "d_wte"]);
    fails(embedding::backward(&tokens, 3, &dh, &zeros(&[4, 4]), None), &["embedding backward", "token 4"]);
    fails(embedding::backward(&tokens, 3, &dh, &wte, Some(2)), &["embedding backward", "positions"]);
    fails(embedding::backward(&[0; 5], 5, &wte, &wte, None), &["embedding backward", "share one storage"]);
    for (why, t) in unfit(&[5, 4]) {
        fails(embedding::forward(&tokens, 3, &t, None), &["embedding", "wte", why]);
        fails(embedding::backward(&tokens, 3, &dh, &t, None), &["embedding backward", "d_wte", why]);
    }
}

#[test]
fn optimizer_rejects_what_does_not_fit() {
    let rule = Rule::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
    let good =
        Update { rule, lr: 0.1, multipliers: &[1.0], weight_decay: 0.0, clip_scale: 1.0, t: 1, stats: true };
    let (w, g) = (zeros(&[8]), zeros(&[8]));
    let segment = |start, len, group, slot| Segment { start, len, group, slot };
    let all = [segment(0, 8, 0, Some(0))];
    let run = |u: &Update<'_>, w: &Tensor, g: &Tensor, s: &[Segment], m: &mut OptimizerState| {
        optimizer::step(u, w, g, true, s, m, &mut [HeadUpdateStats::default()])
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
