//! One of the four small discriminators.

use candle_core::{Result, Tensor};

use crate::count::discriminator_channels;
use crate::nn::{BatchNorm, Builder, Pass, SpectralConv};
use crate::ops::{Activation, Window, activate};

/// Strided convolutions from its start down to 8 x 8, then one logit a position.
#[derive(Debug)]
pub(super) struct Small {
    down: Vec<(SpectralConv, BatchNorm)>,
    logit: SpectralConv,
}

impl Small {
    pub fn new(mut b: Builder<'_>, start: usize, input: usize) -> Result<Self> {
        let (mut down, mut level) = (Vec::new(), start);
        while level > 8 {
            let ci = discriminator_channels(start, input, level);
            let co = discriminator_channels(start, input, level / 2);
            let mut b = b.enter(&format!("down{level}"));
            // A batch norm follows and takes the bias away again: its gradient is zero but for rounding.
            let conv = SpectralConv::dense(b.enter("conv"), ci, co, Window::new(4, 2, 1), true)?;
            down.push((conv, BatchNorm::new(b.enter("norm"), co)?));
            level /= 2;
        }
        let logit = SpectralConv::dense(b.enter("logit"), 512, 1, Window::new(4, 1, 0), false)?;
        Ok(Self { down, logit })
    }

    /// `[b, positions]`.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let mut x = x.clone();
        for (conv, norm) in &self.down {
            x = activate(&norm.forward(&conv.forward(&x, pass)?, pass)?, Activation::LeakyRelu(0.2))?;
        }
        self.logit.forward(&x, pass)?.flatten_from(1)
    }
}
