//! Differentiable operations on `[batch, channel, height, width]` tensors, for float32 and float64, on all cores.
//!
//! candle 0.11's own are not enough for a GAN: nearest upsampling assigns its gradient where it should add, bilinear
//! resizing has none, and a grouped convolution runs channel by channel. Each operation here has a written-out reverse
//! pass, checked against central differences in float64 (`tests/gradients.rs`). Sums over the batch run in a fixed
//! order, so that the same run gives the same bits.

mod activation;
mod batch_norm;
mod bilinear;
mod conv;
mod depthwise;
mod excite;
mod glu;
mod im2col;
mod noise;
mod reduce;
mod spectral;
mod upsample;
mod window;

pub use activation::{Activation, activate, bias_activate};
pub use batch_norm::{Statistics, batch_norm_eval, batch_norm_train};
pub use bilinear::{Corners, resize_bilinear};
pub use conv::conv2d;
pub use depthwise::depthwise_conv2d;
pub use excite::scale_channels;
pub use glu::glu;
pub use noise::add_noise;
pub use spectral::{power_iteration, spectral_normalize};
pub use upsample::upsample_nearest_2x;
pub use window::Window;

/// Elements below which a task is not worth handing to another thread.
pub(crate) const MIN_TASK: usize = 1 << 14;

/// Planes a task should have at least.
pub(crate) fn min_planes(plane: usize) -> usize {
    MIN_TASK.div_ceil(plane.max(1))
}
