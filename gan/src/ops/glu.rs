//! Gated linear unit: the first half of the channels times the sigmoid of the second.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::min_planes;
use super::reduce::map2;
use crate::element::{Element, read, slice, stored, tensor, vectorized, with_element};

/// `a sigmoid(g)` of `x = [a, g]` `[b, 2c, h, w]`: `[b, c, h, w]`. The reverse pass computes the sigmoid anew.
///
/// # Errors
/// An odd number of channels; tensors that are not of four dimensions, or not of float32 or float64.
pub fn glu(x: &Tensor) -> Result<Tensor> {
    if !x.dims4()?.1.is_multiple_of(2) {
        bail!("GLU on an odd number of channels: {:?}", x.shape());
    }
    x.contiguous()?.apply_op1(Glu)
}

struct Glu;

fn forward<T: Element>(x: &[T], half: usize, plane: usize) -> Vec<T> {
    let mut out = vec![T::zero(); x.len() / 2];
    let planes = out.par_chunks_mut(plane).enumerate().with_min_len(min_planes(plane));
    planes.for_each(|(i, out)| {
        let at = (i / half * 2 * half + i % half) * plane;
        let (a, gate) = (&x[at..at + plane], &x[at + half * plane..][..plane]);
        map2(out, a, gate, |a, gate| a * gate.sigmoid());
    });
    out
}

fn backward<T: Element>(x: &[T], g: &[T], half: usize, plane: usize) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    out.par_chunks_mut(2 * half * plane).enumerate().for_each(|(b, image)| {
        let (first, second) = image.split_at_mut(half * plane);
        let planes = first.par_chunks_mut(plane).zip(second.par_chunks_mut(plane)).enumerate();
        planes.with_min_len(min_planes(plane)).for_each(|(c, (da, dgate))| {
            let at = (2 * b * half + c) * plane;
            let (a, gate) = (&x[at..at + plane], &x[at + half * plane..][..plane]);
            let g = &g[(b * half + c) * plane..][..plane];
            vectorized(
                #[inline(always)]
                || {
                    for i in 0..plane {
                        let s = gate[i].sigmoid();
                        let d = g[i] * s;
                        da[i] = d;
                        dgate[i] = d * a[i] * (T::one() - s);
                    }
                },
            );
        });
    });
    out
}

impl CustomOp1 for Glu {
    fn name(&self) -> &'static str {
        "glu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = l.shape().dims4()?;
        with_element!(x.dtype(), T => stored(forward::<T>(slice(x, l)?, c / 2, h * w), (b, c / 2, h, w)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (_, c, h, w) = x.dims4()?;
        with_element!(x.dtype(), T => {
            let out = read::<T, _>(x, |x| read::<T, _>(g, |g| Ok(backward(x, g, c / 2, h * w))))?;
            Ok(Some(tensor(out, x.shape())?))
        })
    }
}
