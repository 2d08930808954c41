//! The projected discriminator: augmentation, frozen features, frozen random mixing, four small discriminators.

mod augment;
mod projection;
mod small;

pub use augment::{Augmentation, augment};
pub use projection::Projection;

use candle_core::{DType, Result, Tensor};
use rand_chacha::ChaCha8Rng;

use crate::count::{FEATURE_CHANNELS, FEATURE_SIZES};
use crate::nn::{Builder, Params, Pass};
use crate::ops::{Corners, resize_bilinear};
use small::Small;

/// Images to logits.
#[derive(Debug)]
pub struct Discriminator {
    /// Trained parameters and buffers: those of the small discriminators.
    pub params: Params,
    /// Frozen.
    pub projection: Projection,
    small: Vec<Small>,
    /// Pixels along each side of the images that enter the feature network.
    size: usize,
}

impl Discriminator {
    /// With fresh small discriminators.
    ///
    /// # Errors
    /// From candle.
    pub fn new(projection: Projection, size: usize, rng: &mut ChaCha8Rng, dtype: DType) -> Result<Self> {
        let mut params = Params::default();
        let mut b = Builder::new(&mut params, rng, dtype);
        let scales = FEATURE_SIZES.into_iter().zip(FEATURE_CHANNELS).enumerate();
        let small = scales.map(|(i, (start, c))| Small::new(b.enter(&format!("d{i}")), start, c));
        let small = small.collect::<Result<_>>()?;
        Ok(Self { params, projection, small, size })
    }

    /// Logits `[b, n]` of images `[b, 3, r, r]` in [-1, 1], all four discriminators in a row.
    ///
    /// # Errors
    /// Images too small for the small discriminators.
    pub fn forward(&self, images: &Tensor, augmentation: &Augmentation, pass: Pass) -> Result<Tensor> {
        let mut x = augment(images, augmentation)?;
        if x.dim(3)? != self.size {
            x = resize_bilinear(&x, self.size, self.size, Corners::HalfPixel)?;
        }
        let features = self.projection.forward(&x)?;
        let logits: Vec<Tensor> =
            self.small.iter().zip(&features).map(|(d, f)| d.forward(f, pass)).collect::<Result<_>>()?;
        Tensor::cat(&logits, 1)
    }
}
