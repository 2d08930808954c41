//! Nearest-neighbour upsampling by two.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::min_planes;
use crate::element::{Element, read, slice, stored, tensor, with_element};

/// Every pixel of `x` `[b, c, h, w]` four times: `[b, c, 2h, 2w]`.
///
/// # Errors
/// Tensors that are not of four dimensions, or not of float32 or float64.
pub fn upsample_nearest_2x(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Upsample)
}

struct Upsample;

fn forward<T: Element>(x: &[T], h: usize, w: usize) -> Vec<T> {
    let mut out = vec![T::zero(); 4 * x.len()];
    let planes = out.par_chunks_mut(4 * h * w).zip(x.par_chunks(h * w)).with_min_len(min_planes(4 * h * w));
    planes.for_each(|(out, x)| {
        for (two, line) in out.chunks_exact_mut(4 * w).zip(x.chunks_exact(w)) {
            let (upper, lower) = two.split_at_mut(2 * w);
            for (pair, v) in upper.chunks_exact_mut(2).zip(line) {
                pair.fill(*v);
            }
            lower.copy_from_slice(upper);
        }
    });
    out
}

fn backward<T: Element>(g: &[T], h: usize, w: usize) -> Vec<T> {
    let mut out = vec![T::zero(); g.len() / 4];
    let planes = out.par_chunks_mut(h * w).zip(g.par_chunks(4 * h * w)).with_min_len(min_planes(4 * h * w));
    planes.for_each(|(out, g)| {
        for (line, two) in out.chunks_exact_mut(w).zip(g.chunks_exact(4 * w)) {
            let (upper, lower) = two.split_at(2 * w);
            for ((o, a), b) in line.iter_mut().zip(upper.chunks_exact(2)).zip(lower.chunks_exact(2)) {
                *o = (a[0] + a[1]) + (b[0] + b[1]);
            }
        }
    });
    out
}

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "upsample_nearest_2x"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = l.shape().dims4()?;
        with_element!(x.dtype(), T => stored(forward::<T>(slice(x, l)?, h, w), (b, c, 2 * h, 2 * w)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        with_element!(x.dtype(), T => {
            Ok(Some(tensor(read::<T, _>(g, |g| Ok(backward(g, h, w)))?, x.shape())?))
        })
    }
}
