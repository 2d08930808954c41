//! Slowing both W_Q and W_K by m: the first-order logit step scales by m, the second-order one by m^2.

use std::path::Path;

use candle_core::Device;
use faer::Mat;
use growthpath::data::{Dataset, Source, TokenizerSpec};
use growthpath::model::{Decoder, ModelConfig, Options};
use growthpath::train::config::{Precision, ProbeConfig, ProbeTimes};
use growthpath::train::intervention::{Hold, Intervention, Target};
use growthpath::train::schedule::{Schedule, ScheduleShape};
use growthpath::train::{TrainConfig, checkpoint, train};
use growthpath_analysis::{Geometry, LayerState, Positions, account};
use growthpath_trace::{ProbeRow, Run, StepRow};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::orders::{Orders, orders};
use crate::{geometry, projections, state};

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
            let step = |m: f64| -> LayerState {
                let by = |w: &Mat<f64>, step: &Mat<f64>| {
                    Mat::from_fn(d, w.ncols(), |i, j| m.mul_add(step[(i, j)], w[(i, j)]))
                };
                LayerState { x: x.clone(), wq: by(&prev.wq, &dq), wk: by(&prev.wk, &dk) }
            };
            let whole = orders(&prev, &step(1.0), &geometry);
            for m in [1.0, 0.25, rng.random_range(0.05..3.0)] {
                let next = step(m);
                let scaled = orders(&prev, &next, &geometry);
                let measured = account(&prev, &next, &geometry).unwrap();
                for ((measured, scaled), whole) in measured.iter().zip(&scaled).zip(&whole) {
                    // dW comes back from W + m dW with |W|/(m |dW|) eps <= 100 eps = 2e-14 a relative error; sums of
                    // products round by the size of their factors.
                    let close = |got: f64, want: f64, size: f64| {
                        assert!((got - want).abs() <= 1e-11 * size, "seed {seed}, m {m}: {got} {want}");
                    };
                    let (d, d2) = (m * whole.first.sqrt(), m * m * whole.second.sqrt());
                    close(scaled.first.sqrt(), d, d);
                    close(scaled.second.sqrt(), d2, d2);
                    close(scaled.cross, m.powi(3) * whole.cross, d * d2);
                    // The accounting, which knows no orders, finds m D + m^2 D2.
                    close(measured.ds_w, whole.of_update_times(m), d + d2);
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
        data: Source::BuiltIn { seed: 0, bytes: 1 << 16 },
        tokenizer: "bytes".into(),
        batch,
        steps: 1,
        seed: 11,
        precision: Precision::F32,
        optimizer: growthpath_kernels::optimizer::Rule::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 },
        schedule: Schedule { shape: ScheduleShape::Constant, lr: 3e-3, warmup: 0, final_fraction: 1.0 },
        weight_decay,
        clip: 1.0,
        intervention: multiplier.map(|multiplier| Intervention {
            target: Target::AllQk,
            multiplier,
            hold: Hold::Fraction(1.0),
            ramp: 0.0,
        }),
        telemetry_every: 1,
        spectra_every: 0,
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
        init: None,
        checkpoint_probes: false,
        dump_step: None,
    };
    train(&config, data, run, "one step", &growthpath::train::Device::Cpu, &mut |_| {}).unwrap();
    config
}

/// Weights and features of a run's first step: layer by layer, before and after the update, at the features before it.
fn first_step(config: &TrainConfig, run: &Path, tokens: &[u32], context: usize) -> Vec<[LayerState; 2]> {
    let before = Decoder::new(config.model.clone(), config.seed, &Device::Cpu).unwrap();
    let after = checkpoint::load_model(&checkpoint::folder(run, 1)).unwrap();
    let forward = before.forward(tokens, context, &Options::default()).unwrap();
    let pair = |layer| {
        let prev = state(&before, &forward, layer);
        let [wq, wk] = projections(&after, layer, |i| after.params.vars[i].as_tensor().clone());
        let next = LayerState { x: prev.x.clone(), wq, wk };
        [prev, next]
    };
    (0..config.model.layers).map(pair).collect()
}

/// One head of the full and of the slowed step.
struct Pair {
    full: Orders,
    slow: Orders,
    /// RMS(dS_W) of the slowed step, by the accounting.
    measured: f64,
}

#[test]
fn a_slowed_training_step_is_m_and_m_squared_of_the_full_one() {
    const M: f64 = 0.25;
    let source = Source::BuiltIn { seed: 0, bytes: 1 << 16 };
    let tokenizer: TokenizerSpec = "bytes".parse().unwrap();
    let data = Dataset::load(&source, &tokenizer, 64, &mut |_, _, _| {}).unwrap();
    let probe = data.probe_sequences(2, 64).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Decay is scaled by the multiplier as well: the law holds with it, too.
    for (preset, decay) in [("gpt", 0.0), ("gpt", 0.1), ("llama", 0.0)] {
        let run = |name: &str, multiplier: Option<f64>| {
            let run = dir.path().join(format!("{preset}-{decay}-{name}"));
            let config = one_step(preset, decay, multiplier, &data, &run);
            let layers = first_step(&config, &run, &probe.inputs, probe.context);
            let run = Run::open(&run).unwrap();
            let steps: Vec<StepRow> = run.steps().unwrap();
            let rows = run.read::<ProbeRow>(1..=1).unwrap();
            (f64::from(steps[0].qk_mult), rows, layers, geometry(&config.model))
        };
        let ((one, full, full_layers, geometry), (m, slow, slow_layers, _)) =
            (run("full", None), run("slow", Some(M)));
        assert_eq!((one, m, full.len(), slow.len()), (1.0, M, 16, 16));
        let pairs: Vec<Pair> = full_layers
            .iter()
            .zip(&slow_layers)
            .flat_map(|([prev, next], [slow_prev, slow_next])| {
                let alike = prev.x == slow_prev.x && prev.wq == slow_prev.wq && prev.wk == slow_prev.wk;
                assert!(alike, "both runs start from the same model");
                let orders =
                    orders(prev, next, &geometry).into_iter().zip(orders(prev, slow_next, &geometry));
                let measured = account(prev, slow_next, &geometry).unwrap();
                orders.zip(measured).map(|((full, slow), a)| Pair { full, slow, measured: a.ds_w })
            })
            .collect();
        // Weights up to 0.1 are stored in float32 to 4e-9 at worst; an update of 3e-3 M comes back with 5e-6 of
        // its size.
        let worst = |off: &dyn Fn(&Pair) -> f64| pairs.iter().map(off).fold(0.0, f64::max);
        let relative = |got: f64, want: f64| (got - want).abs() / want;
        let first = worst(&|p| relative(p.slow.first.sqrt(), M * p.full.first.sqrt()));
        let second = worst(&|p| relative(p.slow.second.sqrt(), M * M * p.full.second.sqrt()));
        let whole = worst(&|p| relative(p.measured, p.full.of_update_times(M)));
        let mean = |v: &dyn Fn(&Pair) -> f64| pairs.iter().map(v).sum::<f64>() / pairs.len() as f64;
        let (d, d_slow) = (mean(&|p| p.full.first.sqrt()), mean(&|p| p.slow.first.sqrt()));
        let (d2, d2_slow) = (mean(&|p| p.full.second.sqrt()), mean(&|p| p.slow.second.sqrt()));
        println!(
            "{preset}, decay {decay}: mean RMS(D) {d:.4e} -> {d_slow:.4e}, ratio {:.7} (worst head off by {first:.1e}); mean RMS(D2) {d2:.4e} -> {d2_slow:.4e}, ratio {:.7} (worst head off by {second:.1e}); RMS(dS_W) off by {whole:.1e}",
            d_slow / d,
            d2_slow / d2,
        );
        assert!(first < 1e-5, "{preset}: first order off by {first:e}");
        assert!(second < 1e-5, "{preset}: second order off by {second:e}");
        assert!(whole < 1e-5, "{preset}: dS_W off by {whole:e}");
        recorded(preset, M, geometry.head_dim as f64, &full, &slow);
    }
}

/// The same law in what the two runs recorded.
fn recorded(preset: &str, m: f64, head_dim: f64, full: &[ProbeRow], slow: &[ProbeRow]) {
    for (f, s) in full.iter().zip(slow) {
        let at = format!("{preset}, layer {} head {}", f.layer, f.head);
        assert_eq!((f.layer, f.head), (s.layer, s.head));
        let off = |got: f64, want: f64| (got - want).abs() / want;
        // One float32 product a step; float32 weights as above.
        assert!(off(s.eta, m * f.eta) < 1e-6, "{at}: eta {} {}", s.eta, f.eta);
        assert!(off(s.bound_s, m * f.bound_s) < 1e-5, "{at}: s {} {}", s.bound_s, f.bound_s);
        // RMS(D + m D2), m D + m^2 D2 over m, leaves RMS(D + D2) by at most (1 - m) RMS(D2), which (6.1)'s proof bounds
        // by E |dW_Q||dW_K| / sqrt(d_h) <= E s^2 / (2 sqrt(d_h)).
        let left = (s.ds_w / m - f.ds_w).abs();
        let most = (1.0 - m) * f.bound_e * f.bound_s.powi(2) / (2.0 * head_dim.sqrt());
        assert!(left <= most, "{at}: ds_w {} {}", s.ds_w, f.ds_w);
    }
}
