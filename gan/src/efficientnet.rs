//! EfficientNet-lite in evaluation mode, frozen: batch norms are folded into the convolutions.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::ops::{Activation, Window, bias_activate, conv2d, depthwise_conv2d};

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Features of the discriminator; classifies at 224 px.
    Lite0,
    /// Features of the evaluation; classifies at 240 px.
    Lite1,
}

impl Size {
    /// File name in the weights folder.
    pub fn file(self) -> &'static str {
        match self {
            Self::Lite0 => "efficientnet-lite0.safetensors",
            Self::Lite1 => "efficientnet-lite1.safetensors",
        }
    }

    /// Pixels along each side that the network was trained for.
    pub fn resolution(self) -> usize {
        match self {
            Self::Lite0 => 224,
            Self::Lite1 => 240,
        }
    }

    /// Blocks of each stage: the first and the last never grow with depth.
    fn repeats(self) -> [usize; 7] {
        match self {
            Self::Lite0 => [1, 2, 2, 3, 3, 4, 1],
            Self::Lite1 => [1, 3, 3, 4, 4, 5, 1],
        }
    }
}

/// Kernel, stride, expansion, output channels of each stage.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (5, 2, 6, 40),
    (3, 2, 6, 80),
    (5, 1, 6, 112),
    (5, 2, 6, 192),
    (3, 1, 6, 320),
];
/// Stages whose output is a feature map: at 1/4, 1/8, 1/16 and 1/32.
const TAPS: [usize; 4] = [1, 2, 4, 6];
const EPS: f64 = 1e-3;

/// A frozen network.
#[derive(Debug)]
pub struct EfficientNet {
    stem: Folded,
    stages: Vec<Vec<Block>>,
    head: Folded,
    classes: (Tensor, Tensor),
}

/// A convolution with its batch norm folded in.
#[derive(Debug)]
struct Folded {
    weight: Tensor,
    bias: Tensor,
    kernel: usize,
    stride: usize,
    depthwise: bool,
    act: Activation,
}

#[derive(Debug)]
struct Block {
    layers: Vec<Folded>,
    skip: bool,
}

impl Folded {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let window = Window::same(self.kernel, self.stride, x.dim(3)?);
        let y = match self.depthwise {
            true => depthwise_conv2d(x, &self.weight, window)?,
            false => conv2d(x, &self.weight, window)?,
        };
        bias_activate(&y, &self.bias, self.act)
    }
}

/// Weights by name, with errors that name the tensor.
struct Weights {
    tensors: HashMap<String, Tensor>,
    dtype: DType,
}

impl Weights {
    fn get(&self, name: &str, shape: &[usize]) -> candle_core::Result<Tensor> {
        match self.tensors.get(name) {
            Some(t) if t.dims() == shape => t.to_dtype(self.dtype),
            Some(t) => candle_core::bail!("{name} has shape {:?}, expected {shape:?}", t.dims()),
            None => candle_core::bail!("{name} is missing"),
        }
    }

    /// `conv` and the batch norm `norm` after it, as one convolution.
    fn folded(
        &self,
        (conv, norm): (String, String),
        shape: [usize; 4],
        stride: usize,
        act: Activation,
    ) -> candle_core::Result<Folded> {
        let weight = self.get(&format!("{conv}.weight"), &shape)?;
        let part = |part: &str| self.get(&format!("{norm}.{part}"), &shape[..1]);
        let scale = (part("weight")? / (part("running_var")? + EPS)?.sqrt()?)?;
        let bias = (part("bias")? - (part("running_mean")? * &scale)?)?;
        let weight = weight.broadcast_mul(&scale.reshape((shape[0], 1, 1, 1))?)?;
        let depthwise = shape[1] == 1 && shape[2] > 1;
        Ok(Folded { weight, bias, kernel: shape[2], stride, depthwise, act })
    }

    fn block(&self, n: usize, ci: usize, stage: usize, first: bool) -> candle_core::Result<Block> {
        let (kernel, stride, expansion, co) = STAGES[stage];
        let stride = if first { stride } else { 1 };
        let wide = ci * expansion;
        let name = |conv: &str, norm: &str| (format!("_blocks.{n}.{conv}"), format!("_blocks.{n}.{norm}"));
        let (relu6, none) = (Activation::Relu6, Activation::Identity);
        let mut layers = Vec::new();
        if expansion > 1 {
            layers.push(self.folded(name("_expand_conv", "_bn0"), [wide, ci, 1, 1], 1, relu6)?);
        }
        layers.push(self.folded(
            name("_depthwise_conv", "_bn1"),
            [wide, 1, kernel, kernel],
            stride,
            relu6,
        )?);
        layers.push(self.folded(name("_project_conv", "_bn2"), [co, wide, 1, 1], 1, none)?);
        Ok(Block { layers, skip: stride == 1 && ci == co })
    }

    fn network(&self, size: Size) -> candle_core::Result<EfficientNet> {
        let top = |conv: &str, norm: &str| (conv.to_string(), norm.to_string());
        let stem = self.folded(top("_conv_stem", "_bn0"), [32, 3, 3, 3], 2, Activation::Relu6)?;
        let (mut n, mut ci, mut stages) = (0, 32, Vec::new());
        for (stage, repeats) in size.repeats().into_iter().enumerate() {
            let mut blocks = Vec::new();
            for i in 0..repeats {
                blocks.push(self.block(n, ci, stage, i == 0)?);
                ci = STAGES[stage].3;
                n += 1;
            }
            stages.push(blocks);
        }
        if self.tensors.keys().any(|k| k.starts_with(&format!("_blocks.{n}."))) {
            candle_core::bail!("more than {n} blocks: weights of another network");
        }
        let head = self.folded(top("_conv_head", "_bn1"), [1280, 320, 1, 1], 1, Activation::Relu6)?;
        let classes = (self.get("_fc.weight", &[1000, 1280])?, self.get("_fc.bias", &[1000])?);
        Ok(EfficientNet { stem, stages, head, classes })
    }
}

impl EfficientNet {
    /// Load from `folder`, as `gan/scripts/fetch-weights.sh` leaves it.
    ///
    /// # Errors
    /// A missing file, with the mend; a file that holds something else.
    pub fn load(folder: &Path, size: Size, dtype: DType) -> Result<Self> {
        let path = folder.join(size.file());
        if !path.is_file() {
            let mend = "no such file: fetch the weights with `bash gan/scripts/fetch-weights.sh DIR`, then give \
                        `--weights DIR` (default gan/weights)";
            return Err(Error::format(path, mend));
        }
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu)
            .map_err(|e| Error::format(&path, format!("not safetensors ({e}): fetch it again")))?;
        Weights { tensors, dtype }
            .network(size)
            .map_err(|e| Error::format(&path, format!("{e}: fetch it again")))
    }

    fn stem_to(&self, x: &Tensor, mut tap: impl FnMut(usize, &Tensor)) -> candle_core::Result<Tensor> {
        let mut x = self.stem.forward(x)?;
        for (stage, blocks) in self.stages.iter().enumerate() {
            for block in blocks {
                let mut y = x.clone();
                for layer in &block.layers {
                    y = layer.forward(&y)?;
                }
                x = if block.skip { (y + x)? } else { y };
            }
            tap(stage, &x);
        }
        Ok(x)
    }

    /// Feature maps of images `[b, 3, s, s]` in [-1, 1]: 24, 40, 112 and 320 channels at 1/4, 1/8, 1/16, 1/32.
    ///
    /// # Errors
    /// From candle.
    pub fn features(&self, x: &Tensor) -> candle_core::Result<Vec<Tensor>> {
        let mut taps = Vec::with_capacity(4);
        self.stem_to(x, |stage, x| {
            if TAPS.contains(&stage) {
                taps.push(x.clone());
            }
        })?;
        Ok(taps)
    }

    /// Pooled features `[b, 1280]` before the classifier.
    ///
    /// # Errors
    /// From candle.
    pub fn pooled(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = self.stem_to(x, |_, _| ())?;
        self.head.forward(&x)?.mean((2, 3))
    }

    /// Scores `[b, 1000]` of the ImageNet classes.
    ///
    /// # Errors
    /// From candle.
    pub fn classify(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.pooled(x)?.matmul(&self.classes.0.t()?)?.broadcast_add(&self.classes.1)
    }

    /// Scalars up to the last feature map: weights, and scale and shift of every batch norm.
    pub fn backbone_parameters(&self) -> usize {
        let layers = self.stages.iter().flatten().flat_map(|b| &b.layers).chain([&self.stem]);
        layers.map(|l| l.weight.elem_count() + 2 * l.bias.elem_count()).sum()
    }
}
