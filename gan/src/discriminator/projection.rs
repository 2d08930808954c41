//! Frozen features, mixed across channels and scales by frozen random convolutions.

use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::efficientnet::EfficientNet;
use crate::ops::{Activation, Corners, Window, bias_activate, conv2d, resize_bilinear};

/// Feature network and random mixing.
#[derive(Debug)]
pub struct Projection {
    network: EfficientNet,
    channels: Vec<Mix>,
    scales: Vec<Mix>,
}

/// A frozen 1 x 1 convolution.
#[derive(Debug)]
struct Mix {
    weight: Tensor,
    bias: Tensor,
}

impl Mix {
    fn new(ci: usize, co: usize, rng: &mut ChaCha8Rng, dtype: DType) -> Result<Self> {
        let bound = 1.0 / (ci as f64).sqrt();
        let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-bound..bound)).collect::<Vec<f64>>();
        let weight = Tensor::from_vec(draw(co * ci), (co, ci, 1, 1), &Device::Cpu)?.to_dtype(dtype)?;
        let bias = Tensor::from_vec(draw(co), co, &Device::Cpu)?.to_dtype(dtype)?;
        Ok(Self { weight, bias })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        bias_activate(&conv2d(x, &self.weight, Window::new(1, 1, 0))?, &self.bias, Activation::Identity)
    }
}

/// Channels of the feature maps, after channel mixing, after scale mixing.
const CHANNELS: [(usize, usize, usize); 4] = [(24, 64, 64), (40, 128, 64), (112, 256, 128), (320, 512, 256)];

impl Projection {
    /// Random mixing from `rng` over a loaded network.
    ///
    /// # Errors
    /// From candle.
    pub fn new(network: EfficientNet, rng: &mut ChaCha8Rng, dtype: DType) -> Result<Self> {
        let channels = CHANNELS.iter().map(|c| Mix::new(c.0, c.1, rng, dtype)).collect::<Result<_>>()?;
        let scales = CHANNELS.iter().map(|c| Mix::new(c.1, c.2, rng, dtype)).collect::<Result<_>>()?;
        Ok(Self { network, channels, scales })
    }

    /// Mixed maps of images `[b, 3, s, s]`: 64, 64, 128, 256 channels at 1/2, 1/4, 1/8, 1/16.
    ///
    /// # Errors
    /// From candle.
    pub fn forward(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let features = self.network.features(x)?;
        let mut maps = Vec::with_capacity(4);
        let mut above: Option<Tensor> = None;
        for i in (0..4).rev() {
            let mut x = self.channels[i].forward(&features[i])?;
            if let Some(above) = above {
                x = (x + above)?;
            }
            // Resizing and mixing channels commute (the weights of a blend sum to 1, so the bias stays): mixing first
            // is the same map for a quarter of the work.
            let x = self.scales[i].forward(&x)?;
            let (_, _, h, w) = x.dims4()?;
            let x = resize_bilinear(&x, 2 * h, 2 * w, Corners::Aligned)?;
            maps.push(x.clone());
            above = Some(x);
        }
        maps.reverse();
        Ok(maps)
    }

    fn named(&self) -> impl Iterator<Item = (String, &Tensor)> {
        let kinds = [("channel", &self.channels), ("scale", &self.scales)];
        kinds.into_iter().flat_map(|(kind, mixes)| {
            mixes.iter().enumerate().flat_map(move |(i, m)| {
                [(format!("{kind}{i}.weight"), &m.weight), (format!("{kind}{i}.bias"), &m.bias)]
            })
        })
    }

    /// The mixing's weights by name, under `prefix`.
    pub fn tensors(&self, prefix: &str) -> impl Iterator<Item = (String, Tensor)> {
        self.named().map(move |(name, t)| (format!("{prefix}{name}"), t.clone()))
    }

    /// Take the mixing's weights from `tensors`.
    ///
    /// # Errors
    /// A name that is missing.
    pub fn load(&mut self, tensors: &std::collections::HashMap<String, Tensor>, prefix: &str) -> Result<()> {
        for (kind, mixes) in [("channel", &mut self.channels), ("scale", &mut self.scales)] {
            for (i, m) in mixes.iter_mut().enumerate() {
                for (part, t) in [("weight", &mut m.weight), ("bias", &mut m.bias)] {
                    let name = format!("{prefix}{kind}{i}.{part}");
                    match tensors.get(&name) {
                        Some(new) if new.dims() == t.dims() => *t = new.to_dtype(t.dtype())?,
                        _ => candle_core::bail!("{name} is missing or of another shape"),
                    }
                }
            }
        }
        Ok(())
    }

    /// Scalars of the mixing.
    pub fn mixing_parameters(&self) -> usize {
        self.named().map(|(_, t)| t.elem_count()).sum()
    }
}
