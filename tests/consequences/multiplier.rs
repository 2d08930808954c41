//! Slowing both W_Q and W_K by m: the first-order logit step scales by m, the second-order one by m^2.

use std::path::Path;

use faer::Mat;
use growthpath::data::{Dataset, Source, TokenizerSpec};
use growthpath::model::ModelConfig;
use growthpath::train::config::{DataConfig, Optimizer, Precision, ProbeConfig, ProbeTimes};
use growthpath::train::intervention::{Hold, Intervention, Target};
use growthpath::train::schedule::{Schedule, Shape};
use growthpath::train::{TrainConfig, train};
use growthpath_analysis::{Geometry, HeadAccounting, LayerState, Positions, account};
use growthpath_trace::{ProbeRow, Run, StepRow};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

fn gaussian(rng: &mut ChaCha8Rng, rows: usize, cols: usize, deviation: f64) -> Mat<f64> {
    Mat::from_fn(rows, cols, |_, _| {
        let z: f64 = StandardNormal.sample(rng);
        deviation * z
    })
}

#[test]
fn slowing_both_weights_scales_the_first_order_step_by_m_and_the_second_by_m_squared() {
    let seed: u64 = rand::rng().random();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for positions in [Positions::Plain, Positions::Rope { base: 10_000.0 }] {
        for (d, heads, head_dim) in [(7, 1, 6), (13, 3, 4), (24, 2, 10)] {
            let geometry = Geometry { heads, head_dim, positions };
            let x: Vec<Mat<f64>> = [11, 1, 29].iter().map(|t| gaussian(&mut rng, *t, d, 1.0)).collect();
            let mut draw = |s| gaussian(&mut rng, d, heads * head_dim, s);
            let (wq, wk, dq, dk) = (draw(0.5), draw(0.5), draw(0.1), draw(0.1));
            let prev = LayerState { x: x.clone(), wq, wk };
            let moved = |m: f64| -> Vec<HeadAccounting> {
                let by = |w: &Mat<f64>, step: &Mat<f64>| {
                    Mat::from_fn(d, w.ncols(), |i, j| m.mul_add(step[(i, j)], w[(i, j)]))
                };
                let next = LayerState { x: x.clone(), wq: by(&prev.wq, &dq), wk: by(&prev.wk, &dk) };
                account(&prev, &next, &geometry).unwrap()
            };
            let full = moved(1.0);
            for m in [0.25, rng.random_range(0.05..3.0)] {
                for (slow, full) in moved(m).iter().zip(&full) {
                    // dW comes back from W + m dW with |W|/(m |dW|) eps <= 100 eps = 2e-14 a relative error;
                    // rates are inner products, rounding by the size RMS(D)/a of their factors.
                    let close = |got: f64, want: f64, size: f64| {
                        assert!((got - want).abs() <= 1e-11 * size, "seed {seed}, m {m}: {got} {want}");
                    };
                    let (d, d2) = (m * full.r_d, m * m * full.r_d2);
                    close(slow.r_d, d, d);
                    close(slow.r_d2, d2, d2);
                    close(slow.g_d, m * full.g_d, d / full.a_prev);
                    close(slow.g_d2, m * m * full.g_d2, d2 / full.a_prev);
                }
            }
        }
    }
}

fn one_step(
    preset: &str,
    weight_decay: f64,
    multiplier: Option<f64>,
    data: &Dataset,
    run: &Path,
) -> TrainConfig {
    let (mut model, batch) = ModelConfig::preset(preset, "nano").unwrap();
    model.vocab = data.info().vocab_size;
    let config = TrainConfig {
        model,
        data: DataConfig::BuiltIn { seed: 0, bytes: 1 << 16 },
        tokenizer: "bytes".into(),
        batch,
        steps: 1,
        seed: 11,
        precision: Precision::F32,
        optimizer: Optimizer::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 },
        schedule: Schedule { shape: Shape::Constant, lr: 3e-3, warmup: 0, final_fraction: 1.0 },
        weight_decay,
        clip: 1.0,
        intervention: multiplier.map(|multiplier| Intervention {
            target: Target::AllQk,
            multiplier,
            hold: Hold::Fraction(1.0),
            ramp: 0.0,
        }),
        telemetry_every: 1,
        probe: ProbeConfig {
            times: ProbeTimes::Every { steps: 1 },
            sequences: 2,
            length: 64,
            reliance_sequences: 0,
            maturity_lag: 0.02,
        },
        eval_every: 0,
        eval_sequences: 2,
        checkpoint_every: 0,
        checkpoint_probes: false,
        dump_step: None,
    };
    train(&config, data, run, "one step", &growthpath::train::Device::Cpu, &mut |_| {}).unwrap();
    config
}

#[test]
fn a_slowed_training_step_is_m_and_m_squared_of_the_full_one() {
    const M: f64 = 0.25;
    let source = Source::BuiltIn { seed: 0, bytes: 1 << 16 };
    let tokenizer: TokenizerSpec = "bytes".parse().unwrap();
    let data = Dataset::load(&source, &tokenizer, 64, &mut |_, _, _| {}).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Decay is scaled by the multiplier as well: the law holds with it, too.
    for (preset, decay) in [("gpt", 0.0), ("gpt", 0.1), ("llama", 0.0)] {
        let read = |name: &str, multiplier: Option<f64>| -> (f64, Vec<ProbeRow>) {
            let run = dir.path().join(format!("{preset}-{decay}-{name}"));
            one_step(preset, decay, multiplier, &data, &run);
            let run = Run::open(&run).unwrap();
            let steps: Vec<StepRow> = run.steps().unwrap();
            (f64::from(steps[0].qk_mult), run.read::<ProbeRow>(1..=1).unwrap())
        };
        let ((one, full), (m, slow)) = (read("full", None), read("slow", Some(M)));
        assert_eq!((one, m, full.len(), slow.len()), (1.0, M, 16, 16));
        let worst = |value: &dyn Fn(&ProbeRow) -> f64, factor: f64, size: &dyn Fn(&ProbeRow) -> f64| {
            let off = |(f, s): (&ProbeRow, &ProbeRow)| {
                assert_eq!((f.layer, f.head), (s.layer, s.head));
                (value(s) - factor * value(f)).abs() / (factor * size(f))
            };
            full.iter().zip(&slow).map(off).fold(0.0, f64::max)
        };
        // Weights up to 0.1 are stored in float32 to 4e-9 at worst; an update of 3e-3 M comes back with 5e-6 of
        // its size. Inner products round by the size of their factors: for g_D by r_D/a, for g_D2 by
        // RMS(D2)/a, of which the largest |g_D2| among the layer's heads is a good part.
        let rms = worst(&|r| r.r_d, M, &|r| r.r_d);
        let rate = worst(&|r| r.g_d, M, &|r| r.r_d / r.spread_prev);
        let largest =
            |layer: u16| full.iter().filter(|r| r.layer == layer).map(|r| r.g_d2.abs()).fold(0.0, f64::max);
        let curvature = worst(&|r| r.g_d2, M * M, &|r| largest(r.layer));
        let eta = worst(&|r| r.eta, M, &|r| r.eta);
        let of = |rows: &[ProbeRow], v: &dyn Fn(&ProbeRow) -> f64| rows.iter().map(v).sum::<f64>() / 16.0;
        println!(
            "{preset}, decay {decay}: mean r_D {:.4e} -> {:.4e}, ratio {:.7} (worst head off by {rms:.1e}); mean |g_D2| {:.4e} -> {:.4e}, ratio {:.7} (worst head off by {curvature:.1e})",
            of(&full, &|r| r.r_d),
            of(&slow, &|r| r.r_d),
            of(&slow, &|r| r.r_d) / of(&full, &|r| r.r_d),
            of(&full, &|r| r.g_d2.abs()),
            of(&slow, &|r| r.g_d2.abs()),
            of(&slow, &|r| r.g_d2.abs()) / of(&full, &|r| r.g_d2.abs()),
        );
        assert!(rms < 1e-5 && rate < 1e-5, "{preset}: first order off by {rms:e}, {rate:e}");
        assert!(curvature < 1e-5, "{preset}: second order off by {curvature:e}");
        // One float32 product a step.
        assert!(eta < 1e-6, "{preset}: eta off by {eta:e}");
    }
}
