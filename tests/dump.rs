//! `--dump-step N`: the rows of that step, recomputed in float64 from the dump alone.

#[path = "common/reference.rs"]
mod reference;

use std::collections::HashMap;
use std::path::Path;

use assert_cmd::Command;
use candle_core::{DType, Device, Tensor};
use faer::{Mat, Scale};
use growthpath::model::ModelConfig;
use growthpath::model::hf::{Named, from_hf};
use growthpath_analysis::spectral::singular_values;
use growthpath_trace::{HeadRow, Run, StepRow, WriteRow};

const STEP: u32 = 7;

/// A program built with CUDA, whose `--device cuda` is held against its dump; `scripts/cuda-train-check.sh` names one.
const PROGRAM: &str = "GROWTHPATH_DUMP_ON_DEVICE";

fn on_device() -> bool {
    std::env::var_os(PROGRAM).is_some()
}

struct Dump {
    arrays: HashMap<String, Tensor>,
}

impl Dump {
    fn get(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let t = self.arrays.get(name).unwrap_or_else(|| panic!("the dump lacks {name}"));
        (t.dims().to_vec(), t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap())
    }

    fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// One head's slice of W_Q (block 0) or W_K (block 1), bias included, of `before`, `after` or `grad`.
    fn slice(&self, which: &str, c: &ModelConfig, l: usize, h: usize, block: usize) -> Vec<f64> {
        let (d, dh) = (c.width, c.head_dim());
        let gpt = format!("{which}.transformer.h.{l}.attn.c_attn");
        if self.has(&format!("{gpt}.weight")) {
            let first = block * d + h * dh;
            let (shape, w) = self.get(&format!("{gpt}.weight"));
            assert_eq!(shape, [d, 3 * d], "GPT-2 stores matrices input-major");
            let mut out: Vec<f64> = (0..d)
                .flat_map(|i| (0..dh).map(move |j| (i, j)))
                .map(|(i, j)| w[i * 3 * d + first + j])
                .collect();
            if self.has(&format!("{gpt}.bias")) {
                out.extend_from_slice(&self.get(&format!("{gpt}.bias")).1[first..first + dh]);
            }
            out
        } else {
            let p = ["q", "k"][block];
            let (shape, w) = self.get(&format!("{which}.model.layers.{l}.self_attn.{p}_proj.weight"));
            assert_eq!(shape, [d, d]);
            w[h * dh * d..(h + 1) * dh * d].to_vec()
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn train(dir: &Path, preset: &str) {
    let out = dir.join("run");
    let step = STEP.to_string();
    let mut program = match std::env::var_os(PROGRAM) {
        Some(program) => Command::new(program),
        None => Command::cargo_bin("growthpath").unwrap(),
    };
    program.arg("train");
    // A device would have to stop for the weights of spectra.
    match on_device() {
        // Small for the host emulator's sake, too.
        true => program.args(["--device", "cuda", "--eval-sequences", "2", "--set", "layers=2"]),
        false => program.args(["--spectra-every", &step]),
    };
    program
        .args(["--preset", preset, "--size", "nano", "--steps", "9", "--lr", "0.01", "--quiet"])
        .args(["--set", "context=29", "--batch", "5", "--probe-every", "0", "--dump-step", &step])
        .arg("--out")
        .arg(&out)
        .assert()
        .success();
}

/// Close to float32's rounding of sums of a few thousand terms: 2^-24 sqrt(4096) = 4e-6, relative to the sum of
/// absolute terms.
fn close(name: &str, got: f32, want: f64, scale: f64, tolerance: f64) {
    let diff = (f64::from(got) - want).abs();
    assert!(diff <= tolerance * scale.max(want.abs()), "{name}: {got} in the trace, {want} from the dump");
}

fn check(preset: &str) {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), preset);
    let run_dir = dir.path().join("run");
    let run = Run::open(&run_dir).unwrap();
    let path = run_dir.join(format!("dumps/step-{STEP}.safetensors"));
    let dump = Dump { arrays: candle_core::safetensors::load(path, &Device::Cpu).unwrap() };
    let config: ModelConfig = serde_json::from_value(run.info().config["model"].clone()).unwrap();
    let (b, t) = (5, 29);

    let before: HashMap<String, Named> = dump
        .arrays
        .iter()
        .filter_map(|(k, v)| {
            let name = k.strip_prefix("before.")?.to_string();
            let data = v.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            Some((name.clone(), Named { name, shape: v.dims().to_vec(), data }))
        })
        .collect();
    let params = from_hf(&config, &before, &Device::Cpu).unwrap();
    let tokens: Vec<Vec<u32>> = dump.arrays["tokens"].to_vec2().unwrap();
    let inputs: Vec<u32> = tokens.iter().flat_map(|r| r[..t].to_vec()).collect();
    let targets: Vec<u32> = tokens.iter().flat_map(|r| r[1..].to_vec()).collect();
    let want = reference::reference(&config, &params, &inputs, &targets, t).unwrap();
    let grads = want.loss.backward().unwrap();

    let step = run.read::<StepRow>(STEP..STEP + 1).unwrap()[0];
    close("loss", step.loss, want.loss.to_scalar::<f64>().unwrap(), 1.0, 1e-5);
    let norm2: f64 = dump
        .arrays
        .keys()
        .filter(|k| k.starts_with("grad."))
        .map(|k| dot(&dump.get(k).1, &dump.get(k).1))
        .sum();
    close("grad_norm", step.grad_norm, norm2.sqrt(), 1.0, 1e-5);

    let rows = run.read::<HeadRow>(STEP..STEP + 1).unwrap();
    assert_eq!(rows.len(), config.layers * config.heads);
    for r in &rows {
        let (l, h) = (usize::from(r.layer), usize::from(r.head));
        for (block, g2, gmax, w2, d2, wg, wd, gd, pressure) in [
            (0, r.g_q2, r.g_qmax, r.w_q2, r.d_q2, r.wg_q, r.wd_q, r.gd_q, r.pressure_q),
            (1, r.g_k2, r.g_kmax, r.w_k2, r.d_k2, r.wg_k, r.wd_k, r.gd_k, r.pressure_k),
        ] {
            let w = dump.slice("before", &config, l, h, block);
            let g = dump.slice("grad", &config, l, h, block);
            let d: Vec<f64> =
                dump.slice("after", &config, l, h, block).iter().zip(&w).map(|(a, b)| a - b).collect();
            let (nw, ng, nd) = (dot(&w, &w), dot(&g, &g), dot(&d, &d));
            close("w2", w2, nw, 0.0, 1e-5);
            close("g2", g2, ng, 0.0, 1e-5);
            // dW is the difference of two float32 weights: exact in the dump, as in the trace
            close("d2", d2, nd, 0.0, 1e-5);
            close("gmax", gmax, g.iter().fold(0.0, |m: f64, v| m.max(v.abs())), 0.0, 1e-6);
            close("wg", wg, dot(&w, &g), (nw * ng).sqrt(), 1e-5);
            close("wd", wd, dot(&w, &d), (nw * nd).sqrt(), 1e-5);
            close("gd", gd, dot(&g, &d), (ng * nd).sqrt(), 1e-5);
            close("pressure", pressure, -dot(&w, &g) / (nw * ng).sqrt(), 1.0, 1e-5);
        }
        if !on_device() {
            increment(&config, &dump, r);
        }
        logits(&config, r, &want, &grads, (b, t));
    }
    writes(&config, &run, &dump, &params, &inputs, (b, t));
}

/// The first-order increment of M as a d x d matrix.
fn increment(c: &ModelConfig, dump: &Dump, r: &HeadRow) {
    let (l, h) = (usize::from(r.layer), usize::from(r.head));
    let matrix = |which: &str, block: usize| {
        let w = dump.slice(which, c, l, h, block);
        let rows = w.len() / c.head_dim();
        // GPT-2 stores matrices input-major, LLaMA output-major.
        let input_major = dump.has("before.transformer.wte.weight");
        Mat::from_fn(rows, c.head_dim(), |i, j| {
            w[if input_major { i * c.head_dim() + j } else { j * rows + i }]
        })
    };
    let (wq, wk) = (matrix("before", 0), matrix("before", 1));
    let (dq, dk) = (matrix("after", 0) - &wq, matrix("after", 1) - &wk);
    let dm = (&dq * wk.transpose() + &wq * dk.transpose()) * Scale(1.0 / (c.head_dim() as f64).sqrt());
    let squares: Vec<f64> = singular_values(dm.as_ref()).unwrap().iter().map(|s| s * s).collect();
    let sum: f64 = squares.iter().sum();
    let entropy: f64 = squares.iter().map(|s| s / sum).filter(|p| *p > 1e-30).map(|p| -p * p.ln()).sum();
    // Weights are float32 in both, all else float64: what differs is the column's rounding.
    close("dm_f", r.dm_f, sum.sqrt(), 0.0, 1e-6);
    close("dm_top", r.dm_top, squares[0].sqrt(), 0.0, 1e-6);
    close("dm_entropy", r.dm_entropy, entropy / (2.0 * c.head_dim() as f64).ln(), 0.0, 1e-6);
}

fn logits(
    config: &ModelConfig,
    r: &HeadRow,
    want: &reference::Reference,
    grads: &candle_core::backprop::GradStore,
    (b, t): (usize, usize),
) {
    let (l, h) = (usize::from(r.layer), usize::from(r.head));
    let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (s, g) = (flat(&want.logits[l]), flat(grads.get(&want.taps[l]).unwrap()));
    let (mut max, mut s2, mut c2, mut entropy, mut top1) = (f64::MIN, 0.0, 0.0, 0.0, 0.0);
    let (mut gs2, mut sgs, mut pairs, mut rows) = (0.0, 0.0, 0.0, 0.0);
    let (mut min, mut sharpness, mut sharp_rows, mut near, mut far) = (f64::MAX, 0.0, 0.0, 0.0, 0.0);
    let mut sum = 0.0;
    for sequence in 0..b {
        for i in 0..t {
            let at = ((sequence * config.heads + h) * t + i) * t;
            let (row, grow) = (&s[at..at + i + 1], &g[at..at + i + 1]);
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let m = row.iter().fold(f64::MIN, |m, v| m.max(*v));
            let z: f64 = row.iter().map(|v| (v - m).exp()).sum();
            max = max.max(m);
            min = row.iter().fold(min, |m, v| m.min(*v));
            // The forward's float32 error may make another key the largest: any of those that are level with it.
            let level = || (0..=i).filter(|j| row[*j] > m - 2e-5 * (m.abs() + 1.0)).map(|j| (i - j) as f64);
            near += level().fold(f64::MAX, f64::min);
            far += level().fold(0.0, f64::max);
            sum += mean * n;
            s2 += dot(row, row);
            c2 += row.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            top1 += 1.0 / z;
            gs2 += dot(grow, grow);
            sgs += row.iter().zip(grow).map(|(s, g)| (s - mean) * g).sum::<f64>();
            pairs += n;
            if i > 0 {
                let h: f64 = row.iter().map(|v| (v - m).exp() / z).map(|p| -p * p.ln()).sum();
                entropy += h / n.ln();
                rows += 1.0;
                if i >= 7 {
                    sharpness += 1.0 - h / n.ln();
                    sharp_rows += 1.0;
                }
            }
        }
    }
    // Logits carry the forward's float32 error, 1e-5 relative to their size; their gradients the backward's.
    let size = (s2 / pairs).sqrt();
    close("s_max", r.s_max, max, size, 1e-5);
    close("s_ms", r.s_ms, s2 / pairs, 0.0, 1e-4);
    close("spread", r.spread, (c2 / pairs).sqrt(), size, 1e-5);
    close("entropy", r.entropy, entropy / rows, 1.0, 1e-5);
    close("top1", r.top1, top1 / (b * t) as f64, 1.0, 1e-5);
    close("s_min", r.s_min, min, size, 1e-5);
    close("sharpness", r.sharpness, sharpness / sharp_rows, 1.0, 1e-5);
    let distance = f64::from(r.max_distance) * (b * t) as f64;
    assert!(distance > near - 0.01 && distance < far + 0.01, "max_distance: {near} <= {distance} <= {far}");
    geometry(config, r, want, sum, (b, t));
    close("gs2", r.gs2, gs2, 0.0, 1e-3);
    close("sgs", r.sgs, sgs, (c2 * gs2).sqrt(), 1e-4);
}

/// Norms of queries and keys, and the cosine between them; `sum` is that of the logits.
fn geometry(
    config: &ModelConfig,
    r: &HeadRow,
    want: &reference::Reference,
    sum: f64,
    (b, t): (usize, usize),
) {
    let (l, h, dh) = (usize::from(r.layer), usize::from(r.head), config.head_dim());
    // Sum of squared norms over tokens, and over causal pairs.
    let squares = |x: &Tensor, pairs: fn(usize, usize) -> usize| -> (f64, f64) {
        let x = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let tokens = (0..b).flat_map(|s| (0..t).map(move |i| (s, i)));
        tokens.fold((0.0, 0.0), |(plain, paired), (s, i)| {
            let at = ((s * config.heads + h) * t + i) * dh;
            let n = dot(&x[at..at + dh], &x[at..at + dh]);
            (plain + n, paired + pairs(i, t) as f64 * n)
        })
    };
    let (q2, q2_pairs) = squares(&want.queries[l], |i, _| i + 1);
    let (k2, k2_pairs) = squares(&want.keys[l], |j, t| t - j);
    let tokens = (b * t) as f64;
    close("q_rms", r.q_rms, (q2 / tokens).sqrt(), 0.0, 1e-5);
    close("k_rms", r.k_rms, (k2 / tokens).sqrt(), 0.0, 1e-5);
    close("qk_cos", r.qk_cos, sum * (dh as f64).sqrt() / (q2_pairs * k2_pairs).sqrt(), 1.0, 1e-5);
}

fn writes(
    config: &ModelConfig,
    run: &Run,
    dump: &Dump,
    params: &growthpath::model::params::Params,
    inputs: &[u32],
    (b, t): (usize, usize),
) {
    use growthpath::model::params::Role;
    let d = config.width;
    let value = |role| {
        params.index(role, None).map(|i| params.vars[i].flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    let (wte, wpe) = (value(Role::TokenEmbedding).unwrap(), value(Role::PositionEmbedding));
    let mut h: Vec<f64> = Vec::new();
    for (n, tok) in inputs.iter().enumerate() {
        for i in 0..d {
            let p = wpe.as_ref().map_or(0.0, |p| f64::from(p[(n % t) * d + i]));
            h.push(f64::from(wte[*tok as usize * d + i]) + p);
        }
    }
    let rows = run.read::<WriteRow>(STEP..STEP + 1).unwrap();
    assert_eq!(rows.len(), 2 * config.layers);
    let tokens = (b * t) as f64;
    for r in &rows {
        let site = ["attn", "ffn"][usize::from(r.site)];
        let (shape, w) = dump.get(&format!("write.{}.{site}", r.layer));
        assert_eq!(shape, [b, t, d]);
        let common: f64 = (0..d).map(|i| (w.iter().skip(i).step_by(d).sum::<f64>() / tokens).powi(2)).sum();
        let (w2, h2) = (dot(&w, &w) / tokens, dot(&h, &h) / tokens);
        close("energy", r.energy, w2, 0.0, 1e-5);
        close("common", r.common, common, w2, 1e-5);
        close("dot", r.dot, dot(&w, &h) / tokens, (w2 * h2).sqrt(), 1e-5);
        close("h2_before", r.h2_before, h2, 0.0, 1e-5);
        h.iter_mut().zip(&w).for_each(|(h, w)| *h += w);
        close("h2_after", r.h2_after, dot(&h, &h) / tokens, 0.0, 1e-5);
    }
}

#[test]
fn rows_can_be_recomputed_from_the_dump_gpt() {
    check("gpt");
}

#[test]
fn rows_can_be_recomputed_from_the_dump_llama() {
    check("llama");
}
