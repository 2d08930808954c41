//! Channels scaled image by image (the last step of a skip-layer excitation).

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::min_planes;
use super::reduce::{map2, sum2};
use crate::element::{Element, read, slice, stored, tensor, with_element};

/// `x scale`: `x` `[b, c, h, w]`, `scale` `[b, c, 1, 1]`.
///
/// # Errors
/// Shapes that do not fit each other; element types other than float32 and float64.
pub fn scale_channels(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let (b, c, _, _) = x.dims4()?;
    if scale.dims() != [b, c, 1, 1] {
        bail!("channel scales {:?} on {:?}", scale.shape(), x.shape());
    }
    x.contiguous()?.apply_op2(&scale.contiguous()?, Scale)
}

struct Scale;

fn scaled<T: Element>(x: &[T], scale: &[T], plane: usize) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    let planes =
        out.par_chunks_mut(plane).zip(x.par_chunks(plane)).zip(scale).with_min_len(min_planes(plane));
    planes.for_each(|((out, x), s)| map2(out, x, x, |x, _| x * *s));
    out
}

fn products<T: Element>(x: &[T], g: &[T], plane: usize) -> Vec<T> {
    let planes = x.par_chunks(plane).zip(g.par_chunks(plane)).with_min_len(min_planes(plane));
    planes.map(|(x, g)| T::from_f64(sum2(x, g, |x, g| x * g))).collect()
}

impl CustomOp2 for Scale {
    fn name(&self) -> &'static str {
        "scale_channels"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        s: &CpuStorage,
        sl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, _, h, w) = xl.shape().dims4()?;
        with_element!(x.dtype(), T => stored(scaled::<T>(slice(x, xl)?, slice(s, sl)?, h * w), xl.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        s: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, _, h, w) = x.dims4()?;
        with_element!(x.dtype(), T => read::<T, _>(g, |g| {
            let input = read::<T, _>(s, |s| Ok(scaled(g, s, h * w)))?;
            let scale = read::<T, _>(x, |x| Ok(products(x, g, h * w)))?;
            Ok((Some(tensor(input, x.shape())?), Some(tensor(scale, s.shape())?)))
        }))
    }
}
