//! The workspace of a network: what an earlier, larger batch left in it reaches nothing, and backends refuse what does
//! not fit.

use candle_core::Device;
use growthpath::model::backend::{Backend, Cpu};
use growthpath::model::{Decoder, ModelConfig, Network, Options};
use growthpath_kernels::Stats;
use growthpath_kernels::optimizer::{OptimizerState, Rule, Update};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const RULE: Rule = Rule::Sgd { momentum: 0.0 };
const CONTEXT: usize = 19;

struct Batch {
    tokens: Vec<u32>,
    targets: Vec<u32>,
    seq_len: usize,
}

impl Batch {
    fn draw(rng: &mut ChaCha8Rng, rows: usize, seq_len: usize) -> Self {
        let mut draw = || (0..rows * seq_len).map(|_| rng.random_range(0..61)).collect();
        Self { tokens: draw(), targets: draw(), seq_len }
    }

    fn parts(&self) -> (&[u32], &[u32], usize) {
        (&self.tokens, &self.targets, self.seq_len)
    }
}

fn decoder(preset: &str) -> Decoder {
    let mut config = ModelConfig::preset(preset, "nano").unwrap().0;
    (config.context, config.vocab, config.init_std) = (CONTEXT, 61, 0.08);
    config.qk_norm = preset == "llama";
    config.tied = preset == "gpt";
    Decoder::new(config, 3, &Device::Cpu).unwrap()
}

/// A step that measures and moves nothing.
fn step(network: &mut Network<Cpu>, model: &Decoder, batch: &Batch) -> Vec<Vec<f32>> {
    let multipliers = vec![1.0; 1 + 2 * model.config.layers];
    let update = Update {
        rule: RULE,
        lr: 0.0,
        multipliers: &multipliers,
        weight_decay: 0.0,
        clip_scale: 1.0,
        t: 1,
        stats: Stats::Taken,
    };
    let mut state: Vec<OptimizerState> =
        model.params.vars.iter().map(|v| OptimizerState::zeros(RULE, v.elem_count())).collect();
    network.step(batch.parts(), &update, 0.0, &mut state).unwrap();
    assert!(network.read().unwrap().is_some());
    network.backend().gradients().unwrap()
}

#[test]
fn a_reused_workspace_gives_the_bits_of_a_fresh_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for preset in ["gpt", "llama", "gpt+geglu"] {
        let model = decoder(preset);
        let (large, small) = (Batch::draw(&mut rng, 4, CONTEXT), Batch::draw(&mut rng, 3, 11));
        let mut used = model.train_on(Cpu::new(&model, 4 * CONTEXT)).unwrap();
        step(&mut used, &model, &large);
        let got = step(&mut used, &model, &small);
        let mut forward = model
            .forward(&small.tokens, small.seq_len, &Options { stats: Stats::Taken, ..Options::default() })
            .unwrap();
        let want = model.backward(&mut forward, &small.targets).unwrap();
        assert!(want.loss.is_finite() && got.len() == want.grads.len());
        for ((got, want), spec) in got.iter().zip(&want.grads).zip(&model.params.specs) {
            let want: Vec<f32> = want.flatten_all().unwrap().to_vec1().unwrap();
            assert!(want.iter().any(|v| *v != 0.0) && *got == want, "{preset}: {spec:?}");
        }
        // Losses row by row are those of the whole batch: what validation relies on.
        let whole = used.losses(large.parts(), &[(1, 0)]).unwrap();
        let rows = large.tokens.chunks(CONTEXT).zip(large.targets.chunks(CONTEXT));
        let each: Vec<f32> =
            rows.flat_map(|(i, t)| used.losses((i, t, CONTEXT), &[(1, 0)]).unwrap()).collect();
        // Products sum in an order that does not follow from their size with x86-64's vector kernels alone (`gemm`).
        let tolerance = if cfg!(target_arch = "x86_64") { 0.0 } else { 1e-5 };
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= tolerance * b.abs();
        assert!(whole.len() == each.len() && whole.iter().zip(&each).all(near), "{preset}");
        assert_ne!(whole, used.losses(large.parts(), &[]).unwrap(), "{preset}: the ablation did something");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let model = decoder("gpt");
    let mut network = model.train_on(Cpu::new(&model, 2 * CONTEXT)).unwrap();
    let t = vec![1u32; 3 * CONTEXT];
    let mut says = |tokens: &[u32], targets: &[u32], seq_len, uniform: &[(usize, usize)], want: &str| {
        let error = network.losses((tokens, targets, seq_len), uniform).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    let one = &t[..CONTEXT];
    says(&t, &t, CONTEXT, &[], "there is room for 38");
    says(one, &t[..5], CONTEXT, &[], "5 targets for 19 tokens");
    says(one, one, 7, &[], "do not make sequences of 7");
    says(&t[..2 * CONTEXT], &t[..2 * CONTEXT], 2 * CONTEXT, &[], "context 19");
    says(&[61; CONTEXT], one, CONTEXT, &[], "token 61");
    says(one, &[77; CONTEXT], CONTEXT, &[], "target 77");
    says(one, one, CONTEXT, &[(0, 4)], "no head 4 in layer 0");
    says(one, one, CONTEXT, &[(4, 0)], "no head 0 in layer 4");
}
