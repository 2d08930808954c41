//! Batch normalization over (batch, height, width), with learned scale and shift.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::min_planes;
use super::reduce::{map2, sum2};
use crate::element::{Element, read, slice, stored, tensor, with_element};

/// Mean and biased variance of every channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Means.
    pub mean: Vec<f64>,
    /// Variances (divided by the number of elements).
    pub variance: Vec<f64>,
    /// Elements behind each of them.
    pub count: usize,
}

/// Normalize `x` `[b, c, h, w]` by its own statistics: `gamma (x - mean) / sqrt(variance + eps) + beta`, and the
/// statistics. The gradient flows through them.
///
/// # Errors
/// Shapes that do not fit each other; element types other than float32 and float64.
pub fn batch_norm_train(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<(Tensor, Statistics)> {
    let x = x.contiguous()?;
    let s = with_element!(x.dtype(), T => statistics::<T>(&x))?;
    let y = apply(&x, gamma, beta, &s, eps, true)?;
    Ok((y, s))
}

/// Normalize `x` by given statistics, which are constants to the gradient.
///
/// # Errors
/// As [`batch_norm_train`].
pub fn batch_norm_eval(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    s: &Statistics,
    eps: f64,
) -> Result<Tensor> {
    apply(&x.contiguous()?, gamma, beta, s, eps, false)
}

fn apply(x: &Tensor, gamma: &Tensor, beta: &Tensor, s: &Statistics, eps: f64, own: bool) -> Result<Tensor> {
    let c = x.dims4()?.1;
    if gamma.dims() != [c] || beta.dims() != [c] || s.mean.len() != c {
        bail!("batch norm: input {:?}, scale {:?}, shift {:?}", x.shape(), gamma.shape(), beta.shape());
    }
    let scale = s.variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
    x.apply_op3(gamma, beta, BatchNorm { mean: s.mean.clone(), scale, own })
}

fn statistics<T: Element>(x: &Tensor) -> Result<Statistics> {
    let (b, c, h, w) = x.dims4()?;
    let (plane, count) = (h * w, b * h * w);
    read::<T, _>(x, |x| {
        let of = |channel: usize| {
            let planes = || (0..b).map(|i| &x[(i * c + channel) * plane..][..plane]);
            let mean = planes().map(|p| sum2(p, p, |a, _| a)).sum::<f64>() / count as f64;
            let m = T::from_f64(mean);
            let square = planes().map(|p| sum2(p, p, |a, _| (a - m) * (a - m))).sum::<f64>() / count as f64;
            (mean, square)
        };
        let (mean, variance) = (0..c).into_par_iter().with_min_len(min_planes(count)).map(of).unzip();
        Ok(Statistics { mean, variance, count })
    })
}

struct BatchNorm {
    mean: Vec<f64>,
    /// 1 / sqrt(variance + eps).
    scale: Vec<f64>,
    /// The statistics are the batch's own.
    own: bool,
}

impl BatchNorm {
    fn forward<T: Element>(&self, x: &[T], gamma: &[T], beta: &[T], plane: usize) -> Vec<T> {
        let c = gamma.len();
        let mut out = vec![T::zero(); x.len()];
        let planes = out.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate();
        planes.with_min_len(min_planes(plane)).for_each(|(i, (out, x))| {
            let i = i % c;
            let (m, k) = (T::from_f64(self.mean[i]), gamma[i] * T::from_f64(self.scale[i]));
            map2(out, x, x, |x, _| (x - m) * k + beta[i]);
        });
        out
    }

    /// Gradients of input, scale and shift.
    fn backward<T: Element>(&self, x: &[T], gamma: &[T], g: &[T], plane: usize) -> (Vec<T>, Vec<T>, Vec<T>) {
        let c = gamma.len();
        let b = x.len() / (c * plane);
        let n = (b * plane) as f64;
        let sums: Vec<(f64, f64)> = (0..c)
            .into_par_iter()
            .with_min_len(min_planes(b * plane))
            .map(|i| {
                let m = T::from_f64(self.mean[i]);
                let mut sums = (0.0, 0.0);
                for image in 0..b {
                    let at = (image * c + i) * plane;
                    let (g, x) = (&g[at..at + plane], &x[at..at + plane]);
                    sums.0 += sum2(g, g, |g, _| g);
                    sums.1 += sum2(g, x, |g, x| g * (x - m));
                }
                (sums.0, sums.1 * self.scale[i])
            })
            .collect();
        let mut out = vec![T::zero(); x.len()];
        let planes = out.par_chunks_mut(plane).zip(g.par_chunks(plane).zip(x.par_chunks(plane))).enumerate();
        planes.with_min_len(min_planes(plane)).for_each(|(i, (out, (g, x)))| {
            let i = i % c;
            let k = gamma[i] * T::from_f64(self.scale[i]);
            if self.own {
                let m = T::from_f64(self.mean[i]);
                let (shift, slope) = (T::from_f64(sums[i].0 / n), T::from_f64(sums[i].1 * self.scale[i] / n));
                map2(out, g, x, |g, x| k * (g - shift - (x - m) * slope));
            } else {
                map2(out, g, g, |g, _| k * g);
            }
        });
        let gamma = sums.iter().map(|s| T::from_f64(s.1)).collect();
        (out, gamma, sums.iter().map(|s| T::from_f64(s.0)).collect())
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        gamma: &CpuStorage,
        gl: &Layout,
        beta: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, _, h, w) = xl.shape().dims4()?;
        with_element!(x.dtype(), T => {
            let out = self.forward::<T>(slice(x, xl)?, slice(gamma, gl)?, slice(beta, bl)?, h * w);
            stored(out, xl.shape())
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, c, h, w) = x.dims4()?;
        with_element!(x.dtype(), T => {
            let (x_, gamma_, beta_) = read::<T, _>(x, |x| read::<T, _>(gamma, |gamma| read::<T, _>(g, |g| {
                Ok(self.backward(x, gamma, g, h * w))
            })))?;
            Ok((Some(tensor(x_, x.shape())?), Some(tensor(gamma_, c)?), Some(tensor(beta_, c)?)))
        })
    }
}
