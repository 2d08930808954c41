//! Spectral normalization: a weight over its largest singular value, found by power iteration.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::MIN_TASK;
use super::reduce::{map2, sum2};
use crate::element::{Element, read, slice, stored, tensor, with_element};

/// Norms below this divide by it instead.
const EPS: f64 = 1e-12;

/// One power iteration on `weight` seen as `[rows, rest]` from `u` `[rows]`: the new `u`, and `v` `[rest]`.
///
/// # Errors
/// Element types other than float32 and float64.
pub fn power_iteration(weight: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
    let rows = weight.dim(0)?;
    with_element!(weight.dtype(), T => read::<T, _>(weight, |w| {
        let columns = w.len() / rows;
        let v = read::<T, _>(u, |u| Ok(normalized(transposed_product(w, u, columns))))?;
        let u = normalized(product(w, &v));
        Ok((tensor(u, rows)?, tensor(v, columns)?))
    }))
}

/// `weight / sigma` with `sigma = u^T W v`; the gradient flows through `sigma` with `u` and `v` constant.
///
/// # Errors
/// Element types other than float32 and float64.
pub fn spectral_normalize(weight: &Tensor, u: &Tensor, v: &Tensor) -> Result<Tensor> {
    weight.contiguous()?.apply_op1(Spectral { u: u.detach(), v: v.detach() })
}

/// `W v`.
fn product<T: Element>(w: &[T], v: &[T]) -> Vec<T> {
    let rows = w.par_chunks(v.len()).with_min_len(MIN_TASK.div_ceil(v.len()));
    rows.map(|row| T::from_f64(sum2(row, v, |a, b| a * b))).collect()
}

/// `W^T u`, columns in blocks.
fn transposed_product<T: Element>(w: &[T], u: &[T], columns: usize) -> Vec<T> {
    const BLOCK: usize = 512;
    let mut out = vec![T::zero(); columns];
    out.par_chunks_mut(BLOCK).enumerate().for_each(|(block, out)| {
        let mut sum = vec![T::zero(); out.len()];
        for (row, u) in w.chunks_exact(columns).zip(u) {
            let row = &row[block * BLOCK..][..out.len()];
            map2(out, &sum, row, |s, a| s + *u * a);
            sum.copy_from_slice(out);
        }
    });
    out
}

fn normalized<T: Element>(mut v: Vec<T>) -> Vec<T> {
    let norm = sum2(&v, &v, |a, b| a * b).sqrt().max(EPS);
    v.iter_mut().for_each(|x| *x = T::from_f64(x.to_f64() / norm));
    v
}

/// `u^T W v`.
fn bilinear_form<T: Element>(w: &[T], u: &[T], v: &[T]) -> f64 {
    let wv = product(w, v);
    sum2(u, &wv, |a, b| a * b)
}

/// `W / sigma`.
fn forward<T: Element>(w: &[T], u: &[T], v: &[T]) -> Vec<T> {
    let scale = T::from_f64(1.0 / bilinear_form(w, u, v));
    let mut out = vec![T::zero(); w.len()];
    let parts = out.par_chunks_mut(MIN_TASK).zip(w.par_chunks(MIN_TASK));
    parts.for_each(|(out, w)| map2(out, w, w, |w, _| w * scale));
    out
}

/// With `N = W / sigma`: `dL/dW = (G - <G, N> u v^T) / sigma`.
fn backward<T: Element>(normal: &[T], g: &[T], u: &[T], v: &[T], sigma: f64) -> Vec<T> {
    let columns = v.len();
    let min = MIN_TASK.div_ceil(columns);
    let rows = g.par_chunks(columns).zip(normal.par_chunks(columns)).with_min_len(min);
    let dots: Vec<f64> = rows.map(|(g, n)| sum2(g, n, |a, b| a * b)).collect();
    let dot = dots.iter().sum::<f64>();
    let scale = T::from_f64(1.0 / sigma);
    let mut out = vec![T::zero(); g.len()];
    let rows = out.par_chunks_mut(columns).zip(g.par_chunks(columns)).zip(u).with_min_len(min);
    rows.for_each(|((out, g), u)| {
        let k = T::from_f64(dot * u.to_f64());
        map2(out, g, v, |g, v| (g - k * v) * scale);
    });
    out
}

struct Spectral {
    u: Tensor,
    v: Tensor,
}

impl Spectral {
    fn with<T: Element, R>(&self, f: impl FnOnce(&[T], &[T]) -> Result<R>) -> Result<R> {
        read::<T, _>(&self.u, |u| read::<T, _>(&self.v, |v| f(u, v)))
    }
}

impl CustomOp1 for Spectral {
    fn name(&self) -> &'static str {
        "spectral_normalize"
    }

    fn cpu_fwd(&self, w: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        with_element!(w.dtype(), T => self.with::<T, _>(|u, v| {
            stored(forward(slice(w, l)?, u, v), l.shape())
        }))
    }

    fn bwd(&self, w: &Tensor, normal: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        with_element!(w.dtype(), T => self.with::<T, _>(|u, v| {
            let sigma = read::<T, _>(w, |w| Ok(bilinear_form(w, u, v)))?;
            let out = read::<T, _>(g, |g| read::<T, _>(normal, |n| Ok(backward(n, g, u, v, sigma))))?;
            Ok(Some(tensor(out, w.shape())?))
        }))
    }
}
