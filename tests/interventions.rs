//! Every target of an intervention slows what it names, by the multiplier, and nothing else.

use candle_core::{Device, Tensor};
use growthpath::data::{Dataset, Source, TokenizerSpec};
use growthpath::model::params::Role;
use growthpath::model::{Decoder, ModelConfig};
use growthpath::train::config::{Precision, ProbeConfig, ProbeTimes};
use growthpath::train::intervention::{Hold, Intervention, Target};
use growthpath::train::schedule::{Schedule, ScheduleShape};
use growthpath::train::{TrainConfig, checkpoint, train};
use growthpath_trace::{Run, StepRow};

const M: f64 = 0.25;

/// What one layer's update did: queries and keys together, values and the output projection together.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Moved {
    qk: f64,
    vo: f64,
}

fn config(model: ModelConfig, batch: usize, target: Option<Target>) -> TrainConfig {
    TrainConfig {
        model,
        data: Source::BuiltIn { seed: 0, bytes: 1 << 16 },
        tokenizer: "bytes".into(),
        batch,
        steps: 1,
        seed: 5,
        precision: Precision::F32,
        optimizer: growthpath_kernels::optimizer::Rule::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 },
        schedule: Schedule { shape: ScheduleShape::Constant, lr: 3e-3, warmup: 0, final_fraction: 1.0 },
        weight_decay: 0.1,
        clip: 1.0,
        intervention: target.map(|target| Intervention {
            target,
            multiplier: M,
            hold: Hold::Fraction(1.0),
            ramp: 0.0,
        }),
        telemetry_every: 1,
        spectra_every: 0,
        probe: ProbeConfig {
            times: ProbeTimes::Never,
            sequences: 1,
            length: 64,
            reliance_sequences: 0,
            maturity_lag: 0.02,
        },
        eval_every: 0,
        eval_sequences: 1,
        checkpoint_every: 0,
        init: None,
        checkpoint_probes: false,
        dump_step: None,
    }
}

fn floats(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Norms of the update of each layer's weights and biases.
fn moved(before: &Decoder, after: &Decoder) -> Vec<Moved> {
    let of = |role, layer| {
        let difference = before.params.index(role, Some(layer)).map(|i| {
            let [old, new] = [before, after].map(|m| floats(m.params.vars[i].as_tensor()));
            new.iter().zip(&old).map(|(n, o)| f64::from(n - o)).collect::<Vec<f64>>()
        });
        difference.unwrap_or_default()
    };
    let norm = |parts: &[&[f64]]| parts.iter().flat_map(|p| p.iter()).map(|v| v * v).sum::<f64>().sqrt();
    let layer = |l| {
        let (w, b, o, ob) =
            (of(Role::Qkv, l), of(Role::QkvBias, l), of(Role::AttnOut, l), of(Role::AttnOutBias, l));
        let (wide, narrow) = (2 * w.len() / 3, 2 * b.len() / 3);
        Moved { qk: norm(&[&w[..wide], &b[..narrow]]), vo: norm(&[&w[wide..], &b[narrow..], &o, &ob]) }
    };
    (0..before.config.layers).map(layer).collect()
}

#[test]
fn a_target_slows_what_it_names_and_nothing_else() {
    let source = Source::BuiltIn { seed: 0, bytes: 1 << 16 };
    let tokenizer: TokenizerSpec = "bytes".parse().unwrap();
    let data = Dataset::load(&source, &tokenizer, 64, &mut |_, _, _| {}).unwrap();
    let (mut model, batch) = ModelConfig::preset("gpt", "nano").unwrap();
    model.vocab = data.info().vocab_size;
    let before = Decoder::new(model.clone(), 5, &Device::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let one_step = |name: &str, target| {
        let (run, config) = (dir.path().join(name), config(model.clone(), batch, target));
        train(&config, &data, &run, name, &growthpath::train::Device::Cpu, &mut |_| {}).unwrap();
        let steps: Vec<StepRow> = Run::open(&run).unwrap().steps().unwrap();
        let after = checkpoint::load_model(&checkpoint::folder(&run, 1)).unwrap();
        (moved(&before, &after), f64::from(steps[0].qk_mult))
    };
    let (full, multiplier) = one_step("control", None);
    assert_eq!(multiplier, 1.0);
    let half = model.upper_half();
    assert!(0 < half && half < model.layers);
    // Target, the layers whose queries and keys it slows, those whose values and outputs it slows, the column.
    let every = 0..model.layers;
    let cases = [
        (Target::UpperQk, half..model.layers, 0..0, M),
        (Target::LowerQk, 0..half, 0..0, M),
        (Target::AllQk, every, 0..0, M),
        (Target::UpperVo, 0..0, half..model.layers, 1.0),
    ];
    for (target, qk, vo, column) in cases {
        let (slowed, multiplier) = one_step(&format!("{target:?}"), Some(target));
        assert_eq!(multiplier, column, "{target:?}: the column is about W_Q and W_K");
        for (l, (s, f)) in slowed.iter().zip(&full).enumerate() {
            for (name, is, was, slow) in
                [("qk", s.qk, f.qk, qk.contains(&l)), ("vo", s.vo, f.vo, vo.contains(&l))]
            {
                // Weights of at most 0.1 are stored to 4e-9; updates of 7e-4 and more come back with 1e-5 of their size.
                let off = if slow { (is / was / M - 1.0).abs() } else { (is / was - 1.0).abs() };
                assert!(off <= if slow { 1e-5 } else { 0.0 }, "{target:?} layer {l} {name}: {is} of {was}");
            }
        }
    }
}
