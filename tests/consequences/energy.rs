//! How the logit step grows with the residual energy: twice in the exponent under SGD, once under Adam (6.4).

use candle_core::{Device, Tensor};
use growthpath::model::params::Role;
use growthpath::model::{Decoder, ModelConfig, Options};
use growthpath_analysis::LayerState;
use growthpath_analysis::bound::residual_energy;
use growthpath_analysis::statistics::power_law;
use growthpath_kernels::Stats;
use growthpath_kernels::optimizer::{Decay, OptimizerState, Rule, Segment, Update, step};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::orders::orders;
use crate::{floats, geometry, projections, state};

/// What stays fixed while the gain of the attention norm scales.
#[derive(Clone, Copy, PartialEq)]
enum Values {
    /// W_V shrinks as the gain grows: values, and so the gradient at the logits, stay the same.
    Kept,
    /// Values grow with the input like queries and keys.
    Scaled,
}

/// One update of `rule` in layer 1 of 2 with the attention norm's gain at `alpha`: E of (6.1) and RMS(D) over heads,
/// divided by the learning rate (D is linear in it).
fn logit_step(seed: u64, alpha: f64, rule: Rule, values: Values) -> (f64, f64) {
    const LAYER: usize = 1;
    let mut config = ModelConfig::preset("gpt-nobias", "nano").unwrap().0;
    (config.layers, config.context, config.vocab) = (2, 32, 61);
    let (d, t) = (config.width, config.context);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || -> Vec<u32> { (0..4 * t).map(|_| rng.random_range(0..61)).collect() };
    let (tokens, targets) = (draw(), draw());
    let model = Decoder::new(config, seed, &Device::Cpu).unwrap();
    let index = |role| model.params.index(role, Some(LAYER)).unwrap();
    let gain = &model.params.vars[index(Role::AttnNormGain)];
    gain.set(&gain.affine(alpha, 0.0).unwrap()).unwrap();
    let qkv = &model.params.vars[index(Role::Qkv)];
    if values == Values::Kept {
        let mut w = floats(qkv.as_tensor());
        w[2 * d * d..].iter_mut().for_each(|v| *v /= alpha as f32);
        qkv.set(&Tensor::from_vec(w, qkv.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    let mut forward = model.forward(&tokens, t, &Options::default()).unwrap();
    let prev = state(&model, &forward, LAYER);
    let grads = model.backward(&mut forward, &targets).unwrap().grads;
    let grad = &grads[index(Role::Qkv)];
    let size = |t: &Tensor| {
        let rows = &floats(t)[..2 * d * d];
        (rows.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / rows.len() as f64).sqrt()
    };
    // Updates of about a tenth of the weights, so that float32 keeps six of their digits.
    let lr = match rule {
        Rule::AdamW { eps, .. } if eps < 1e-6 => 0.1 * size(qkv.as_tensor()),
        _ => 0.1 * size(qkv.as_tensor()) / size(grad),
    };
    let update = Update {
        rule,
        lr: lr as f32,
        multipliers: &[1.0],
        weight_decay: 0.0,
        clip_scale: 1.0,
        t: 1,
        stats: Stats::Off,
    };
    let len = qkv.elem_count();
    let whole = [Segment { start: 0, len, group: 0, slot: None }];
    step(
        &update,
        qkv.as_tensor(),
        grad,
        (Decay::Exempt, &whole),
        &mut OptimizerState::zeros(rule, len),
        &mut [],
    )
    .unwrap();
    let [wq, wk] = projections(&model, LAYER, |i| model.params.vars[i].as_tensor().clone());
    let next = LayerState { x: prev.x.clone(), wq, wk };
    let heads = orders(&prev, &next, &geometry(&model.config));
    let square = heads.iter().map(|h| h.first).sum::<f64>() / heads.len() as f64;
    (residual_energy(&prev.x).unwrap(), square.sqrt() / f64::from(lr as f32))
}

/// RMS(D) against E over a decade of gains (two of E), 32 independent models and batches.
///
/// With gain alpha, x = alpha x_1, so E ~ alpha^2 and D = (X dW_Q K^T + Q (X dW_K)^T) / sqrt(d_h) ~ alpha^2 |dW|.
/// - dW of a fixed size (signs of the gradient): D ~ E.
/// - dW = -lr G, G_{W_Q} = X^T G_S K / sqrt(d_h) ~ alpha^2 |G_S|: D ~ alpha^4 |G_S|. While logits are small,
///   G_S = p (dP - mean) with p uniform and dP = G_out V^T, so |G_S| is constant if values are kept (D ~ E^2)
///   and ~ alpha if they scale along (D ~ E^(5/2)).
#[test]
fn the_logit_step_grows_with_energy_squared_under_sgd_and_linearly_under_adam() {
    let sgd = Rule::Sgd { momentum: 0.0 };
    let adam = |eps| Rule::AdamW { beta1: 0.9, beta2: 0.95, eps };
    let alphas: Vec<f64> = (0..8).map(|i| 0.1 * 10f64.powf(f64::from(i) / 7.0)).collect();
    let cases = [
        // eps far below every gradient: the first step is the gradient's sign.
        ("adam, values kept", adam(1e-20), Values::Kept, Some(1.0)),
        ("adam, values scaled", adam(1e-20), Values::Scaled, Some(1.0)),
        ("sgd, values kept", sgd, Values::Kept, Some(2.0)),
        ("sgd, values scaled", sgd, Values::Scaled, Some(2.5)),
        // eps far above every gradient: Adam's first step is the gradient over eps.
        ("adam with eps 1, values kept", adam(1.0), Values::Kept, Some(2.0)),
        // The usual eps lies among the gradients of so small a model: in between, and not asserted.
        ("adam with eps 1e-8, values scaled", adam(1e-8), Values::Scaled, None),
    ];
    for (name, rule, values, theory) in cases {
        let points =
            (0..4).flat_map(|r| alphas.iter().enumerate().map(move |(i, a)| (1000 + 8 * r + i as u64, *a)));
        let (e, d): (Vec<f64>, Vec<f64>) = points.map(|(seed, a)| logit_step(seed, a, rule, values)).unzip();
        // 99 %: five intervals that must all hold.
        let fit = power_law(&e, &d, 0.99).unwrap();
        let (low, high) = (fit.interval.low, fit.interval.high);
        println!(
            "RMS(D) ~ E^p, {name}: p = {:.4}, 99 % interval [{low:.4}, {high:.4}], R^2 {:.5}, theory {}",
            fit.slope,
            fit.r_squared,
            theory.map_or("between 1 and 2.5".into(), |t: f64| t.to_string())
        );
        if let Some(theory) = theory {
            assert!(low <= theory && theory <= high, "{name}: [{low}, {high}] does not hold {theory}");
            // Half the distance between the exponents to be told apart.
            assert!(high - low < 0.25, "{name}: [{low}, {high}] tells nothing apart");
        }
    }
    // The same model and batch at two gains: no sampling error, what is left is the softmax's second order, of the
    // size of the logits (1e-3 here).
    for (name, rule, theory) in [("adam", adam(1e-20), 1.0), ("sgd", sgd, 2.0)] {
        let [(e0, d0), (e1, d1)] = [0.1, 0.2].map(|a| logit_step(7, a, rule, Values::Kept));
        let p = (d1 / d0).ln() / (e1 / e0).ln();
        println!("RMS(D) ~ E^p, {name}, one model at two gains: p = {p:.5}, theory {theory}");
        assert!((p - theory).abs() < 5e-3, "{name}: {p}");
    }
}
