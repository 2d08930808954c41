//! The example decoder in candle: its gradients through the fused operations are those of candle's plain ones, and its
//! record passes every check of the command line.

// The program's own `main` is not called from here.
#[allow(dead_code)]
#[path = "../examples/record_candle_model.rs"]
mod example;

use assert_cmd::Command;
use candle_core::{D, DType, Device, Result, Tensor};
use example::{BASE, CONTEXT, HEADS, Model, WIDTH};

fn wide(t: &Tensor) -> Result<Tensor> {
    t.to_dtype(DType::F64)
}

fn norm(h: &Tensor, gain: &Tensor) -> Result<Tensor> {
    let rms = (h.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?;
    h.broadcast_div(&rms)?.broadcast_mul(&wide(gain)?)
}

/// `[N, D]` to rotated or plain heads `[B, H, T, d_h]`.
fn heads(x: &Tensor, seq_len: usize, rotate: bool) -> Result<Tensor> {
    let width = WIDTH / HEADS;
    let x = x.reshape(((), seq_len, HEADS, width))?.transpose(1, 2)?.contiguous()?;
    if !rotate {
        return Ok(x);
    }
    let half = width / 2;
    let angle = |i: usize| (i / half) as f64 * BASE.powf(-2.0 * (i % half) as f64 / width as f64);
    let table = |f: fn(f64) -> f64| {
        Tensor::from_vec((0..seq_len * half).map(|i| f(angle(i))).collect(), (seq_len, half), &Device::Cpu)
    };
    let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
    let (a, b) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

/// Mean loss of the example's model, composed of candle's own operations in float64.
fn plain_loss(model: &Model, tokens: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let t = tokens.dim(1)?;
    let linear = |x: &Tensor, w: &Tensor| x.matmul(&wide(w)?.t()?);
    let mask: Vec<f64> = (0..t * t).map(|i| if i % t > i / t { -1e30 } else { 0.0 }).collect();
    let mask = Tensor::from_vec(mask, (t, t), &Device::Cpu)?;
    let mut h = wide(&model.embedding)?.index_select(&tokens.flatten_all()?, 0)?;
    for b in &model.blocks {
        let qkv = linear(&norm(&h, &b.norms[0])?, &b.qkv)?;
        let part = |i: usize| heads(&qkv.narrow(1, i * WIDTH, WIDTH)?, t, i < 2);
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let s = (q.matmul(&k.t()?)? * (1.0 / ((WIDTH / HEADS) as f64).sqrt()))?.broadcast_add(&mask)?;
        let e = s.broadcast_sub(&s.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
        let attended = p.matmul(&v)?.transpose(1, 2)?.reshape(((), WIDTH))?;
        h = (h + linear(&attended, &b.out)?)?;
        let x = norm(&h, &b.norms[1])?;
        h = (h + linear(&(linear(&x, &b.gate)?.silu()? * linear(&x, &b.up)?)?, &b.down)?)?;
    }
    let logits = linear(&norm(&h, &model.last_norm)?, &model.embedding)?;
    let chosen = logits.gather(&targets.flatten_all()?.unsqueeze(1)?, 1)?.squeeze(1)?;
    (logits.log_sum_exp(D::Minus1)? - chosen)?.mean_all()
}

#[test]
fn gradients_are_those_of_the_plain_composition() {
    let model = Model::new(40).unwrap();
    // Away from initialization, where attention is nearly uniform and its gradients nearly zero.
    for b in &model.blocks {
        b.qkv.set(&(b.qkv.as_tensor() * 10.0).unwrap()).unwrap();
    }
    let ids = |seed: u32| {
        let v: Vec<u32> = (0..2 * CONTEXT as u32).map(|i| (i * i * 7 + seed * 13 + i) % 40).collect();
        Tensor::from_vec(v, (2, CONTEXT), &Device::Cpu).unwrap()
    };
    let (tokens, targets) = (ids(1), ids(2));
    let fused = model.losses(&tokens, &targets, None).unwrap().mean_all().unwrap();
    let plain = plain_loss(&model, &tokens, &targets).unwrap();
    let (a, b) = (f64::from(fused.to_scalar::<f32>().unwrap()), plain.to_scalar::<f64>().unwrap());
    assert!((a - b).abs() < 1e-5, "{a} {b}");
    let (got, want) = (fused.backward().unwrap(), plain.backward().unwrap());
    let mut vars = vec![("embedding", &model.embedding), ("last norm", &model.last_norm)];
    for b in &model.blocks {
        vars.extend([("norm 0", &b.norms[0]), ("norm 1", &b.norms[1]), ("qkv", &b.qkv), ("out", &b.out)]);
        vars.extend([("gate", &b.gate), ("up", &b.up), ("down", &b.down)]);
    }
    for (name, v) in vars {
        let values = |g: &Tensor| wide(g).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let (g, w) = (values(got.get(v).unwrap()), values(want.get(v).unwrap()));
        let largest = w.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let worst = g.iter().zip(&w).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
        // Float32 through three layers; a missing term is of the size of the gradient.
        assert!(largest > 0.0 && worst <= 1e-4 * largest, "{name}: off by {worst:e} of {largest:e}");
    }
}

#[test]
fn its_record_is_verified_and_analysed() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    example::train(&run, 24).unwrap();
    let cli = |arguments: &[&str]| {
        let done = Command::cargo_bin("growthpath").unwrap().args(arguments).arg(&run).output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {error}{}", String::from_utf8_lossy(&done.stdout));
        String::from_utf8(done.stdout).unwrap()
    };
    assert!(cli(&["verify"]).contains("all checks hold"));
    let json: serde_json::Value = serde_json::from_str(&cli(&["analyze", "--json"])).unwrap();
    assert!(json["accounting"]["max_residual"].as_f64().unwrap() <= 1e-10);
    assert!(json["euler"]["max_rel_residual"].as_f64().unwrap() <= 1e-3);
    assert_eq!(json["bound"]["violations"], 0);
    // A run that is there already is not written over.
    assert!(example::train(&run, 24).unwrap_err().to_string().contains("already holds a run"));
}
