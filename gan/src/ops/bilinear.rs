//! Bilinear resizing with its reverse pass.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::min_planes;
use crate::element::{Element, read, slice, stored, tensor, with_element};

/// Which points of both grids coincide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corners {
    /// Centres of the corner pixels (PyTorch's `align_corners=True`).
    Aligned,
    /// Outer edges of the images (`align_corners=False`).
    HalfPixel,
}

/// `x` `[b, c, h, w]` resized to `[b, c, height, width]`.
///
/// # Errors
/// Empty images; tensors that are not of four dimensions, or not of float32 or float64.
pub fn resize_bilinear(x: &Tensor, height: usize, width: usize, corners: Corners) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if h * w * height * width == 0 {
        bail!("bilinear resizing from {h} x {w} to {height} x {width}: empty image");
    }
    let op = Resize { rows: weights(h, height, corners), columns: weights(w, width, corners) };
    x.contiguous()?.apply_op1(op)
}

/// For an output position: the two input positions and the weight of the second.
#[derive(Clone, Copy)]
struct Blend {
    low: usize,
    high: usize,
    weight: f64,
}

fn weights(from: usize, to: usize, corners: Corners) -> Vec<Blend> {
    let last = (from - 1) as f64;
    (0..to)
        .map(|i| {
            let at = match corners {
                Corners::Aligned if to == 1 => 0.0,
                Corners::Aligned => i as f64 * last / (to - 1) as f64,
                Corners::HalfPixel => ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, last),
            };
            let low = (at as usize).min(from - 1);
            Blend { low, high: (low + 1).min(from - 1), weight: at - low as f64 }
        })
        .collect()
}

struct Resize {
    rows: Vec<Blend>,
    columns: Vec<Blend>,
}

impl Resize {
    fn forward<T: Element>(&self, x: &[T], h: usize, w: usize) -> Vec<T> {
        let (oh, ow) = (self.rows.len(), self.columns.len());
        let mut out = vec![T::zero(); x.len() / (h * w) * oh * ow];
        let planes = out.par_chunks_mut(oh * ow).zip(x.par_chunks(h * w)).with_min_len(min_planes(oh * ow));
        planes.for_each_init(
            || vec![T::zero(); w],
            |row, (out, x)| {
                for (line, r) in out.chunks_exact_mut(ow).zip(&self.rows) {
                    let (a, b) = (&x[r.low * w..][..w], &x[r.high * w..][..w]);
                    let t = T::from_f64(r.weight);
                    for ((v, a), b) in row.iter_mut().zip(a).zip(b) {
                        *v = *a + t * (*b - *a);
                    }
                    for (o, c) in line.iter_mut().zip(&self.columns) {
                        let (a, b) = (row[c.low], row[c.high]);
                        *o = a + T::from_f64(c.weight) * (b - a);
                    }
                }
            },
        );
        out
    }

    fn backward<T: Element>(&self, g: &[T], h: usize, w: usize) -> Vec<T> {
        let (oh, ow) = (self.rows.len(), self.columns.len());
        let mut out = vec![T::zero(); g.len() / (oh * ow) * h * w];
        let planes = out.par_chunks_mut(h * w).zip(g.par_chunks(oh * ow)).with_min_len(min_planes(oh * ow));
        planes.for_each_init(
            || vec![T::zero(); w],
            |row, (out, g)| {
                for (line, r) in g.chunks_exact(ow).zip(&self.rows) {
                    row.fill(T::zero());
                    for (g, c) in line.iter().zip(&self.columns) {
                        let high = T::from_f64(c.weight) * *g;
                        row[c.low] += *g - high;
                        row[c.high] += high;
                    }
                    let t = T::from_f64(r.weight);
                    for (o, v) in out[r.low * w..][..w].iter_mut().zip(&*row) {
                        *o += *v - t * *v;
                    }
                    for (o, v) in out[r.high * w..][..w].iter_mut().zip(&*row) {
                        *o += t * *v;
                    }
                }
            },
        );
        out
    }
}

impl CustomOp1 for Resize {
    fn name(&self) -> &'static str {
        "resize_bilinear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = l.shape().dims4()?;
        let shape = (b, c, self.rows.len(), self.columns.len());
        with_element!(x.dtype(), T => stored(self.forward::<T>(slice(x, l)?, h, w), shape))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        with_element!(x.dtype(), T => {
            Ok(Some(tensor(read::<T, _>(g, |g| Ok(self.backward(g, h, w)))?, x.shape())?))
        })
    }
}
