//! `y = x W^T + b` and its backward, as plain matrix products without transposed copies.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;
