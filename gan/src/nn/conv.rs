//! Convolution with spectral normalization.

use candle_core::{Result, Tensor, Var};

use super::{Builder, Pass};
use crate::ops::{
    Activation, Window, bias_activate, conv2d, depthwise_conv2d, power_iteration, spectral_normalize,
};

/// A convolution whose weight is divided by its largest singular value, one power iteration a training pass.
#[derive(Debug)]
pub struct SpectralConv {
    weight: Var,
    bias: Option<Var>,
    u: Var,
    v: Var,
    window: Window,
    depthwise: bool,
}

impl SpectralConv {
    /// Dense, `ci` to `co` channels.
    ///
    /// # Errors
    /// From candle.
    pub fn dense(mut b: Builder<'_>, ci: usize, co: usize, window: Window, bias: bool) -> Result<Self> {
        Self::new(&mut b, &[co, ci, window.kernel, window.kernel], window, bias)
    }

    /// Depthwise, no bias.
    ///
    /// # Errors
    /// From candle.
    pub fn depthwise(mut b: Builder<'_>, channels: usize, window: Window) -> Result<Self> {
        let conv = Self::new(&mut b, &[channels, 1, window.kernel, window.kernel], window, false)?;
        Ok(Self { depthwise: true, ..conv })
    }

    fn new(b: &mut Builder<'_>, shape: &[usize], window: Window, bias: bool) -> Result<Self> {
        let fan_in: usize = shape[1..].iter().product();
        Ok(Self {
            weight: b.uniform("weight", shape, fan_in)?,
            bias: if bias { Some(b.uniform("bias", &shape[..1], fan_in)?) } else { None },
            u: b.direction("u", shape[0])?,
            v: b.direction("v", fan_in)?,
            window,
            depthwise: false,
        })
    }

    /// `[b, ci, h, w]` to `[b, co, oh, ow]`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let w = normalized(&self.weight, &self.u, &self.v, pass)?;
        let y = match self.depthwise {
            true => depthwise_conv2d(x, &w, self.window)?,
            false => conv2d(x, &w, self.window)?,
        };
        match &self.bias {
            Some(b) => bias_activate(&y, &pass.of(b), Activation::Identity),
            None => Ok(y),
        }
    }
}

/// The normalized weight; a training pass moves `u` and `v` first.
pub(crate) fn normalized(weight: &Var, u: &Var, v: &Var, pass: Pass) -> Result<Tensor> {
    if !pass.train {
        return spectral_normalize(&pass.of(weight), u, v);
    }
    // The reverse pass needs these very vectors: the buffers may have moved on by then, so they get copies.
    let (new_u, new_v) = power_iteration(&weight.as_detached_tensor(), u)?;
    u.set(&new_u)?;
    v.set(&new_v)?;
    spectral_normalize(&pass.of(weight), &new_u, &new_v)
}
