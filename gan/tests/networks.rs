//! Counts against the oracle, and a gradient for every parameter.

mod common;

use std::path::PathBuf;

use candle_core::{DType, Tensor};
use common::values;
use faster_projected_gan::config::{GeneratorConfig, Variant};
use faster_projected_gan::count;
use faster_projected_gan::discriminator::{Augmentation, Discriminator, Projection, augment};
use faster_projected_gan::efficientnet::{EfficientNet, Size};
use faster_projected_gan::generator::{Generator, Noise};
use faster_projected_gan::images::load_image;
use faster_projected_gan::nn::Pass;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn config(ngf: usize, resolution: usize, variant: Variant, lite: bool) -> GeneratorConfig {
    GeneratorConfig { ngf, resolution, variant, lite }
}

/// The weights folder, or a word why the test is skipped.
fn weights() -> Option<PathBuf> {
    let folder = std::env::var_os("GAN_WEIGHTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("weights"), PathBuf::from);
    if folder.join(Size::Lite1.file()).is_file() {
        return Some(folder);
    }
    eprintln!("skipped: no weights in {} (gan/scripts/fetch-weights.sh fetches them)", folder.display());
    None
}

/// Rows of the oracle: ngf, px, variant, lite, parameters, multiply-accumulates in millions of an image.
const ORACLE: [(usize, usize, Variant, bool, u64, u64); 12] = [
    (128, 256, Variant::Standard, false, 105_684_175, 49_667),
    (128, 256, Variant::Separable, false, 36_601_871, 5_845),
    (128, 256, Variant::First, false, 59_978_063, 21_881),
    (128, 256, Variant::Second, false, 82_307_983, 33_632),
    (128, 256, Variant::Standard, true, 79_354_307, 31_548),
    (128, 256, Variant::Separable, true, 33_648_195, 3_762),
    (64, 256, Variant::Standard, false, 30_622_319, 12_449),
    (64, 256, Variant::Separable, false, 13_366_287, 1_544),
    (32, 128, Variant::Standard, false, 9_756_655, 2_208),
    (32, 128, Variant::Separable, false, 5_449_919, 284),
    (16, 128, Variant::Standard, false, 3_489_599, 557),
    (16, 128, Variant::Separable, false, 2_416_551, 81),
];

#[test]
fn counts_are_the_oracles() {
    for (ngf, px, variant, lite, parameters, mega) in ORACLE {
        let c = count::generator(&config(ngf, px, variant, lite));
        assert_eq!(c.parameters, parameters, "{ngf} {px} {variant:?} {lite}");
        // The oracle's table is rounded to a million.
        assert_eq!((c.macs + 500_000) / 1_000_000, mega, "{ngf} {px} {variant:?} {lite}");
    }
    let d = count::discriminators(256);
    assert_eq!(d.parameters, 10_331_328);
    assert_eq!((d.macs + 50_000) / 100_000, 14_772);
    let m = count::mixing(256);
    assert_eq!((m.parameters, (m.macs + 50_000) / 100_000), (376_768, 1_971));
}

#[test]
fn the_networks_hold_what_was_counted() {
    for (ngf, px) in [(4, 128), (4, 256), (8, 512), (16, 1024)] {
        for variant in Variant::ALL {
            for lite in [false, true] {
                let c = config(ngf, px, variant, lite);
                if c.check().is_err() {
                    continue;
                }
                let g = Generator::new(c.clone(), &mut rng(1), DType::F32).unwrap();
                assert_eq!(g.params.count() as u64, count::generator(&c).parameters, "{c:?}");
            }
        }
    }
}

#[test]
fn every_generator_parameter_gets_a_gradient() {
    for (variant, lite, px) in [
        (Variant::Standard, false, 128),
        (Variant::Separable, false, 256),
        (Variant::First, false, 128),
        (Variant::Second, false, 128),
        (Variant::Separable, true, 128),
    ] {
        let g = Generator::new(config(4, px, variant, lite), &mut rng(1), DType::F64).unwrap();
        let z = g.latents(3, &mut rng(2)).unwrap();
        let y = g.forward(&z, &mut Noise(rng(3)), Pass::LEARN).unwrap();
        assert_eq!(y.dims(), [3, 3, px, px]);
        let loss = y.mul(&common::random(y.dims(), 4)).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        for (name, var) in &g.params.parameters {
            match grads.get(var) {
                None => assert!(g.is_unused(name), "{name} has no gradient"),
                Some(d) => {
                    let d = values(d);
                    assert!(!g.is_unused(name) && d.iter().all(|v| v.is_finite()), "{name}");
                    assert!(d.iter().any(|v| v.abs() > 1e-12), "{name}: all zero");
                }
            }
        }
    }
}

/// The whole generator against central differences along random directions: what feeds two paths (4, 8 and 16 px feed
/// a block and an excitation) must add.
#[test]
fn the_generators_gradient_is_the_slope() {
    let g = Generator::new(config(2, 256, Variant::Separable, false), &mut rng(1), DType::F64).unwrap();
    let z = g.latents(2, &mut rng(2)).unwrap();
    // Buffers decide, so that moving a weight does not move the singular vectors.
    let pass = Pass { train: false, grad: true };
    g.forward(&z, &mut Noise(rng(3)), Pass::LEARN).unwrap();
    let loss = || {
        let y = g.forward(&z, &mut Noise(rng(3)), pass).unwrap();
        y.mul(&common::random(y.dims(), 4)).unwrap().sum_all().unwrap()
    };
    let grads = loss().backward().unwrap();
    for (i, (name, var)) in g.params.parameters.iter().enumerate() {
        let base = var.copy().unwrap();
        let direction = common::random(var.dims(), 100 + i as u64);
        let at = |h: f64| {
            var.set(&(&base + (&direction * h).unwrap()).unwrap()).unwrap();
            values(&loss())[0]
        };
        let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
        var.set(&base).unwrap();
        let analytic: f64 =
            values(grads.get(var).unwrap()).iter().zip(values(&direction)).map(|(a, b)| a * b).sum();
        // Cancellation: 1e-16 of a loss of some hundreds over 2e-6.
        assert!((numeric - analytic).abs() < 1e-5 * (1.0 + analytic.abs()), "{name}: {analytic} {numeric}");
    }
}

#[test]
fn every_discriminator_parameter_gets_a_gradient() {
    let Some(folder) = weights() else { return };
    let network = EfficientNet::load(&folder, Size::Lite0, DType::F64).unwrap();
    assert_eq!(network.backbone_parameters(), 2_958_848);
    let projection = Projection::new(network, &mut rng(1), DType::F64).unwrap();
    assert_eq!(projection.mixing_parameters(), 376_768);
    let d = Discriminator::new(projection, 128, &mut rng(2), DType::F64).unwrap();
    assert_eq!(d.params.count(), 10_331_328);
    let x = candle_core::Var::from_tensor(&common::random(&[2, 3, 128, 128], 5)).unwrap();
    let a = Augmentation::draw(2, 128, &mut rng(3));
    let logits = d.forward(&x, &a, Pass::LEARN).unwrap();
    assert_eq!(logits.dims(), [2, 4]);
    let weighted = logits.mul(&common::random(&[2, 4], 9)).unwrap().sum_all().unwrap();
    let grads = weighted.backward().unwrap();
    for (name, var) in d.params.parameters.iter() {
        let g = values(grads.get(var).unwrap_or_else(|| panic!("{name} has no gradient")));
        assert!(g.iter().all(|v| v.is_finite()), "{name}");
        // A bias before a batch norm is taken away again: its gradient is zero but for rounding.
        let largest = g.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        match name.ends_with("conv.bias") {
            true => assert!(largest < 1e-10, "{name}: {largest}"),
            false => assert!(largest > 1e-9, "{name}: {largest}"),
        }
    }
    // To the images, through augmentation, frozen features and mixing: the slope along a random direction.
    let direction = common::random(&[2, 3, 128, 128], 6);
    let at = |h: f64| {
        let y = d.forward(&(x.as_tensor() + (&direction * h).unwrap()).unwrap(), &a, Pass::EVALUATE).unwrap();
        values(&y.mul(&common::random(&[2, 4], 9)).unwrap().sum_all().unwrap())[0]
    };
    let y = d.forward(&x, &a, Pass { train: false, grad: false }).unwrap();
    let loss = y.mul(&common::random(&[2, 4], 9)).unwrap().sum_all().unwrap();
    let g = loss.backward().unwrap();
    let analytic: f64 = values(g.get(&x).unwrap()).iter().zip(values(&direction)).map(|(a, b)| a * b).sum();
    let numeric = (at(1e-7) - at(-1e-7)) / 2e-7;
    // ReLU6 has kinks: a few of a million units cross one within the step.
    assert!((numeric - analytic).abs() < 1e-3 * analytic.abs().max(1e-3), "{numeric} {analytic}");
    let full = d.forward(&x, &Augmentation::none(), Pass::EVALUATE).unwrap();
    assert!(values(&full) != values(&y), "augmentation changes the logits");
}

#[test]
fn logits_at_256_px() {
    let Some(folder) = weights() else { return };
    let network = EfficientNet::load(&folder, Size::Lite0, DType::F32).unwrap();
    let projection = Projection::new(network, &mut rng(1), DType::F32).unwrap();
    let x = common::random(&[1, 3, 256, 256], 5).to_dtype(DType::F32).unwrap();
    let shapes: Vec<Vec<usize>> = projection.forward(&x).unwrap().iter().map(|t| t.dims().to_vec()).collect();
    assert_eq!(shapes, [[1, 64, 128, 128], [1, 64, 64, 64], [1, 128, 32, 32], [1, 256, 16, 16]]);
    let d = Discriminator::new(projection, 256, &mut rng(2), DType::F32).unwrap();
    assert_eq!(d.forward(&x, &Augmentation::none(), Pass::FOLLOW).unwrap().dims(), [1, 100]);
}

#[test]
fn frozen_networks_classify_photographs() {
    let Some(folder) = weights() else { return };
    for size in [Size::Lite0, Size::Lite1] {
        let network = EfficientNet::load(&folder, size, DType::F32).unwrap();
        let s = size.resolution();
        // ImageNet's nearest classes: a dahlia is a daisy (985), the Summer Palace's temple a palace (698).
        for (file, class) in [("flower.jpg", 985), ("china.jpg", 698)] {
            let pixels = load_image(&folder.join(file), s).unwrap();
            let v: Vec<f32> = pixels.iter().map(|p| f32::from(*p) / 127.5 - 1.0).collect();
            let x = Tensor::from_vec(v, (1, 3, s, s), &candle_core::Device::Cpu).unwrap();
            let scores = values(&network.classify(&x).unwrap());
            let mut order: Vec<usize> = (0..1000).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            assert_eq!(order[0], class, "{size:?} {file}: {:?}", &order[..5]);
        }
    }
}

#[test]
fn augmentation_has_a_gradient() {
    let a = Augmentation::draw(2, 9, &mut rng(1));
    // Drawn for single images of each kind: the hole and the shift must not leave the picture.
    common::check("augment", &[common::random(&[2, 3, 9, 9], 2)], |x| augment(&x[0], &a));
    for seed in 0..50 {
        let a = Augmentation::draw(1, 9, &mut rng(seed));
        assert!(
            values(&augment(&common::random(&[1, 3, 9, 9], 3), &a).unwrap()).iter().all(|v| v.is_finite())
        );
    }
}
