//! Balance (2.2) and the energy bound on gradients (6.4).

use candle_core::Device;
use faer::{Mat, MatRef};
use growthpath::model::config::Positions as ModelPositions;
use growthpath::model::{Decoder, ModelConfig, Options};
use growthpath_analysis::LayerState;
use growthpath_analysis::eigen::lambda_max_of_gram;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{projections, state};

fn square_norm(m: MatRef<'_, f64>) -> f64 {
    (0..m.ncols()).map(|j| (0..m.nrows()).map(|i| m[(i, j)].powi(2)).sum::<f64>()).sum()
}

/// (2.2) and (6.4) on real gradients of a model that is no longer at its initialization's scale.
#[test]
fn gradients_balance_without_rope_and_never_exceed_the_energy_bound() {
    for preset in ["gpt", "gpt+geglu", "llama", "gpt+rope"] {
        let mut config = ModelConfig::preset(preset, "nano").unwrap().0;
        (config.context, config.vocab, config.init_std) = (27, 61, 0.1);
        let (heads, head_dim, layers) = (config.heads, config.head_dim(), config.layers);
        let plain = config.pos == ModelPositions::Learned;
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut draw = || -> Vec<u32> { (0..3 * 27).map(|_| rng.random_range(0..61)).collect() };
        let (tokens, targets) = (draw(), draw());
        let model = Decoder::new(config, 5, &Device::Cpu).unwrap();
        let mut forward = model.forward(&tokens, 27, &Options::default()).unwrap();
        let states: Vec<LayerState> = (0..layers).map(|l| state(&model, &forward, l)).collect();
        let g = model.backward(&mut forward, &targets).unwrap();
        let (mut tightest, mut balance, mut rotary_balance) = (0f64, 0f64, f64::INFINITY);
        for (l, s) in states.iter().enumerate() {
            let [gq, gk] = projections(&model, l, |i| g.grads[i].clone());
            let rows: Vec<(usize, usize)> =
                s.x.iter().enumerate().flat_map(|(b, x)| (0..x.nrows()).map(move |i| (b, i))).collect();
            let x = Mat::from_fn(rows.len(), s.width(), |r, j| s.x[rows[r].0][(rows[r].1, j)]);
            let energy = lambda_max_of_gram(&x).unwrap();
            for h in 0..heads {
                let head = |m: &Mat<f64>| m.subcols(h * head_dim, head_dim).to_owned();
                let (wq, wk, gq, gk) = (head(&s.wq), head(&s.wk), head(&gq), head(&gk));
                let norm = |m: &Mat<f64>| square_norm(m.as_ref()).sqrt();
                let gs = g.logit_grads[l][h].gs2.sqrt();
                let most = energy * gs / (head_dim as f64).sqrt();
                for (grad, other) in [(&gq, &wk), (&gk, &wq)] {
                    let tightness = norm(grad) / (most * norm(other));
                    // float32 gradients: far from the bound, rounding cannot cross it.
                    assert!(tightness <= 1.0, "{preset} layer {l} head {h}: {tightness}");
                    tightest = tightest.max(tightness);
                }
                let (left, right) = (wq.transpose() * &gq, gk.transpose() * &wk);
                let off = norm(&(&left - &right)) / (norm(&wq) * norm(&gq)).max(norm(&wk) * norm(&gk));
                balance = balance.max(off);
                rotary_balance = rotary_balance.min(off);
            }
        }
        println!(
            "{preset}: (6.4) tightness up to {tightest:.4}, (2.2) off by {balance:.1e} at worst, {rotary_balance:.1e} at least"
        );
        if plain {
            // float32 gradients, sums over 81 tokens and 64 inputs: about 6e-8 sqrt(81 * 64) = 4e-6 of |W||G|.
            assert!(balance < 4e-6, "{preset}: {balance:e}");
        } else {
            // Rotation breaks it by far more than rounding.
            assert!(rotary_balance > 1e-3, "{preset}: {rotary_balance:e}");
        }
    }
}
