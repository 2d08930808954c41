//! Activations, alone or after a channel bias.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::reduce::{map2, sum2};
use super::{MIN_TASK, min_planes};
use crate::element::{Element, read, slice, stored, tensor, with_element};

/// An element-wise function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x`.
    Identity,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` where positive, otherwise `x` times the slope.
    LeakyRelu(f64),
    /// `x sigmoid(x)`.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// Run `$body` with `$f` as the function and `$d` as its derivative: one loop a function, each of them vectorized.
macro_rules! with_function {
    ($act:expr, $t:ident, $f:ident, $d:ident => $body:expr) => {{
        let (zero, one) = ($t::zero(), $t::one());
        match $act {
            Activation::Identity => {
                let ($f, $d) = (|x: $t| x, |_: $t| one);
                $body
            }
            Activation::Relu6 => {
                let six = $t::from_f64(6.0);
                let $f = |x: $t| {
                    let x = if x > zero { x } else { zero };
                    if x < six { x } else { six }
                };
                let $d = |x: $t| if x > zero && x < six { one } else { zero };
                $body
            }
            Activation::LeakyRelu(slope) => {
                let slope = $t::from_f64(slope);
                let $f = |x: $t| if x > zero { x } else { x * slope };
                let $d = |x: $t| if x > zero { one } else { slope };
                $body
            }
            Activation::Silu => {
                let $f = |x: $t| x * x.sigmoid();
                let $d = |x: $t| {
                    let s = x.sigmoid();
                    s * (one + x * (one - s))
                };
                $body
            }
            Activation::Sigmoid => {
                let $f = |x: $t| x.sigmoid();
                let $d = |x: $t| {
                    let s = x.sigmoid();
                    s * (one - s)
                };
                $body
            }
        }
    }};
}

/// `act(x)` for a tensor of any shape.
///
/// # Errors
/// Element types other than float32 and float64.
pub fn activate(x: &Tensor, act: Activation) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Activate(act))
}

/// `act(x + bias)`: `x` `[b, c, h, w]`, `bias` `[c]`.
///
/// # Errors
/// Shapes that do not fit each other; element types other than float32 and float64.
pub fn bias_activate(x: &Tensor, bias: &Tensor, act: Activation) -> Result<Tensor> {
    if bias.dims() != [x.dims4()?.1] {
        bail!("bias {:?} on {:?}", bias.shape(), x.shape());
    }
    x.contiguous()?.apply_op2(bias, BiasActivate { act, bias: bias.track_op() })
}

struct Activate(Activation);

fn forward<T: Element>(act: Activation, x: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    let parts = out.par_chunks_mut(MIN_TASK).zip(x.par_chunks(MIN_TASK));
    parts.for_each(|(out, x)| with_function!(act, T, f, _d => map2(out, x, x, |x, _| f(x))));
    out
}

fn backward<T: Element>(act: Activation, x: &[T], g: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    let parts = out.par_chunks_mut(MIN_TASK).zip(x.par_chunks(MIN_TASK).zip(g.par_chunks(MIN_TASK)));
    parts.for_each(|(out, (x, g))| with_function!(act, T, _f, d => map2(out, x, g, |x, g| g * d(x))));
    out
}

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        with_element!(x.dtype(), T => stored(forward::<T>(self.0, slice(x, l)?), l.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        with_element!(x.dtype(), T => {
            let out = read::<T, _>(x, |x| read::<T, _>(g, |g| Ok(backward(self.0, x, g))))?;
            Ok(Some(tensor(out, x.shape())?))
        })
    }
}

struct BiasActivate {
    act: Activation,
    bias: bool,
}

impl BiasActivate {
    fn forward<T: Element>(&self, x: &[T], bias: &[T], plane: usize) -> Vec<T> {
        let mut out = vec![T::zero(); x.len()];
        let planes = out.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate();
        planes.with_min_len(min_planes(plane)).for_each(|(i, (out, x))| {
            let b = bias[i % bias.len()];
            with_function!(self.act, T, f, _d => map2(out, x, x, |x, _| f(x + b)));
        });
        out
    }

    fn backward<T: Element>(&self, x: &[T], bias: &[T], g: &[T], plane: usize) -> Vec<T> {
        let mut out = vec![T::zero(); x.len()];
        let planes = out.par_chunks_mut(plane).zip(x.par_chunks(plane).zip(g.par_chunks(plane))).enumerate();
        planes.with_min_len(min_planes(plane)).for_each(|(i, (out, (x, g)))| {
            let b = bias[i % bias.len()];
            with_function!(self.act, T, _f, d => map2(out, x, g, |x, g| g * d(x + b)));
        });
        out
    }
}

/// Sums over batch and plane, channel by channel.
fn channel_sums<T: Element>(g: &[T], channels: usize, plane: usize) -> Vec<T> {
    let batch = g.len() / (channels * plane);
    let sum = |c: usize| {
        let planes = (0..batch).map(|b| &g[(b * channels + c) * plane..][..plane]);
        T::from_f64(planes.map(|p| sum2(p, p, |a, _| a)).sum())
    };
    (0..channels).into_par_iter().with_min_len(min_planes(batch * plane)).map(sum).collect()
}

impl CustomOp2 for BiasActivate {
    fn name(&self) -> &'static str {
        "bias_activate"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, _, h, w) = xl.shape().dims4()?;
        with_element!(x.dtype(), T => {
            stored(self.forward::<T>(slice(x, xl)?, slice(b, bl)?, h * w), xl.shape())
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, c, h, w) = x.dims4()?;
        with_element!(x.dtype(), T => {
            let input = match self.act {
                Activation::Identity => g.clone(),
                _ => {
                    let out = read::<T, _>(x, |x| read::<T, _>(b, |b| read::<T, _>(g, |g| {
                        Ok(self.backward(x, b, g, h * w))
                    })))?;
                    tensor(out, x.shape())?
                }
            };
            let bias = match self.bias {
                true => Some(tensor(read::<T, _>(&input, |g| Ok(channel_sums(g, c, h * w)))?, c)?),
                false => None,
            };
            Ok((Some(input), bias))
        })
    }
}
