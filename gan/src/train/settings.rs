//! What decides a run's numbers.

use serde::{Deserialize, Serialize};

use crate::config::GeneratorConfig;
use crate::error::{Error, Result};

/// Everything that decides a run's numbers; the images by their fingerprint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The generator.
    pub generator: GeneratorConfig,
    /// Images a step, of each kind.
    pub batch: usize,
    /// Seed of weights, latents, noise, augmentation and order.
    pub seed: u64,
    /// Pixels along each side of what enters the discriminator's feature network.
    pub feature_size: usize,
    /// Adam's rate.
    pub learning_rate: f64,
    /// Fingerprint of the images ([`crate::images::Dataset::fingerprint`]), so that a resumed run goes on with the same.
    pub images: String,
}

impl Settings {
    /// Projected GAN's defaults: images smaller than 224 px are enlarged to it for the discriminator.
    pub fn new(generator: GeneratorConfig, batch: usize, seed: u64) -> Self {
        let feature_size = generator.resolution.max(224);
        Self { generator, batch, seed, feature_size, learning_rate: 2e-4, images: String::new() }
    }

    /// Check that such a run can be made.
    ///
    /// # Errors
    /// [`Error::Usage`] with the mend.
    pub fn check(&self) -> Result<()> {
        self.generator.check()?;
        if self.batch < 2 {
            return Err(Error::usage("batch 1: batch norm needs at least 2 images"));
        }
        if self.feature_size < 128 || !self.feature_size.is_multiple_of(32) {
            let s = self.feature_size;
            return Err(Error::usage(format!(
                "feature size {s}: choose a multiple of 32 from 128 up (the four scales halve it five times)"
            )));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(Error::usage(format!(
                "learning rate {}: choose a positive number",
                self.learning_rate
            )));
        }
        Ok(())
    }
}
