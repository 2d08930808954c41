//! Patches of an image as the columns of a matrix, and back.

use rayon::prelude::*;

use super::Window;
use crate::element::Element;

/// Sizes of one image and of what a window makes of it.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    pub window: Window,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub out_height: usize,
    pub out_width: usize,
}

impl Geometry {
    pub fn new(window: Window, channels: usize, height: usize, width: usize) -> Self {
        let (out_height, out_width) = (window.output(height), window.output(width));
        Self { window, channels, height, width, out_height, out_width }
    }

    /// Rows of the patch matrix: (channel, kernel row, kernel column).
    pub fn rows(&self) -> usize {
        self.channels * self.window.kernel * self.window.kernel
    }

    pub fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    pub fn out_plane(&self) -> usize {
        self.out_height * self.out_width
    }

    fn tap(&self, row: usize) -> (usize, usize, usize) {
        let k = self.window.kernel;
        (row / (k * k), row / k % k, row % k)
    }

    /// Output columns whose input column lies inside the image, for kernel column `kx`.
    fn inside(&self, kx: usize) -> (usize, usize) {
        let Window { stride, before, .. } = self.window;
        let first = before.saturating_sub(kx).div_ceil(stride);
        let end = (self.width + before).saturating_sub(kx).div_ceil(stride);
        let end = end.min(self.out_width);
        (first.min(end), end)
    }
}

/// Columns `[at, at + rows * out_width)` of `columns` (row length `ld`): the patches of output rows `top..top + rows`.
pub(crate) fn im2col<T: Element>(
    g: &Geometry,
    image: &[T],
    (top, rows): (usize, usize),
    columns: &mut [T],
    (ld, at): (usize, usize),
    parallel: bool,
) {
    let one = |(row, line): (usize, &mut [T])| {
        let line = &mut line[at..at + rows * g.out_width];
        patch_row(g, image, g.tap(row), top, line);
    };
    if parallel {
        columns.par_chunks_mut(ld).enumerate().with_min_len(8).for_each(one);
    } else {
        columns.chunks_mut(ld).enumerate().for_each(one);
    }
}

fn patch_row<T: Element>(
    g: &Geometry,
    image: &[T],
    (c, ky, kx): (usize, usize, usize),
    top: usize,
    line: &mut [T],
) {
    let Window { stride, before, .. } = g.window;
    let plane = &image[c * g.height * g.width..][..g.height * g.width];
    let (first, end) = g.inside(kx);
    for (i, out) in line.chunks_exact_mut(g.out_width).enumerate() {
        let y = (top + i) * stride + ky;
        if y < before || y - before >= g.height || first >= end {
            out.fill(T::zero());
            continue;
        }
        let source = &plane[(y - before) * g.width..][..g.width];
        out[..first].fill(T::zero());
        out[end..].fill(T::zero());
        let start = first * stride + kx - before;
        let out = &mut out[first..end];
        if stride == 1 {
            out.copy_from_slice(&source[start..start + out.len()]);
        } else {
            for (o, s) in out.iter_mut().zip(source[start..].iter().step_by(stride)) {
                *o = *s;
            }
        }
    }
}

/// The transpose of [`im2col`]: add each patch element to the pixel that it came from.
pub(crate) fn col2im<T: Element>(
    g: &Geometry,
    columns: &[T],
    (top, rows): (usize, usize),
    image: &mut [T],
    (ld, at): (usize, usize),
    parallel: bool,
) {
    let taps = g.window.kernel * g.window.kernel;
    let one = |(c, plane): (usize, &mut [T])| {
        for tap in 0..taps {
            let row = c * taps + tap;
            let line = &columns[row * ld + at..][..rows * g.out_width];
            add_patch_row(g, line, g.tap(row), top, plane);
        }
    };
    let plane = g.height * g.width;
    if parallel {
        image.par_chunks_mut(plane).enumerate().for_each(one);
    } else {
        image.chunks_mut(plane).enumerate().for_each(one);
    }
}

fn add_patch_row<T: Element>(
    g: &Geometry,
    line: &[T],
    (_, ky, kx): (usize, usize, usize),
    top: usize,
    plane: &mut [T],
) {
    let Window { stride, before, .. } = g.window;
    let (first, end) = g.inside(kx);
    if first >= end {
        return;
    }
    for (i, values) in line.chunks_exact(g.out_width).enumerate() {
        let y = (top + i) * stride + ky;
        if y < before || y - before >= g.height {
            continue;
        }
        let target = &mut plane[(y - before) * g.width..][..g.width];
        let start = first * stride + kx - before;
        let values = &values[first..end];
        if stride == 1 {
            for (t, v) in target[start..start + values.len()].iter_mut().zip(values) {
                *t += *v;
            }
        } else {
            for (t, v) in target[start..].iter_mut().step_by(stride).zip(values) {
                *t += *v;
            }
        }
    }
}
