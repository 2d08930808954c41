//! Both networks, their optimizers, and one step.

use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};

use super::adam::{Adam, Rule};
use super::settings::Settings;
use crate::discriminator::{Augmentation, Discriminator, Projection};
use crate::efficientnet::EfficientNet;
use crate::error::{Error, Result};
use crate::generator::{Generator, Noise};
use crate::images::Dataset;
use crate::nn::{Params, Pass, stream};

/// Streams of random numbers: one a purpose.
mod purpose {
    pub const GENERATOR: u64 = 1;
    pub const PROJECTION: u64 = 2;
    pub const DISCRIMINATOR: u64 = 3;
    pub const GENERATOR_STEP: u64 = 4;
    pub const DISCRIMINATOR_STEP: u64 = 5;
}

/// What a step saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// The generator's loss.
    pub loss_g: f64,
    /// The discriminator's, both halves.
    pub loss_d: f64,
    /// Mean logit of real images.
    pub real: f64,
    /// Mean logit of generated images in the discriminator's half.
    pub fake: f64,
    /// Seconds of the generator's half: both networks forward and back, the generator's update.
    pub seconds_g: f64,
    /// Seconds of the discriminator's half: images made and seen, real ones seen, the discriminator's update.
    pub seconds_d: f64,
}

/// A run in memory.
#[derive(Debug)]
pub struct Trainer {
    /// What decides the numbers.
    pub settings: Settings,
    /// Learns.
    pub generator: Generator,
    /// Learns.
    pub discriminator: Discriminator,
    /// Exponential moving average of the generator's parameters, its buffers copied: what samples come from.
    pub average: Generator,
    pub(super) adam_g: Adam,
    pub(super) adam_d: Adam,
    /// Steps done.
    pub step: u64,
}

impl Trainer {
    /// Fresh networks; `features` is the frozen network.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn new(settings: Settings, features: EfficientNet) -> Result<Self> {
        settings.check()?;
        let (seed, rate) = (settings.seed, settings.learning_rate);
        let config = &settings.generator;
        let dtype = DType::F32;
        let generator = Generator::new(config.clone(), &mut stream(seed, purpose::GENERATOR, 0), dtype)?;
        let average = Generator::new(config.clone(), &mut stream(seed, purpose::GENERATOR, 0), dtype)?;
        let projection = Projection::new(features, &mut stream(seed, purpose::PROJECTION, 0), dtype)?;
        let mut rng = stream(seed, purpose::DISCRIMINATOR, 0);
        let discriminator = Discriminator::new(projection, settings.feature_size, &mut rng, dtype)?;
        let (adam_g, adam_d) = (Adam::new(Rule::generator(rate)), Adam::new(Rule::discriminator(rate)));
        Ok(Self { settings, generator, discriminator, average, adam_g, adam_d, step: 0 })
    }

    /// Images seen by the discriminator.
    pub fn images_seen(&self) -> u64 {
        self.step * self.settings.batch as u64
    }

    /// One step on the next images of `data`.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a loss is no longer a number.
    pub fn step(&mut self, data: &mut Dataset) -> Result<StepReport> {
        let real = data.batch(self.step, self.settings.batch, self.settings.seed)?;
        let start = Instant::now();
        let loss_g = self.generator_step()?;
        let seconds_g = start.elapsed().as_secs_f64();
        let (loss_d, real, fake) = self.discriminator_step(&real)?;
        let seconds_d = start.elapsed().as_secs_f64() - seconds_g;
        if !(loss_g.is_finite() && loss_d.is_finite()) {
            return Err(Error::Diverged(format!(
                "step {}: the loss is no longer a number (generator {loss_g}, discriminator {loss_d}): try a smaller \
                 --learning-rate",
                self.step + 1
            )));
        }
        self.step += 1;
        self.follow()?;
        Ok(StepReport { step: self.step, loss_g, loss_d, real, fake, seconds_g, seconds_d })
    }

    fn generator_step(&mut self) -> Result<f64> {
        let (batch, resolution) = (self.settings.batch, self.settings.generator.resolution);
        let mut rng = stream(self.settings.seed, purpose::GENERATOR_STEP, self.step);
        let augmentation = Augmentation::draw(batch, resolution, &mut rng);
        let z = self.generator.latents(batch, &mut rng)?;
        let images = self.generator.forward(&z, &mut Noise(rng), Pass::LEARN)?;
        let logits = self.discriminator.forward(&images, &augmentation, Pass::FOLLOW)?;
        let loss = logits.mean_all()?.neg()?;
        let gradients = gradients(&self.generator.params, &loss.backward()?);
        drop((images, logits));
        self.adam_g.step(&self.generator.params, &gradients)?;
        scalar(&loss)
    }

    /// Seconds of the generator alone, forward and back in training mode, on a loss of its own.
    ///
    /// # Errors
    /// From candle.
    pub fn generator_alone(&self) -> Result<f64> {
        let mut rng = stream(self.settings.seed, purpose::GENERATOR_STEP, self.step);
        let z = self.generator.latents(self.settings.batch, &mut rng)?;
        let start = Instant::now();
        let images = self.generator.forward(&z, &mut Noise(rng), Pass::LEARN)?;
        images.mean_all()?.backward()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Loss, mean logit of real and of generated images.
    fn discriminator_step(&mut self, real: &Tensor) -> Result<(f64, f64, f64)> {
        let (batch, resolution) = (self.settings.batch, self.settings.generator.resolution);
        let mut rng = stream(self.settings.seed, purpose::DISCRIMINATOR_STEP, self.step);
        let for_fake = Augmentation::draw(batch, resolution, &mut rng);
        let for_real = Augmentation::draw(batch, resolution, &mut rng);
        let z = self.generator.latents(batch, &mut rng)?;
        let fake = self.generator.forward(&z, &mut Noise(rng), Pass::FOLLOW)?;
        let (fake_loss, fake_logit, first) = self.half(&fake, &for_fake, 1.0)?;
        let (real_loss, real_logit, second) = self.half(real, &for_real, -1.0)?;
        let sum = |(a, b): (Option<Tensor>, Option<Tensor>)| match (a, b) {
            (Some(a), Some(b)) => Ok(Some((a + b)?)),
            (a, b) => Ok(a.or(b)),
        };
        let gradients = first.into_iter().zip(second).map(sum).collect::<Result<Vec<_>>>()?;
        self.adam_d.step(&self.discriminator.params, &gradients)?;
        Ok((fake_loss + real_loss, real_logit, fake_logit))
    }

    /// Half of the hinge loss, `mean relu(1 + sign D(images))`: loss, mean logit, gradients.
    fn half(&self, images: &Tensor, a: &Augmentation, sign: f64) -> Result<(f64, f64, Vec<Option<Tensor>>)> {
        let logits = self.discriminator.forward(images, a, Pass::LEARN)?;
        let loss = logits.affine(sign, 1.0)?.relu()?.mean_all()?;
        let gradients = gradients(&self.discriminator.params, &loss.backward()?);
        Ok((scalar(&loss)?, scalar(&logits.mean_all()?)?, gradients))
    }

    /// Move the average: half-life of batch x 10 / 32 thousand images, at most 5 % of those seen.
    fn follow(&mut self) -> Result<()> {
        let batch = self.settings.batch as f64;
        let half_life = (batch * 10.0 / 32.0 * 1000.0).min(0.05 * self.images_seen() as f64);
        let keep = 0.5f64.powf(batch / half_life.max(1e-8));
        let pairs = self.average.params.parameters.iter().zip(&self.generator.params.parameters);
        for ((name, average), (_, now)) in pairs {
            if !self.generator.is_unused(name) {
                let (average_now, now) = (average.as_detached_tensor(), now.as_detached_tensor());
                average.set(&(now.affine(1.0 - keep, 0.0)? + average_now.affine(keep, 0.0)?)?)?;
            }
        }
        let pairs = self.average.params.buffers.iter().zip(&self.generator.params.buffers);
        for ((_, average), (_, now)) in pairs {
            average.set(&now.as_detached_tensor())?;
        }
        Ok(())
    }
}

fn gradients(params: &Params, store: &GradStore) -> Vec<Option<Tensor>> {
    params.parameters.iter().map(|(_, v)| store.get(v).cloned()).collect()
}

fn scalar(t: &Tensor) -> Result<f64> {
    Ok(t.to_dtype(DType::F64)?.to_scalar()?)
}
