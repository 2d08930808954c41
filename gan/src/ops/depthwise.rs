//! Depthwise convolution: every channel with a kernel of its own, one pass over memory.
//!
//! Each plane is copied once into a zero-padded buffer that stays in cache; after that all three passes are sums over
//! the taps without a single edge case, compiled for the widest registers at hand. Planes run on all cores.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{Window, min_planes};
use crate::element::{Element, read, slice, stored, tensor, vectorized, with_element};

/// Partial sums of the weight gradient.
const LANES: usize = 8;

/// Depthwise convolution of `x` `[b, c, h, w]` with `weight` `[c, 1, k, k]`: `[b, c, oh, ow]`. Kernels of 3 and 5.
///
/// Gradients are computed only for the operands that need one.
///
/// # Errors
/// Shapes that do not fit the window or each other; element types other than float32 and float64.
pub fn depthwise_conv2d(x: &Tensor, weight: &Tensor, window: Window) -> Result<Tensor> {
    let op = Depthwise { window, input: x.track_op(), weight: weight.track_op() };
    x.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

struct Depthwise {
    window: Window,
    input: bool,
    weight: bool,
}

#[derive(Clone, Copy)]
struct Plan {
    window: Window,
    channels: usize,
    h: usize,
    w: usize,
    oh: usize,
    ow: usize,
}

impl Plan {
    fn new(window: Window, x: &Shape, weight: &Shape) -> Result<Self> {
        let (_, channels, h, w) = x.dims4()?;
        let (oh, ow) = (window.output(h), window.output(w));
        let k = window.kernel;
        if weight.dims() != [channels, 1, k, k]
            || !matches!(k, 3 | 5)
            || oh * ow == 0
            || window.before >= k
            || window.after >= k
        {
            bail!("depthwise convolution: input {x:?}, weight {weight:?}, {window:?} do not fit");
        }
        Ok(Self { window, channels, h, w, oh, ow })
    }
}

/// Zeros around the elements of a plane, and between them.
struct Padding {
    /// Zeros before it on both axes.
    lead: usize,
    /// One more than the zeros between its elements.
    step: usize,
    rows: usize,
    columns: usize,
}

impl Padding {
    /// That of a forward pass over `p.h x p.w` elements.
    fn of(p: &Plan) -> Self {
        let Window { before, after, .. } = p.window;
        Self { lead: before, step: 1, rows: p.h + before + after, columns: p.w + before + after }
    }
}

/// `plane`, lines of `width` elements, in the middle of zeros.
#[inline(always)]
fn pad<T: Element>(buffer: &mut Vec<T>, plane: &[T], width: usize, padding: &Padding) {
    let Padding { lead, step, rows, columns } = *padding;
    buffer.clear();
    buffer.resize(rows * columns, T::zero());
    for (y, line) in plane.chunks_exact(width).enumerate() {
        let row = lead + y * step;
        if row >= rows {
            break;
        }
        let target = &mut buffer[row * columns + lead..(row + 1) * columns];
        if step == 1 {
            let n = width.min(target.len());
            target[..n].copy_from_slice(&line[..n]);
        } else {
            for (t, v) in target.iter_mut().step_by(step).zip(line) {
                *t = *v;
            }
        }
    }
}

/// `out[y][x] = sum over taps of taps[ky][kx] padded[y s + ky][x s + kx]`.
#[inline(always)]
fn correlate<T: Element, const K: usize>(
    padded: &[T],
    columns: usize,
    taps: &[T],
    out: &mut [T],
    ow: usize,
    stride: usize,
) {
    let mut k = [[T::zero(); K]; K];
    for (row, from) in k.iter_mut().zip(taps.chunks_exact(K)) {
        row.copy_from_slice(from);
    }
    for (y, line) in out.chunks_exact_mut(ow).enumerate() {
        let rows: [&[T]; K] =
            std::array::from_fn(|ky| &padded[(y * stride + ky) * columns..][..(ow - 1) * stride + K]);
        if stride == 1 {
            let views: [[&[T]; K]; K] =
                std::array::from_fn(|ky| std::array::from_fn(|kx| &rows[ky][kx..kx + ow]));
            for x in 0..ow {
                let mut sum = T::zero();
                for ky in 0..K {
                    for kx in 0..K {
                        sum += k[ky][kx] * views[ky][kx][x];
                    }
                }
                line[x] = sum;
            }
        } else {
            for (x, o) in line.iter_mut().enumerate() {
                let mut sum = T::zero();
                for ky in 0..K {
                    for kx in 0..K {
                        sum += k[ky][kx] * rows[ky][x * stride + kx];
                    }
                }
                *o = sum;
            }
        }
    }
}

fn run<T: Element>(
    (padded, columns): (&[T], usize),
    taps: &[T],
    (out, ow): (&mut [T], usize),
    stride: usize,
) {
    match taps.len() {
        9 => vectorized(
            #[inline(always)]
            || correlate::<T, 3>(padded, columns, taps, out, ow, stride),
        ),
        _ => vectorized(
            #[inline(always)]
            || correlate::<T, 5>(padded, columns, taps, out, ow, stride),
        ),
    }
}

fn forward<T: Element>(p: &Plan, x: &[T], weight: &[T]) -> Vec<T> {
    let (plane, k) = (p.oh * p.ow, p.window.kernel);
    let padding = Padding::of(p);
    let mut out = vec![T::zero(); x.len() / (p.h * p.w) * plane];
    out.par_chunks_mut(plane)
        .zip(x.par_chunks(p.h * p.w))
        .enumerate()
        .with_min_len(min_planes(plane))
        .for_each_init(Vec::new, |buffer, (i, (out, x))| {
            pad(buffer, x, p.w, &padding);
            let taps = &weight[i % p.channels * k * k..][..k * k];
            run((buffer, padding.columns), taps, (out, p.ow), p.window.stride);
        });
    out
}

/// The forward pass again, with the kernel turned by half a turn and the gradient spread out by the stride.
fn input_gradient<T: Element>(p: &Plan, grad: &[T], weight: &[T]) -> Vec<T> {
    let k = p.window.kernel;
    let turned: Vec<T> = weight.chunks_exact(k * k).flat_map(|taps| taps.iter().rev().copied()).collect();
    let padding = Padding {
        lead: k - 1 - p.window.before,
        step: p.window.stride,
        rows: p.h + k - 1,
        columns: p.w + k - 1,
    };
    let mut out = vec![T::zero(); grad.len() / (p.oh * p.ow) * p.h * p.w];
    out.par_chunks_mut(p.h * p.w)
        .zip(grad.par_chunks(p.oh * p.ow))
        .enumerate()
        .with_min_len(min_planes(p.h * p.w))
        .for_each_init(Vec::new, |buffer, (i, (out, grad))| {
            pad(buffer, grad, p.ow, &padding);
            let taps = &turned[i % p.channels * k * k..][..k * k];
            run((buffer, padding.columns), taps, (out, p.w), 1);
        });
    out
}

/// Add `sum over pixels of grad[y][x] padded[y s + ky][x s + kx]` to each tap, in float64 from plane to plane.
#[inline(always)]
fn accumulate<T: Element, const K: usize>(
    padded: &[T],
    columns: usize,
    grad: &[T],
    ow: usize,
    stride: usize,
    taps: &mut [f64],
) {
    let mut lanes = [[[T::zero(); LANES]; K]; K];
    for (y, line) in grad.chunks_exact(ow).enumerate() {
        let (whole, rest) = line.as_chunks::<LANES>();
        for (ky, lanes) in lanes.iter_mut().enumerate() {
            let row = &padded[(y * stride + ky) * columns..][..(ow - 1) * stride + K];
            for (kx, lanes) in lanes.iter_mut().enumerate() {
                let mut sum = *lanes;
                if stride == 1 {
                    let (values, tail) = row[kx..kx + ow].as_chunks::<LANES>();
                    for (g, v) in whole.iter().zip(values) {
                        for l in 0..LANES {
                            sum[l] += g[l] * v[l];
                        }
                    }
                    for ((s, g), v) in sum.iter_mut().zip(rest).zip(tail) {
                        *s += *g * *v;
                    }
                } else {
                    for (x, g) in line.iter().enumerate() {
                        sum[x % LANES] += *g * row[x * stride + kx];
                    }
                }
                *lanes = sum;
            }
        }
    }
    for (tap, lanes) in taps.iter_mut().zip(lanes.iter().flatten()) {
        *tap += lanes.iter().map(|v| v.to_f64()).sum::<f64>();
    }
}

fn weight_gradient<T: Element>(p: &Plan, x: &[T], grad: &[T]) -> Vec<T> {
    let (plane, out_plane, k, c) = (p.h * p.w, p.oh * p.ow, p.window.kernel, p.channels);
    let padding = Padding::of(p);
    let batch = x.len() / (c * plane);
    let mut out = vec![T::zero(); c * k * k];
    out.par_chunks_mut(k * k).enumerate().with_min_len(min_planes(batch * plane)).for_each_init(
        Vec::new,
        |buffer, (channel, out)| {
            let mut taps = vec![0.0; k * k];
            for b in 0..batch {
                let i = b * c + channel;
                pad(buffer, &x[i * plane..][..plane], p.w, &padding);
                let (grad, stride) = (&grad[i * out_plane..][..out_plane], p.window.stride);
                match k {
                    3 => vectorized(
                        #[inline(always)]
                        || accumulate::<T, 3>(buffer, padding.columns, grad, p.ow, stride, &mut taps),
                    ),
                    _ => vectorized(
                        #[inline(always)]
                        || accumulate::<T, 5>(buffer, padding.columns, grad, p.ow, stride, &mut taps),
                    ),
                }
            }
            out.iter_mut().zip(taps).for_each(|(o, t)| *o = T::from_f64(t));
        },
    );
    out
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise_conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let p = Plan::new(self.window, xl.shape(), wl.shape())?;
        let batch = xl.dims()[0];
        with_element!(x.dtype(), T => {
            let out = forward::<T>(&p, slice(x, xl)?, slice(w, wl)?);
            stored(out, (batch, p.channels, p.oh, p.ow))
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
