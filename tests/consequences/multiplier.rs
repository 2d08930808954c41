//! Slowing both W_Q and W_K by m: the first-order logit step scales by m, the second-order one by m^2.

use std::path::Path;

use faer::Mat;
use growthpath::data::{Dataset, Source, TokenizerSpec};
use growthpath::model::ModelConfig;
use growthpath::train::config::{DataConfig, Optimizer, Precision, ProbeConfig};
use growthpath::train::intervention::{Hold, Intervention, Target};
use growthpath::train::schedule::{Schedule, Shape};
use growthpath::train::{TrainConfig, train};
use growthpath_analysis::{Geometry, LayerState, Positions, account};
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

/// The squared size of a step that is `m a + m^2 b`: `m^2 (|a|^2 + 2 m <a, b> + m^2 |b|^2)`. The bracket is a parabola
/// in m, known from its values at three multipliers; at a fourth it is a prediction.
fn extrapolated(at: [f64; 3], squares: [f64; 3], m: f64) -> f64 {
    let lagrange = |i: usize| {
        (0..3).filter(|j| *j != i).map(|j| (m - at[j]) / (at[i] - at[j])).product::<f64>() / (at[i] * at[i])
    };
    m * m * (0..3).map(|i| squares[i] * lagrange(i)).sum::<f64>()
}

/// Multipliers at which the parabola is measured, and those at which it is foretold.
const KNOWN: [f64; 3] = [0.25, 0.5, 1.0];

#[test]
fn slowing_both_weights_scales_the_first_order_step_by_m_and_the_second_by_m_squared() {
    let seed: u64 = rand::rng().random();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for positions in [Positions::Plain, Positions::Rope { base: 10_000.0 }] {
        for (d, heads, head_dim) in [(7, 1, 6), (13, 3, 4), (24, 2, 10)] {
            let geometry = Geometry { heads, head_dim, positions };
            let x: Vec<Mat<f64>> = [11, 1, 29].iter().map(|t| gaussian(&mut rng, *t, d, 1.0)).collect();
            let mut draw = |s| gaussian(&mut rng, d, heads * head_dim, s);
            let (wq, wk, dq, dk) = (draw(0.5), draw(0.5), draw(0.3), draw(0.3));
            let prev = LayerState { x: x.clone(), wq, wk };
            // Multipliers of the query and of the key step.
            let moved = |q: f64, k: f64| -> Vec<f64> {
                let by = |w: &Mat<f64>, step: &Mat<f64>, m: f64| {
                    Mat::from_fn(d, w.ncols(), |i, j| m.mul_add(step[(i, j)], w[(i, j)]))
                };
                let next = LayerState { x: x.clone(), wq: by(&prev.wq, &dq, q), wk: by(&prev.wk, &dk, k) };
                account(&prev, &next, &geometry).unwrap().iter().map(|h| h.ds_w).collect()
            };
            let known = KNOWN.map(|m| moved(m, m));
            for m in [-1.0, 0.125, 3.0, rng.random_range(0.05..3.0)] {
                let both = moved(m, m);
                // Of one side alone there is no second order: its step is m times the full one.
                let (only_q, only_k, full_q, full_k) =
                    (moved(m, 0.0), moved(0.0, m), moved(1.0, 0.0), moved(0.0, 1.0));
                for h in 0..heads {
                    // dW comes back from W + m dW with |W|/(m |dW|) eps < 1e-14 a relative error; the parabola
                    // through three points multiplies it by less than 1e3 at m = 3.
                    let close = |got: f64, want: f64, tolerance: f64| {
                        assert!((got / want - 1.0).abs() <= tolerance, "seed {seed}, m {m}: {got} {want}");
                    };
                    close(only_q[h], m.abs() * full_q[h], 1e-12);
                    close(only_k[h], m.abs() * full_k[h], 1e-12);
                    let squares = std::array::from_fn(|i| known[i][h].powi(2));
                    close(both[h].powi(2), extrapolated(KNOWN, squares, m), 1e-10);
                    // A law of one order alone would be found out.
                    assert!(m == -1.0 || (both[h] / (m * known[2][h]) - 1.0).abs() > 1e-6);
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
        probe: ProbeConfig { every: 1, sequences: 2, length: 64, reliance_sequences: 0, maturity_lag: 0.02 },
        eval_every: 0,
        eval_sequences: 2,
        checkpoint_every: 0,
        dump_step: None,
    };
    train(&config, data, run, "one step", &growthpath::train::Device::Cpu, &mut |_| {}).unwrap();
    config
}

#[test]
fn a_slowed_training_step_is_m_and_m_squared_of_the_full_one() {
    const M: f64 = 0.75;
    let source = Source::BuiltIn { seed: 0, bytes: 1 << 16 };
    let tokenizer: TokenizerSpec = "bytes".parse().unwrap();
    let data = Dataset::load(&source, &tokenizer, 64, &mut |_, _, _| {}).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Decay is scaled by the multiplier as well: the law holds with it, too.
    for (preset, decay) in [("gpt", 0.0), ("gpt", 0.1), ("llama", 0.0)] {
        let read = |m: f64| -> Vec<ProbeRow> {
            let run = dir.path().join(format!("{preset}-{decay}-{m}"));
            one_step(preset, decay, (m < 1.0).then_some(m), &data, &run);
            let run = Run::open(&run).unwrap();
            let steps: Vec<StepRow> = run.steps().unwrap();
            assert_eq!(f64::from(steps[0].qk_mult), m);
            run.read::<ProbeRow>(1..=1).unwrap()
        };
        let (known, slow) = (KNOWN.map(&read), read(M));
        assert_eq!((known[2].len(), slow.len()), (16, 16));
        let full = &known[2];
        // Largest relative distance over heads between what was found at M and what is expected there.
        let worst = |found: &dyn Fn(&ProbeRow) -> f64, expected: &dyn Fn(usize) -> f64| {
            let off = |(h, row): (usize, &ProbeRow)| {
                assert_eq!((row.layer, row.head), (full[h].layer, full[h].head));
                (found(row) / expected(h) - 1.0).abs()
            };
            slow.iter().enumerate().map(off).fold(0.0, f64::max)
        };
        let square = |column: fn(&ProbeRow) -> f64| {
            worst(&|r| column(r).powi(2), &|h| {
                extrapolated(KNOWN, std::array::from_fn(|i| column(&known[i][h]).powi(2)), M)
            })
        };
        let weights = worst(&|r| r.bound_s, &|h| M * full[h].bound_s);
        let eta = worst(&|r| r.eta, &|h| M * full[h].eta);
        let (logits, map) = (square(|r| r.ds_w), square(|r| r.dm_i));
        let second = worst(&|r| r.ds_w, &|h| M * full[h].ds_w);
        println!(
            "{preset}, decay {decay}, M {M}: worst head off by {weights:.1e} in |dW|, {logits:.1e} in RMS(dS_W)^2, {map:.1e} in |dM|^2; by first order alone {second:.1e}"
        );
        // Weights up to 0.1 are stored in float32 to 4e-9 at worst; an update of 3e-3 M comes back with 5e-6 of its
        // size, of which a head averages over hundreds.
        assert!(weights < 1e-5, "{preset}: |dW| off by {weights:e}");
        assert!(logits < 2e-5 && map < 2e-5, "{preset}: off by {logits:e}, {map:e}");
        // The second order is there to be seen.
        assert!(second > 1e-3, "{preset}: {second:e}");
        // One float32 product a step.
        assert!(eta < 1e-6, "{preset}: eta off by {eta:e}");
    }
}
