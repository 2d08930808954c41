//! Inner products of weights, gradients and updates, and of queries with their gradients, head by head.

use multiversion::multiversion;
use numpy::ndarray::{ArrayView3, ArrayView4, Axis, s};

use super::lanes::sum2;
use super::parallel::each;

/// Names of the products of one head, in order; the last is the gradient's largest entry.
pub const PRODUCTS: [&str; 7] = ["w2", "g2", "d2", "wg", "wd", "gd", "gmax"];
const LANES: usize = 8;

/// Weights, gradients and updated weights of one matrix cut into heads, `[heads, rows, columns]` each; columns are
/// contiguous.
pub struct Matrix<'a> {
    pub before: ArrayView3<'a, f32>,
    pub gradient: Option<ArrayView3<'a, f32>>,
    pub after: ArrayView3<'a, f32>,
}

/// [`PRODUCTS`] of every head of every matrix, the gradient taken `unscale` times.
pub fn products(matrices: &[Matrix<'_>], unscale: f64) -> Vec<Vec<[f64; PRODUCTS.len()]>> {
    let jobs: Vec<(usize, usize)> =
        matrices.iter().enumerate().flat_map(|(m, x)| (0..x.before.dim().0).map(move |h| (m, h))).collect();
    let elements = 3 * matrices.iter().map(|m| m.before.len()).sum::<usize>();
    let done = each(jobs.len(), elements, |at| matrices[jobs[at].0].head(jobs[at].1, unscale));
    let mut done = done.into_iter();
    matrices.iter().map(|m| done.by_ref().take(m.before.dim().0).collect()).collect()
}

impl Matrix<'_> {
    fn head(&self, h: usize, unscale: f64) -> [f64; PRODUCTS.len()] {
        let mut acc = Accumulator::default();
        let of = |a: &ArrayView3<'_, f32>, r: usize| -> Vec<f32> { a.slice(s![h, r, ..]).to_vec() };
        for r in 0..self.before.dim().1 {
            let (before, after) = (self.before.slice(s![h, r, ..]), self.after.slice(s![h, r, ..]));
            let gradient = self.gradient.as_ref().map(|g| g.slice(s![h, r, ..]));
            match (before.to_slice(), after.to_slice(), gradient.as_ref().map(|g| g.to_slice())) {
                (Some(w), Some(n), None) => row(&mut acc, w, &[], n),
                (Some(w), Some(n), Some(Some(g))) => row(&mut acc, w, g, n),
                _ => {
                    let g = self.gradient.as_ref().map(|g| of(g, r)).unwrap_or_default();
                    row(&mut acc, &of(&self.before, r), &g, &of(&self.after, r));
                }
            }
        }
        let sum = |lanes: [f64; LANES]| lanes.iter().sum::<f64>();
        let [w2, g2, d2, wg, wd, gd] = acc.sums.map(sum);
        let top = f64::from(acc.top.iter().copied().fold(0.0, larger)) * unscale.abs();
        [w2, g2 * unscale * unscale, d2, wg * unscale, wd, gd * unscale, top]
    }
}

#[derive(Default)]
struct Accumulator {
    sums: [[f64; LANES]; 6],
    top: [f32; LANES],
}

/// The larger of two, NaN before everything.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// Products of float32 numbers are exact in float64: nothing but the sums rounds.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn row(acc: &mut Accumulator, before: &[f32], gradient: &[f32], after: &[f32]) {
    let (ws, wr) = before.as_chunks::<LANES>();
    let (ns, nr) = after.as_chunks::<LANES>();
    if gradient.is_empty() {
        let zero = [0.0; LANES];
        for (w, n) in ws.iter().zip(ns) {
            add(acc, w, &zero, n);
        }
        add(acc, &padded(wr), &zero, &padded(nr));
        return;
    }
    let (gs, gr) = gradient.as_chunks::<LANES>();
    for ((w, g), n) in ws.iter().zip(gs).zip(ns) {
        add(acc, w, g, n);
    }
    if !wr.is_empty() {
        add(acc, &padded(wr), &padded(gr), &padded(nr));
    }
}

#[inline(always)]
fn padded(rest: &[f32]) -> [f32; LANES] {
    let mut lane = [0.0; LANES];
    lane[..rest.len()].copy_from_slice(rest);
    lane
}

#[inline(always)]
fn add(acc: &mut Accumulator, w: &[f32; LANES], g: &[f32; LANES], n: &[f32; LANES]) {
    let [w2, g2, d2, wg, wd, gd] = &mut acc.sums;
    for l in 0..LANES {
        let (x, y, z) = (f64::from(w[l]), f64::from(g[l]), f64::from(n[l] - w[l]));
        w2[l] += x * x;
        g2[l] += y * y;
        d2[l] += z * z;
        wg[l] += x * y;
        wd[l] += x * z;
        gd[l] += y * z;
        acc.top[l] = larger(acc.top[l], g[l].abs());
    }
}

/// `<a, b>` of every head of `[B, H, T, d]`.
pub fn head_dots(a: ArrayView4<'_, f32>, b: ArrayView4<'_, f32>) -> Vec<f64> {
    let (batch, heads, t, d) = a.dim();
    let one = |h: usize| -> f64 {
        let mut total = 0.0;
        for i in 0..batch {
            let (x, y) = (a.slice(s![i, h, .., ..]), b.slice(s![i, h, .., ..]));
            for (x, y) in x.axis_iter(Axis(0)).zip(y.axis_iter(Axis(0))) {
                total += match (x.to_slice(), y.to_slice()) {
                    (Some(x), Some(y)) => dot(x, y),
                    _ => dot(&x.to_vec(), &y.to_vec()),
                };
            }
        }
        total
    };
    each(heads, 2 * batch * heads * t * d, one)
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn dot(a: &[f32], b: &[f32]) -> f64 {
    sum2(a, b, |x, y| x * y)
}
