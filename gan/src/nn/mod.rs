//! Parameters and the two layers that both networks are made of.

mod batch_norm;
mod conv;
mod params;

pub use batch_norm::BatchNorm;
pub use conv::SpectralConv;
pub(crate) use conv::normalized;
pub(crate) use params::stream;
pub use params::{Builder, Params};

use candle_core::{Tensor, Var};

/// How a network is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Batch statistics and a power iteration, with their buffers updated; otherwise the buffers decide.
    pub train: bool,
    /// Parameters receive gradients.
    pub grad: bool,
}

impl Pass {
    /// A training step of this network.
    pub const LEARN: Self = Self { train: true, grad: true };
    /// In training mode, but another network learns, or none.
    pub const FOLLOW: Self = Self { train: true, grad: false };
    /// Finished: buffers decide, nothing changes.
    pub const EVALUATE: Self = Self { train: false, grad: false };

    /// The parameter as this pass sees it.
    pub(crate) fn of(self, parameter: &Var) -> Tensor {
        if self.grad { parameter.as_tensor().clone() } else { parameter.as_detached_tensor() }
    }
}
