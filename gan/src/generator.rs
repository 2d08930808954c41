//! The FastGAN generator of Projected GAN, standard or depthwise-separable.

use candle_core::{DType, Device, Result, Tensor, Var};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::config::{GeneratorConfig, LATENT, Variant};
use crate::nn::{BatchNorm, Builder, Params, Pass, SpectralConv, normalized};
use crate::ops::{Activation, Window, activate, add_noise, conv2d, glu, scale_channels, upsample_nearest_2x};

/// Latents to images.
#[derive(Debug)]
pub struct Generator {
    /// What it is made of.
    pub config: GeneratorConfig,
    /// Its parameters and buffers.
    pub params: Params,
    first: FirstBlock,
    blocks: Vec<UpBlock>,
    excitations: Vec<Excitation>,
    output: SpectralConv,
    dtype: DType,
}

/// Transposed 4 x 4 convolution of one pixel: a matrix product.
#[derive(Debug)]
struct FirstBlock {
    /// `[channels, 4, 4, latent]`: spectral norm's rows first, and rows of the product once the first three are joined.
    weight: Var,
    u: Var,
    v: Var,
    norm: BatchNorm,
}

#[derive(Debug)]
struct UpBlock {
    resolution: usize,
    layers: Vec<Layer>,
}

/// Convolution, noise, batch norm, GLU.
#[derive(Debug)]
struct Layer {
    conv: Conv,
    noise: Option<Var>,
    norm: BatchNorm,
}

#[derive(Debug)]
enum Conv {
    Dense(SpectralConv),
    Separable(SpectralConv, SpectralConv),
}

#[derive(Debug)]
struct Excitation {
    from: usize,
    to: usize,
    squeeze: SpectralConv,
    expand: SpectralConv,
}

impl Conv {
    fn new(mut b: Builder<'_>, ci: usize, co: usize, separable: bool) -> Result<Self> {
        let window = Window::new(3, 1, 1);
        if separable {
            let depthwise = SpectralConv::depthwise(b.enter("depthwise"), ci, window)?;
            let point = SpectralConv::dense(b.enter("pointwise"), ci, co, Window::new(1, 1, 0), false)?;
            Ok(Self::Separable(depthwise, point))
        } else {
            Ok(Self::Dense(SpectralConv::dense(b, ci, co, window, false)?))
        }
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        match self {
            Self::Dense(conv) => conv.forward(x, pass),
            Self::Separable(depthwise, pointwise) => pointwise.forward(&depthwise.forward(x, pass)?, pass),
        }
    }
}

impl UpBlock {
    fn new(mut b: Builder<'_>, config: &GeneratorConfig, resolution: usize) -> Result<Self> {
        let (ci, co) = (config.channels(resolution / 2), config.channels(resolution));
        let layers = (1..=config.convolutions()).map(|i| {
            let mut b = b.enter(&format!("conv{i}"));
            let input = if i == 1 { ci } else { co };
            Ok(Layer {
                conv: Conv::new(b.enter("conv"), input, 2 * co, config.variant.separates(i))?,
                noise: if config.lite { None } else { Some(b.constant("noise", &[1], 0.0)?) },
                norm: BatchNorm::new(b.enter("norm"), 2 * co)?,
            })
        });
        Ok(Self { resolution, layers: layers.collect::<Result<_>>()? })
    }

    fn forward(&self, x: &Tensor, noise: &mut Noise, pass: Pass) -> Result<Tensor> {
        let mut x = upsample_nearest_2x(x)?;
        for layer in &self.layers {
            x = layer.conv.forward(&x, pass)?;
            if let Some(weight) = &layer.noise {
                x = add_noise(&x, &pass.of(weight), &noise.plane(&x)?)?;
            }
            x = glu(&layer.norm.forward(&x, pass)?)?;
        }
        Ok(x)
    }
}

impl Excitation {
    fn new(mut b: Builder<'_>, config: &GeneratorConfig, from: usize, to: usize) -> Result<Self> {
        let (ci, co) = (config.channels(from), config.channels(to));
        let squeeze = SpectralConv::dense(b.enter("squeeze"), ci, co, Window::new(4, 1, 0), false)?;
        let expand = SpectralConv::dense(b.enter("expand"), co, co, Window::new(1, 1, 0), false)?;
        Ok(Self { from, to, squeeze, expand })
    }

    /// `large` scaled channel by channel by what `small` says.
    fn forward(&self, small: &Tensor, large: &Tensor, pass: Pass) -> Result<Tensor> {
        let (b, c, h, w) = small.dims4()?;
        let pooled = small.reshape(&[b, c, 4, h / 4, 4, w / 4])?.mean((3, 5))?;
        let x = activate(&self.squeeze.forward(&pooled, pass)?, Activation::Silu)?;
        scale_channels(large, &activate(&self.expand.forward(&x, pass)?, Activation::Sigmoid)?)
    }
}

impl Generator {
    /// A generator with fresh weights.
    ///
    /// # Errors
    /// From candle.
    pub fn new(config: GeneratorConfig, rng: &mut ChaCha8Rng, dtype: DType) -> Result<Self> {
        let mut params = Params::default();
        let mut b = Builder::new(&mut params, rng, dtype);
        let first = FirstBlock::new(b.enter("init"), 2 * config.channels(4))?;
        let blocks = config.blocks().map(|r| UpBlock::new(b.enter(&format!("up{r}")), &config, r));
        let blocks = blocks.collect::<Result<_>>()?;
        let excitations = config
            .excitations()
            .iter()
            .map(|&(f, t)| Excitation::new(b.enter(&format!("se{t}")), &config, f, t));
        let excitations = excitations.collect::<Result<_>>()?;
        let last = config.channels(config.resolution);
        let output = SpectralConv::dense(b.enter("output"), last, 3, Window::new(3, 1, 1), true)?;
        Ok(Self { config, params, first, blocks, excitations, output, dtype })
    }

    /// Images `[b, 3, resolution, resolution]`, about [-1, 1], of latents `[b, 256]`.
    ///
    /// # Errors
    /// Latents of another shape.
    pub fn forward(&self, latents: &Tensor, noise: &mut Noise, pass: Pass) -> Result<Tensor> {
        let mut x = self.first.forward(latents, pass)?;
        let mut kept = vec![(4, x.clone())];
        for block in self.blocks.iter().filter(|b| b.resolution <= self.config.resolution) {
            x = block.forward(&x, noise, pass)?;
            if let Some(se) = self.excitations.iter().find(|se| se.to == block.resolution) {
                let small = kept.iter().find(|k| k.0 == se.from);
                let small =
                    small.ok_or_else(|| candle_core::Error::msg("excitation from a block not yet run"))?;
                x = se.forward(&small.1, &x, pass)?;
            }
            if block.resolution <= 32 {
                kept.push((block.resolution, x.clone()));
            }
        }
        self.output.forward(&x, pass)
    }

    /// Latents for `n` images.
    ///
    /// # Errors
    /// From candle.
    pub fn latents(&self, n: usize, rng: &mut ChaCha8Rng) -> Result<Tensor> {
        let values: Vec<f32> = (0..n * LATENT).map(|_| StandardNormal.sample(rng)).collect();
        Tensor::from_vec(values, (n, LATENT), &Device::Cpu)?.to_dtype(self.dtype)
    }

    /// Whether this parameter belongs to a block above the output's resolution, which only the counts know.
    pub fn is_unused(&self, name: &str) -> bool {
        let r = self.config.resolution;
        r < 256 && (name.starts_with("up256.") || name.starts_with("se256."))
    }
}

impl FirstBlock {
    fn new(mut b: Builder<'_>, channels: usize) -> Result<Self> {
        Ok(Self {
            // PyTorch's fan-in of a transposed convolution counts its output channels.
            weight: b.uniform("weight", &[channels, 4, 4, LATENT], channels * 16)?,
            u: b.direction("u", channels)?,
            v: b.direction("v", 16 * LATENT)?,
            norm: BatchNorm::new(b.enter("norm"), channels)?,
        })
    }

    fn forward(&self, latents: &Tensor, pass: Pass) -> Result<Tensor> {
        let (b, n) = latents.dims2()?;
        let scale = ((latents.sqr()?.mean_keepdim(1)? + 1e-8)?.sqrt()?).recip()?;
        let z = latents.broadcast_mul(&scale)?.detach().reshape((b, n, 1, 1))?;
        let w = normalized(&self.weight, &self.u, &self.v, pass)?;
        let channels = self.weight.dim(0)?;
        let x = conv2d(&z, &w.reshape((channels * 16, n, 1, 1))?, Window::new(1, 1, 0))?;
        glu(&self.norm.forward(&x.reshape((b, channels, 4, 4))?, pass)?)
    }
}

/// Where noise planes come from: a seeded stream.
#[derive(Clone, Debug)]
pub struct Noise(pub ChaCha8Rng);

impl Noise {
    /// `[b, 1, h, w]` of standard normal numbers, for `x` `[b, c, h, w]`.
    fn plane(&mut self, x: &Tensor) -> Result<Tensor> {
        let (b, _, h, w) = x.dims4()?;
        let values: Vec<f32> = (0..b * h * w).map(|_| StandardNormal.sample(&mut self.0)).collect();
        Tensor::from_vec(values, (b, 1, h, w), &Device::Cpu)?.to_dtype(x.dtype())
    }
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        Self { ngf: 16, resolution: 128, variant: Variant::Standard, lite: false }
    }
}
