//! Fused training kernels with growth statistics as side outputs.
//!
//! One folder an operation: forward, backward, and the statistics that ride on data the operation already holds.
//! All operations here are explicit functions: a forward returns what its backward needs, so a decoder's reverse
//! pass is written out (see the `growthpath` crate) instead of recorded. Three facts led to this: candle's autograd
//! allows one output per operation, fills and adds a zero tensor for every gradient, and its fast operations have no
//! backward at all. A model written with candle uses the fused attention, norm and optimizer as candle operations
//! ([`attention::autograd`], [`norm::autograd`], [`optimizer::AdamW`]).
//!
//! Matrices are row-major; `N = B * T` tokens; `H` heads of width `d_h`; `D = H * d_h`.

pub mod activation;
pub mod attention;
#[cfg(feature = "cuda")]
pub mod check;
pub mod cross_entropy;
pub mod embedding;
mod error;
pub mod gemm;
#[cfg(feature = "cuda")]
pub mod gpu;
pub mod linear;
pub mod memory;
pub mod norm;
pub mod optimizer;
#[cfg(feature = "cuda")]
pub mod probe;
pub mod qk_norm;
pub mod rope;
mod simd;
mod stats;
pub mod tensor;

pub use error::{Error, Result};
pub use stats::Stats;
