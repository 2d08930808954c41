//! The geometry of a convolution.

/// A square window that slides over a padded image, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Zeros above and at the left.
    pub before: usize,
    /// Zeros below and at the right.
    pub after: usize,
}

impl Window {
    /// A window with the same padding on all sides.
    pub const fn new(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel, stride, before: padding, after: padding }
    }

    /// TensorFlow's "same" padding for an image of `size`: the odd zero goes below and to the right.
    pub const fn same(kernel: usize, stride: usize, size: usize) -> Self {
        let covered = (size.div_ceil(stride) - 1) * stride + kernel;
        let total = covered.saturating_sub(size);
        Self { kernel, stride, before: total / 2, after: total - total / 2 }
    }

    /// Output size for an input of `size`; 0 where the window does not fit.
    pub const fn output(&self, size: usize) -> usize {
        let padded = size + self.before + self.after;
        if padded < self.kernel { 0 } else { (padded - self.kernel) / self.stride + 1 }
    }

    /// Whether the convolution is a matrix product of channels, pixel by pixel.
    pub(crate) const fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.before == 0 && self.after == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn same_padding_is_asymmetric_at_stride_two() {
        assert_eq!(Window::same(3, 2, 224), Window { kernel: 3, stride: 2, before: 0, after: 1 });
        assert_eq!(Window::same(5, 2, 56), Window { kernel: 5, stride: 2, before: 1, after: 2 });
        assert_eq!(Window::same(3, 1, 7), Window::new(3, 1, 1));
        assert_eq!(Window::same(3, 2, 7).output(7), 4);
    }
}
