//! Time of every CPU operation and its distance from a floor measured in the same run.
//!
//! Floors: a large matrix product (operations bound by arithmetic) and a large copy (operations bound by memory), on the
//! same threads. Small tensors stay in cache, so an operation may beat the copy.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use criterion::Criterion;
use faer::Accum;
use growthpath_kernels::Stats;
use growthpath_kernels::activation::Activation;
use growthpath_kernels::attention::{self, Shape};
use growthpath_kernels::gemm;
use growthpath_kernels::norm::{self, Norm, NormParams};
use growthpath_kernels::optimizer::{self, Decay, HeadUpdateStats, OptimizerState, Rule, Segment, Update};
use growthpath_kernels::rope::Rope;
use rayon::prelude::*;

#[path = "../tests/ops/forms.rs"]
mod forms;

use forms::{activation, embedding, head_loss, linear};

/// The program's allocator: outputs of megabytes would otherwise be mapped and faulted in anew at each call.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What an operation has to do at least.
#[derive(Clone, Copy)]
enum Work {
    /// Floating-point operations of its matrix products (a multiply-add is two).
    Flops(f64),
    /// Bytes read and written.
    Bytes(f64),
}

struct Row {
    name: String,
    seconds: f64,
    work: Work,
}

/// Runs operations through criterion and keeps the fastest call of each: whatever else the machine does only adds time.
struct Bench {
    criterion: Criterion,
    rows: Vec<Row>,
}

impl Bench {
    fn run(&mut self, name: String, work: Work, mut op: impl FnMut()) {
        let best = Cell::new(f64::INFINITY);
        self.criterion.bench_function(&name, |b| {
            b.iter_custom(|n| {
                let mut total = Duration::ZERO;
                for _ in 0..n {
                    let start = Instant::now();
                    op();
                    let spent = start.elapsed();
                    best.set(best.get().min(spent.as_secs_f64()));
                    total += spent;
                }
                total
            });
        });
        if best.get().is_infinite() {
            return; // filtered out on the command line
        }
        self.rows.push(Row { name, seconds: best.get(), work });
    }

    fn table(&self) {
        let rate = |name: &str| {
            self.rows.iter().find(|r| r.name == name).map(|r| match r.work {
                Work::Flops(w) | Work::Bytes(w) => w / r.seconds,
            })
        };
        let (flops, bytes) = (rate("floor/gemm"), rate("floor/copy"));
        println!("\n{} threads", rayon::current_num_threads());
        println!("{:<34} {:>10} {:>14} {:>10}", "operation", "us", "rate", "x floor");
        for r in &self.rows {
            let (work, unit, floor) = match r.work {
                Work::Flops(w) => (w, "GFLOP/s", flops),
                Work::Bytes(w) => (w, "GB/s", bytes),
            };
            let ratio = floor.map_or("-".into(), |f| format!("{:.2}", r.seconds * f / work));
            let rate = format!("{:.1} {unit}", work / r.seconds / 1e9);
            println!("{:<34} {:>10.1} {:>14} {:>10}", r.name, r.seconds * 1e6, rate, ratio);
        }
    }
}

/// Values in (-1, 1) that repeat after a long period; distribution does not matter to time here.
fn random(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed.wrapping_mul(2_654_435_761).max(1);
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 17;
            s ^= s << 5;
            s as f32 / 2_147_483_648.0 - 1.0
        })
        .collect()
}

fn matrix(rows: usize, columns: usize, seed: u32) -> Tensor {
    Tensor::from_vec(random(rows * columns, seed), (rows, columns), &Device::Cpu).unwrap()
}

fn vector(n: usize, seed: u32) -> Tensor {
    Tensor::from_vec(random(n, seed), n, &Device::Cpu).unwrap()
}

fn floors(b: &mut Bench) {
    const N: usize = 512;
    let (x, y, mut z) = (random(N * N, 1), random(N * N, 2), vec![0f32; N * N]);
    b.run("floor/gemm".into(), Work::Flops(2.0 * (N as f64).powi(3)), || {
        gemm::gemm(gemm::rows_mut(&mut z, N, N), Accum::Replace, gemm::rows(&x, N, N), gemm::rows(&y, N, N));
    });
    const BIG: usize = 1 << 22;
    let (from, mut to) = (random(BIG, 3), vec![0f32; BIG]);
    b.run("floor/copy".into(), Work::Bytes(8.0 * BIG as f64), || {
        to.par_chunks_mut(1 << 16).zip(from.par_chunks(1 << 16)).for_each(|(t, f)| t.copy_from_slice(f));
        black_box(&mut to);
    });
}

fn size(b: &mut Bench, name: &str, shape: Shape, vocabulary: usize) {
    let (n, d) = (shape.tokens(), shape.width());
    let (nf, df) = (n as f64, d as f64);
    let cells = 4.0 * nf * df;
    let label = |op: &str| format!("{name}/{op}");
    let (x, w) = (matrix(n, d, 1), matrix(3 * d, d, 2));
    let (bias, dy) = (vector(3 * d, 3), matrix(n, 3 * d, 4));
    b.run(label("linear"), Work::Flops(6.0 * nf * df * df), || {
        black_box(linear::forward(&x, &w, Some(&bias)));
    });
    b.run(label("linear backward"), Work::Flops(12.0 * nf * df * df), || {
        black_box(linear::backward(&dy, &x, &w, true));
    });

    let rope = Rope::new(shape.seq_len, shape.head_dim, 1e4);
    let pairs = (shape.batch * shape.heads * shape.seq_len * (shape.seq_len + 1) / 2) as f64;
    let product = 2.0 * pairs * shape.head_dim as f64;
    for (with, rope) in [("", None), (" rope", Some(&rope))] {
        b.run(label(&format!("attention{with}")), Work::Flops(2.0 * product), || {
            black_box(attention::forward(shape, &dy, rope, Stats::Taken).unwrap());
        });
        let f = attention::forward(shape, &dy, rope, Stats::Taken).unwrap();
        b.run(label(&format!("attention backward{with}")), Work::Flops(5.0 * product), || {
            black_box(attention::backward(shape, &dy, &f, rope, &x).unwrap());
        });
    }

    let (write, gain) = (matrix(n, d, 5), vector(d, 6));
    let params = NormParams { kind: Norm::LayerNorm, eps: 1e-5, gain: &gain, bias: Some(&gain) };
    for (with, stats) in [("", Stats::Taken), (" no statistics", Stats::Off)] {
        b.run(label(&format!("add_norm{with}")), Work::Bytes(4.0 * cells), || {
            let r = norm::forward(params, &x, Some(&write), stats);
            black_box(r.unwrap());
        });
    }
    let saved = norm::forward(params, &x, Some(&write), Stats::Taken).unwrap();
    b.run(label("add_norm backward"), Work::Bytes(4.0 * cells), || {
        black_box(norm::backward(params, &saved, &x, Some(&write)).unwrap());
    });

    let (up, gated) = (matrix(n, 4 * d, 7), matrix(n, 8 * d, 8));
    for (act, u, tensors) in [(Activation::Gelu, &up, 2.0), (Activation::Swiglu, &gated, 3.0)] {
        for (with, stats) in [("", Stats::Taken), (" no statistics", Stats::Off)] {
            b.run(label(&format!("{act:?}{with}")), Work::Bytes(4.0 * tensors * cells), || {
                black_box(activation::forward(act, u, stats));
            });
        }
        b.run(label(&format!("{act:?} backward")), Work::Bytes(4.0 * (2.0 * tensors - 1.0) * cells), || {
            black_box(activation::backward(act, u, &up));
        });
    }

    let head = matrix(vocabulary, d, 9);
    let targets: Vec<u32> = (0..n).map(|i| (i * 7919 % vocabulary) as u32).collect();
    for (with, grads, products) in [("", true, 3.0), (" no gradients", false, 1.0)] {
        let flops = products * 2.0 * nf * df * vocabulary as f64;
        b.run(label(&format!("head_loss{with}")), Work::Flops(flops), || {
            black_box(head_loss(&x, &head, &targets, grads));
        });
    }

    let (positions, d_head) = (matrix(shape.seq_len, d, 10), matrix(vocabulary, d, 11));
    b.run(label("embedding"), Work::Bytes(2.0 * cells), || {
        black_box(embedding::forward(&targets, shape.seq_len, &head, Some(&positions)));
    });
    b.run(label("embedding backward"), Work::Bytes(3.0 * cells), || {
        black_box(embedding::backward(&targets, shape.seq_len, &x, &d_head, Some(shape.seq_len)));
    });

    let len = 12 * d * d;
    let segment = len / 12;
    // W_Q and W_K are two of the twelve d x d blocks of a layer
    let segments: Vec<_> = (0..12)
        .map(|i| Segment { start: i * segment, len: segment, group: 0, slot: (i < 2).then_some(i) })
        .collect();
    let (param, grad) = (vector(len, 12), vector(len, 13));
    let rule = Rule::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
    let mut moments = OptimizerState::zeros(rule, len);
    for (with, stats) in [("", Stats::Taken), (" no statistics", Stats::Off)] {
        let u =
            Update { rule, lr: 1e-6, multipliers: &[1.0], weight_decay: 0.1, clip_scale: 0.5, t: 9, stats };
        b.run(label(&format!("AdamW{with}")), Work::Bytes(28.0 * len as f64), || {
            let mut slots = [HeadUpdateStats::default(); 2];
            optimizer::step(&u, &param, &grad, (Decay::Applied, &segments), &mut moments, &mut slots)
                .unwrap();
            black_box(slots);
        });
    }
}

fn main() {
    let criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(400))
        .without_plots()
        .configure_from_args();
    let mut b = Bench { criterion, rows: Vec::new() };
    floors(&mut b);
    size(&mut b, "micro", Shape { batch: 16, seq_len: 128, heads: 4, head_dim: 32 }, 2048);
    size(&mut b, "mini", Shape { batch: 8, seq_len: 256, heads: 8, head_dim: 32 }, 2048);
    b.table();
    b.criterion.final_summary();
}
