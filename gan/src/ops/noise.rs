//! Scaled noise, one plane an image for all its channels.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::min_planes;
use super::reduce::{map2, sum2};
use crate::element::{Element, read, slice, stored, tensor, with_element};

/// `x + weight noise`: `x` `[b, c, h, w]`, `weight` `[1]`, `noise` `[b, 1, h, w]`, a constant to the gradient.
///
/// # Errors
/// Shapes that do not fit each other; element types other than float32 and float64.
pub fn add_noise(x: &Tensor, weight: &Tensor, noise: &Tensor) -> Result<Tensor> {
    let (b, _, h, w) = x.dims4()?;
    if noise.dims() != [b, 1, h, w] || weight.dims() != [1] {
        bail!("noise {:?} with weight {:?} on {:?}", noise.shape(), weight.shape(), x.shape());
    }
    x.contiguous()?.apply_op2(weight, Noise(noise.detach().contiguous()?))
}

struct Noise(Tensor);

fn forward<T: Element>(x: &[T], weight: T, noise: &[T], channels: usize, plane: usize) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    let planes = out.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate();
    planes.with_min_len(min_planes(plane)).for_each(|(i, (out, x))| {
        map2(out, x, &noise[i / channels * plane..][..plane], |x, n| x + weight * n);
    });
    out
}

fn weight_gradient<T: Element>(g: &[T], noise: &[T], channels: usize, plane: usize) -> T {
    let planes = g.par_chunks(plane).enumerate().with_min_len(min_planes(plane));
    let sums: Vec<f64> =
        planes.map(|(i, g)| sum2(g, &noise[i / channels * plane..][..plane], |g, n| g * n)).collect();
    T::from_f64(sums.iter().sum())
}

impl CustomOp2 for Noise {
    fn name(&self) -> &'static str {
        "add_noise"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, c, h, width) = xl.shape().dims4()?;
        with_element!(x.dtype(), T => read::<T, _>(&self.0, |noise| {
            let weight = slice::<T>(w, wl)?[0];
            stored(forward(slice(x, xl)?, weight, noise, c, h * width), xl.shape())
        }))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, c, h, w) = x.dims4()?;
        with_element!(x.dtype(), T => {
            let sum = read::<T, _>(g, |g| read::<T, _>(&self.0, |n| Ok(weight_gradient(g, n, c, h * w))))?;
            Ok((Some(g.clone()), Some(tensor(vec![sum], 1)?)))
        })
    }
}
