//! The fused depthwise convolution against candle's grouped one, forward and both gradients, ratio printed.
//!
//! `cargo bench -p faster-projected-gan --bench depthwise`. The ratio is of the fastest calls: whatever else the machine
//! does only adds time.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor, Var};
use criterion::Criterion;
use faster_projected_gan::ops::{Window, depthwise_conv2d};

/// Outputs of megabytes would otherwise be mapped and faulted in anew at each call.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Fastest call, seconds.
fn run(criterion: &mut Criterion, name: &str, mut op: impl FnMut()) -> f64 {
    let best = Cell::new(f64::INFINITY);
    criterion.bench_function(name, |b| {
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
    best.get()
}

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    let mut lines = Vec::new();
    // A generator's depthwise layers at base width 16: few channels on a large image, many on a small one.
    for (b, c, size) in [(8, 32, 128), (8, 32, 64), (8, 64, 32), (8, 256, 8)] {
        let name = format!("{b} x {c} x {size} x {size}");
        let x = Var::randn(0f32, 1f32, (b, c, size, size), &Device::Cpu).expect("input");
        let w = Var::randn(0f32, 1f32, (c, 1, 3, 3), &Device::Cpu).expect("weight");
        let (xd, wd) = (x.as_detached_tensor(), w.as_detached_tensor());
        let ours = |x: &Tensor, w: &Tensor| depthwise_conv2d(x, w, Window::new(3, 1, 1)).expect("fused");
        let theirs = |x: &Tensor, w: &Tensor| x.conv2d(w, 1, 1, 1, c).expect("candle");
        let difference =
            (ours(&xd, &wd) - theirs(&xd, &wd)).and_then(|d| d.abs()?.max_all()?.to_dtype(DType::F64));
        let difference: f64 = difference.and_then(|d| d.to_scalar()).expect("difference");
        assert!(difference < 1e-4, "they differ by {difference}");
        let backward =
            |y: Tensor| y.sqr().and_then(|y| y.sum_all()).and_then(|l| l.backward()).expect("gradient");
        let a = run(&mut criterion, &format!("fused forward {name}"), || drop(black_box(ours(&xd, &wd))));
        let b = run(&mut criterion, &format!("candle forward {name}"), || drop(black_box(theirs(&xd, &wd))));
        let c = run(&mut criterion, &format!("fused both ways {name}"), || {
            drop(black_box(backward(ours(&x, &w))))
        });
        let d = run(&mut criterion, &format!("candle both ways {name}"), || {
            drop(black_box(backward(theirs(&x, &w))))
        });
        lines.push(format!(
            "{name}: forward {:.3} ms, candle {:.3} ms, ratio {:.1}; forward and gradients {:.3} ms, candle {:.3} ms, ratio {:.1}",
            1e3 * a, 1e3 * b, b / a, 1e3 * c, 1e3 * d, d / c
        ));
    }
    for line in lines {
        println!("{line}");
    }
}
