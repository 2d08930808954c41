//! Dense convolution as matrix products over patches.
//!
//! Large images go strip by strip and small ones several at a time, so that the patch matrix has about [`COLUMNS`]
//! columns whatever the resolution.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use growthpath_kernels::gemm::gemm;
use rayon::prelude::*;

use super::Window;
use super::im2col::{Geometry, col2im, im2col};
use crate::element::{Element, read, slice, stored, tensor, with_element};

/// Columns of a patch matrix to aim for.
const COLUMNS: usize = 2048;
/// Weights up to this many elements get one gradient accumulator a group of images; larger ones share one.
const SMALL_WEIGHT: usize = 1 << 18;

/// Convolution of `x` `[b, ci, h, w]` with `weight` `[co, ci, k, k]`, no bias: `[b, co, oh, ow]`.
///
/// Gradients are computed only for the operands that need one.
///
/// # Errors
/// Shapes that do not fit the window or each other; element types other than float32 and float64.
pub fn conv2d(x: &Tensor, weight: &Tensor, window: Window) -> Result<Tensor> {
    let op = Conv { window, input: x.track_op(), weight: weight.track_op() };
    x.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

struct Conv {
    window: Window,
    input: bool,
    weight: bool,
}

/// Everything the three passes need to know.
struct Plan {
    g: Geometry,
    batch: usize,
    co: usize,
    /// Images whose patches share a matrix.
    group: usize,
    /// Output rows in a strip (all of them where several images share a matrix).
    strip: usize,
}

impl Plan {
    fn new(window: Window, x: &Shape, w: &Shape) -> Result<Self> {
        let (batch, ci, h, width) = x.dims4()?;
        let (co, wci, kh, kw) = w.dims4()?;
        let g = Geometry::new(window, ci, h, width);
        if wci != ci || kh != window.kernel || kw != window.kernel || g.out_plane() == 0 {
            bail!("convolution: input {x:?}, weight {w:?}, {window:?} do not fit");
        }
        let group = (COLUMNS / 2).div_ceil(g.out_plane()).min(batch.max(1));
        let strip = if group > 1 { g.out_height } else { (COLUMNS / g.out_width).clamp(1, g.out_height) };
        Ok(Self { g, batch, co, group, strip })
    }

    /// Parallel over groups where there are enough of them, inside the products otherwise.
    fn over_groups(&self) -> bool {
        self.batch.div_ceil(self.group) >= rayon::current_num_threads()
    }

    fn out_image(&self) -> usize {
        self.co * self.g.out_plane()
    }

    /// Strips of an image: (first output row, rows).
    fn strips(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (strip, height) = (self.strip, self.g.out_height);
        (0..height).step_by(strip).map(move |top| (top, strip.min(height - top)))
    }

    /// Hand patch matrices of `images` to `f`: (patches, columns, first output row's pixel).
    fn patches<T: Element>(&self, images: &[T], parallel: bool, mut f: impl FnMut(&[T], usize, usize)) {
        let (g, n) = (&self.g, images.len() / self.g.image());
        if n == 1 && g.window.is_pointwise() {
            return f(images, g.out_plane(), 0);
        }
        let mut columns = Vec::new();
        for (top, rows) in self.strips() {
            let pixels = rows * g.out_width;
            columns.resize(g.rows() * n * pixels, T::zero());
            for (i, image) in images.chunks_exact(g.image()).enumerate() {
                im2col(g, image, (top, rows), &mut columns, (n * pixels, i * pixels), parallel);
            }
            f(&columns, n * pixels, top * g.out_width);
        }
    }
}

/// `c = a b` or `c += a b`, on every thread or on this one.
fn product<T: Element>(c: MatMut<'_, T>, accum: Accum, a: MatRef<'_, T>, b: MatRef<'_, T>, parallel: bool) {
    if parallel { gemm(c, accum, a, b) } else { matmul(c, accum, a, b, T::one(), Par::Seq) }
}

/// `[n, co, plane]` as `[co, n * plane]`, for several small images.
fn interleave<T: Element>(images: &[T], co: usize, plane: usize) -> Vec<T> {
    let n = images.len() / (co * plane);
    let mut out = Vec::with_capacity(images.len());
    for c in 0..co {
        for i in 0..n {
            out.extend_from_slice(&images[(i * co + c) * plane..][..plane]);
        }
    }
    out
}

/// The inverse of [`interleave`].
fn separate<T: Element>(matrix: &[T], images: &mut [T], co: usize, plane: usize) {
    let n = images.len() / (co * plane);
    for (i, image) in images.chunks_exact_mut(co * plane).enumerate() {
        for (c, out) in image.chunks_exact_mut(plane).enumerate() {
            out.copy_from_slice(&matrix[(c * n + i) * plane..][..plane]);
        }
    }
}

fn forward_group<T: Element>(p: &Plan, images: &[T], weight: &[T], out: &mut [T], parallel: bool) {
    let (k, plane) = (p.g.rows(), p.g.out_plane());
    let n = images.len() / p.g.image();
    let w = MatRef::from_row_major_slice(weight, p.co, k);
    p.patches(images, parallel, |columns, width, first| {
        let columns = MatRef::from_row_major_slice(columns, k, width);
        if n == 1 {
            let out = MatMut::from_row_major_slice_mut(out, p.co, plane).subcols_mut(first, width);
            product(out, Accum::Replace, w, columns, parallel);
        } else {
            let mut matrix = vec![T::zero(); p.co * width];
            let target = MatMut::from_row_major_slice_mut(&mut matrix, p.co, width);
            product(target, Accum::Replace, w, columns, parallel);
            separate(&matrix, out, p.co, plane);
        }
    });
}

fn forward<T: Element>(p: &Plan, x: &[T], weight: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); p.batch * p.out_image()];
    let (from, to) = (p.group * p.g.image(), p.group * p.out_image());
    if p.over_groups() {
        let groups = out.par_chunks_mut(to).zip(x.par_chunks(from));
        groups.for_each(|(o, x)| forward_group(p, x, weight, o, false));
    } else {
        let groups = out.chunks_mut(to).zip(x.chunks(from));
        groups.for_each(|(o, x)| forward_group(p, x, weight, o, true));
    }
    out
}

fn input_gradient_group<T: Element>(p: &Plan, grad: &[T], weight: &[T], out: &mut [T], parallel: bool) {
    let (k, plane) = (p.g.rows(), p.g.out_plane());
    let n = out.len() / p.g.image();
    let wt = MatRef::from_row_major_slice(weight, p.co, k).transpose();
    if n == 1 && p.g.window.is_pointwise() {
        let grad = MatRef::from_row_major_slice(grad, p.co, plane);
        let out = MatMut::from_row_major_slice_mut(out, k, plane);
        return product(out, Accum::Replace, wt, grad, parallel);
    }
    let joined = if n > 1 { interleave(grad, p.co, plane) } else { Vec::new() };
    let grad = if n > 1 { &joined[..] } else { grad };
    let grad = MatRef::from_row_major_slice(grad, p.co, n * plane);
    let mut columns = Vec::new();
    for (top, rows) in p.strips() {
        let pixels = rows * p.g.out_width;
        columns.resize(k * n * pixels, T::zero());
        let target = MatMut::from_row_major_slice_mut(&mut columns, k, n * pixels);
        let strip = grad.subcols(top * p.g.out_width, n * pixels);
        product(target, Accum::Replace, wt, strip, parallel);
        for (i, image) in out.chunks_exact_mut(p.g.image()).enumerate() {
            col2im(&p.g, &columns, (top, rows), image, (n * pixels, i * pixels), parallel);
        }
    }
}

fn input_gradient<T: Element>(p: &Plan, grad: &[T], weight: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); p.batch * p.g.image()];
    let (from, to) = (p.group * p.out_image(), p.group * p.g.image());
    if p.over_groups() {
        let groups = out.par_chunks_mut(to).zip(grad.par_chunks(from));
        groups.for_each(|(o, g)| input_gradient_group(p, g, weight, o, false));
    } else {
        let groups = out.chunks_mut(to).zip(grad.chunks(from));
        groups.for_each(|(o, g)| input_gradient_group(p, g, weight, o, true));
    }
    out
}

fn weight_gradient_group<T: Element>(p: &Plan, images: &[T], grad: &[T], sum: &mut [T], parallel: bool) {
    let (k, plane) = (p.g.rows(), p.g.out_plane());
    let n = images.len() / p.g.image();
    let joined = if n > 1 { interleave(grad, p.co, plane) } else { Vec::new() };
    let grad = if n > 1 { &joined[..] } else { grad };
    let grad = MatRef::from_row_major_slice(grad, p.co, n * plane);
    p.patches(images, parallel, |columns, width, first| {
        let columns = MatRef::from_row_major_slice(columns, k, width).transpose();
        let sum = MatMut::from_row_major_slice_mut(sum, p.co, k);
        product(sum, Accum::Add, grad.subcols(first, width), columns, parallel);
    });
}

fn weight_gradient<T: Element>(p: &Plan, x: &[T], grad: &[T]) -> Vec<T> {
    let size = p.co * p.g.rows();
    let (images, grads) = (p.group * p.g.image(), p.group * p.out_image());
    let mut sum = vec![T::zero(); size];
    if p.over_groups() && size <= SMALL_WEIGHT {
        let parts: Vec<Vec<T>> = x
            .par_chunks(images)
            .zip(grad.par_chunks(grads))
            .map(|(x, g)| {
                let mut part = vec![T::zero(); size];
                weight_gradient_group(p, x, g, &mut part, false);
                part
            })
            .collect();
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(s, v)| *s += v);
        }
    } else {
        for (x, g) in x.chunks(images).zip(grad.chunks(grads)) {
            weight_gradient_group(p, x, g, &mut sum, true);
        }
    }
    sum
}

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let p = Plan::new(self.window, xl.shape(), wl.shape())?;
        with_element!(x.dtype(), T => {
            let out = forward::<T>(&p, slice(x, xl)?, slice(w, wl)?);
            stored(out, (p.batch, p.co, p.g.out_height, p.g.out_width))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let p = Plan::new(self.window, x.shape(), w.shape())?;
        with_element!(x.dtype(), T => read::<T, _>(g, |g| {
            let input = match self.input {
                true => Some(tensor(read::<T, _>(w, |w| Ok(input_gradient(&p, g, w)))?, x.shape())?),
                false => None,
            };
            let weight = match self.weight {
                true => Some(tensor(read::<T, _>(x, |x| Ok(weight_gradient(&p, x, g)))?, w.shape())?),
                false => None,
            };
            Ok((input, weight))
        }))
    }
}
