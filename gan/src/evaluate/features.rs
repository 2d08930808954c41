//! Pooled lite1 features of images.

use candle_core::Tensor;
use faer::Mat;

use crate::efficientnet::{EfficientNet, Size};
use crate::error::Result;
use crate::generator::{Generator, Noise};
use crate::images::Dataset;
use crate::nn::{Pass, stream};
use crate::ops::{Corners, resize_bilinear};

/// One row an image.
pub type Features = Mat<f64>;

/// Images that go through the network together.
const BATCH: usize = 16;
/// Stream of latents for evaluation.
const SAMPLES: u64 = 7;

fn batch_features(network: &EfficientNet, images: &Tensor) -> Result<Vec<Vec<f32>>> {
    let size = Size::Lite1.resolution();
    let x = match images.dim(3)? == size {
        true => images.clone(),
        false => resize_bilinear(images, size, size, Corners::HalfPixel)?,
    };
    Ok(network.pooled(&x)?.to_vec2()?)
}

fn matrix(rows: &[Vec<f32>]) -> Features {
    Mat::from_fn(rows.len(), rows.first().map_or(0, Vec::len), |i, j| f64::from(rows[i][j]))
}

/// Of all images of `data`, mirrors left out.
///
/// # Errors
/// From candle.
pub fn features_of(network: &EfficientNet, data: &Dataset) -> Result<Features> {
    let mut rows = Vec::new();
    for start in (0..data.len()).step_by(BATCH) {
        rows.extend(batch_features(network, &data.slice(start..data.len().min(start + BATCH))?)?);
    }
    Ok(matrix(&rows))
}

/// Of `n` images that `generator` makes from `seed`, clipped to [-1, 1] as a file would be.
///
/// # Errors
/// From candle.
pub fn generated_features(
    network: &EfficientNet,
    generator: &Generator,
    n: usize,
    seed: u64,
) -> Result<Features> {
    let mut rows = Vec::new();
    for start in (0..n).step_by(BATCH) {
        let images = sample(generator, BATCH.min(n - start), seed, start)?;
        rows.extend(batch_features(network, &images.clamp(-1f32, 1f32)?)?);
    }
    Ok(matrix(&rows))
}

/// `n` images of the finished generator: the same for the same seed and position.
///
/// # Errors
/// From candle.
pub(crate) fn sample(generator: &Generator, n: usize, seed: u64, position: usize) -> Result<Tensor> {
    let mut rng = stream(seed, SAMPLES, position as u64);
    let z = generator.latents(n, &mut rng)?;
    Ok(generator.forward(&z, &mut Noise(rng), Pass::EVALUATE)?.detach())
}
