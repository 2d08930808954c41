//! Loss and every gradient of every arm against the float64 reference; no parameter is cut off.

#[path = "common/reference.rs"]
mod reference;

use candle_core::Device;
use growthpath::model::config::{Ffn, ModelConfig, PRESETS};
use growthpath::model::{Decoder, Options};
use growthpath_kernels::Stats;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Float32 against float64: each of some 12 operations a block rounds by about eps sqrt(k), k <= 512 terms, and
/// 4 blocks chain: 48 * 6e-8 * 23 = 7e-5. Gradients of near-cancelled sums sit at that limit.
const TOLERANCE: f64 = 1e-4;

/// Float32's error of an activation's input: eps sqrt(64) times its size of about 1, chained over 4 blocks.
const KINK: f64 = 4e-6;

fn arms() -> Vec<ModelConfig> {
    let mut arms: Vec<ModelConfig> =
        PRESETS.iter().map(|p| ModelConfig::preset(p.0, "nano").unwrap().0).collect();
    for ffn in [Ffn::Relu, Ffn::Relu2, Ffn::Reglu, Ffn::Bilinear] {
        let mut c = ModelConfig::preset("gpt", "nano").unwrap().0;
        c.ffn = ffn;
        arms.push(c);
    }
    for preset in ["gpt", "llama"] {
        let mut c = ModelConfig::preset(preset, "nano").unwrap().0;
        c.qk_norm = true;
        c.tied = false;
        arms.push(c);
    }
    for c in &mut arms {
        c.vocab = 61;
        // odd sizes on purpose: nothing divides the blocks of the kernels
        (c.context, c.init_std) = (37, 0.08);
    }
    arms
}

#[test]
fn loss_and_gradients_match_float64_in_every_arm() {
    let mut rng = ChaCha8Rng::seed_from_u64(rand::rng().random());
    for config in arms() {
        let name = format!("{} {:?} qk_norm={}", config.preset, config.ffn, config.qk_norm);
        let (b, t) = (3, 37);
        let model = Decoder::new(config.clone(), 7, &Device::Cpu).unwrap();
        // Biases and gains start at 0 and 1, where a wrong gradient can hide: move them.
        for v in &model.params.vars {
            let noise: Vec<f32> = (0..v.elem_count()).map(|_| rng.random_range(-0.1..0.1)).collect();
            let noise = candle_core::Tensor::from_vec(noise, v.shape(), &Device::Cpu).unwrap();
            v.set(&(v.as_tensor() + noise).unwrap()).unwrap();
        }
        // ReLU's derivative jumps at 0: where an input lies within float32's rounding of it, the two models may
        // rightly differ. Such draws (about every third, of some 80,000 inputs) say nothing and are drawn anew.
        let (tokens, targets, want) = loop {
            let mut draw = || -> Vec<u32> { (0..b * t).map(|_| rng.random_range(0..61)).collect() };
            let (tokens, targets) = (draw(), draw());
            let want = reference::reference(&config, &model.params, &tokens, &targets, t).unwrap();
            if want.kink > KINK {
                break (tokens, targets, want);
            }
        };
        let mut f =
            model.forward(&tokens, t, &Options { stats: Stats::Taken, ..Options::default() }).unwrap();
        let got = model.backward(&mut f, &targets).unwrap();
        let loss = want.loss.to_scalar::<f64>().unwrap();
        assert!((got.loss - loss).abs() < 1e-5 * loss, "{name}: loss {} against {loss}", got.loss);
        let store = want.loss.backward().unwrap();
        for ((spec, g), v) in model.params.specs.iter().zip(&got.grads).zip(&want.vars) {
            let w: Vec<f64> = store.get(v).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let g: Vec<f32> = g.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(w.len(), g.len());
            let norm = w.iter().map(|x| x * x).sum::<f64>().sqrt();
            let diff = w.iter().zip(&g).map(|(w, g)| (w - f64::from(*g)).powi(2)).sum::<f64>().sqrt();
            assert!(g.iter().all(|x| x.is_finite()), "{name}: {spec:?} not finite");
            assert!(norm > 0.0 && g.iter().any(|x| *x != 0.0), "{name}: {spec:?} gets no gradient");
            assert!(diff <= TOLERANCE * norm, "{name}: {spec:?} off by {:.2e}", diff / norm);
        }
    }
}
