//! DiffAugment: colour, translation and cutout, with gradients.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::element::{Element, read, slice, stored, tensor, with_element};

/// What is done to each image of a batch.
#[derive(Clone, Debug, Default)]
pub struct Augmentation {
    images: Vec<One>,
}

#[derive(Clone, Copy, Debug)]
struct One {
    brightness: f64,
    saturation: f64,
    contrast: f64,
    /// Rows and columns that the image moves down and to the right.
    shift: (isize, isize),
    /// Rows and columns of the hole, ends excluded.
    hole: [(usize, usize); 2],
}

impl Augmentation {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// Drawn for `batch` images of `size` pixels a side.
    pub fn draw(batch: usize, size: usize, rng: &mut ChaCha8Rng) -> Self {
        let far = (size as f64 * 0.125 + 0.5) as i64;
        let edge = (size as f64 * 0.2 + 0.5) as usize;
        let images = (0..batch).map(|_| {
            let brightness = rng.random_range(-0.5..0.5);
            let saturation = rng.random_range(0.0..2.0);
            let contrast = rng.random_range(0.5..1.5);
            let shift = (rng.random_range(-far..=far) as isize, rng.random_range(-far..=far) as isize);
            let mut side = || {
                let middle = rng.random_range(0..size + (1 - edge % 2));
                let start = middle.saturating_sub(edge / 2);
                (start.min(size), (middle + edge - edge / 2).min(size))
            };
            One { brightness, saturation, contrast, shift, hole: [side(), side()] }
        });
        Self { images: images.collect() }
    }
}

/// Images `[b, 3, h, w]`, augmented; unchanged for [`Augmentation::none`].
///
/// # Errors
/// Another number of images than was drawn for.
pub fn augment(images: &Tensor, a: &Augmentation) -> Result<Tensor> {
    if a.images.is_empty() {
        return Ok(images.clone());
    }
    if images.dims4()?.0 != a.images.len() {
        bail!("{} augmentations for {:?}", a.images.len(), images.shape());
    }
    images.contiguous()?.apply_op1(Colour(a.images.clone()))?.apply_op1(Cut(a.images.clone()))
}

/// Brightness, saturation about the pixel's mean over channels, contrast about the image's mean. With `c` the channel
/// mean and `a` the image mean, all three are `k s x + k (1 - s) c + (1 - k) a + brightness`: a symmetric map.
struct Colour(Vec<One>);

impl Colour {
    fn map<T: Element>(&self, x: &[T], channels: usize, brightness: bool) -> Vec<T> {
        let image = x.len() / self.0.len();
        let plane = image / channels;
        let mut out = vec![T::zero(); x.len()];
        out.par_chunks_mut(image).zip(x.par_chunks(image)).zip(&self.0).for_each(|((out, x), one)| {
            let (s, k) = (one.saturation, one.contrast);
            let mean = x.iter().map(|v| v.to_f64()).sum::<f64>() / image as f64;
            let constant = (1.0 - k) * mean + if brightness { one.brightness } else { 0.0 };
            let (own, grey, constant) =
                (T::from_f64(k * s), T::from_f64(k * (1.0 - s) / channels as f64), T::from_f64(constant));
            for i in 0..plane {
                let mut sum = T::zero();
                for c in 0..channels {
                    sum += x[c * plane + i];
                }
                for c in 0..channels {
                    out[c * plane + i] = own * x[c * plane + i] + grey * sum + constant;
                }
            }
        });
        out
    }
}

impl CustomOp1 for Colour {
    fn name(&self) -> &'static str {
        "augment_colour"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let channels = l.shape().dims4()?.1;
        with_element!(x.dtype(), T => stored(self.map::<T>(slice(x, l)?, channels, true), l.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let channels = x.dims4()?.1;
        with_element!(x.dtype(), T => {
            let out = read::<T, _>(g, |g| Ok(self.map(g, channels, false)))?;
            Ok(Some(tensor(out, x.shape())?))
        })
    }
}

/// Translation with zeros moving in, then a hole of zeros.
struct Cut(Vec<One>);

impl Cut {
    /// Forward, or its transpose: the same pixels copied the other way.
    fn map<T: Element>(&self, x: &[T], (h, w): (usize, usize), forward: bool) -> Vec<T> {
        let image = x.len() / self.0.len();
        let mut out = vec![T::zero(); x.len()];
        out.par_chunks_mut(image).zip(x.par_chunks(image)).zip(&self.0).for_each(|((out, x), one)| {
            let [rows, columns] = one.hole;
            for (out, x) in out.chunks_exact_mut(h * w).zip(x.chunks_exact(h * w)) {
                for to_y in 0..h {
                    let Some(from_y) = to_y.checked_add_signed(-one.shift.0).filter(|y| *y < h) else {
                        continue;
                    };
                    for to_x in 0..w {
                        let Some(from_x) = to_x.checked_add_signed(-one.shift.1).filter(|x| *x < w) else {
                            continue;
                        };
                        if (rows.0..rows.1).contains(&to_y) && (columns.0..columns.1).contains(&to_x) {
                            continue;
                        }
                        let (from, to) = (from_y * w + from_x, to_y * w + to_x);
                        if forward {
                            out[to] = x[from];
                        } else {
                            out[from] = x[to];
                        }
                    }
                }
            }
        });
        out
    }
}

impl CustomOp1 for Cut {
    fn name(&self) -> &'static str {
        "augment_cut"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, _, h, w) = l.shape().dims4()?;
        with_element!(x.dtype(), T => stored(self.map::<T>(slice(x, l)?, (h, w), true), l.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        with_element!(x.dtype(), T => {
            let out = read::<T, _>(g, |g| Ok(self.map(g, (h, w), false)))?;
            Ok(Some(tensor(out, x.shape())?))
        })
    }
}
