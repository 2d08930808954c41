//! Optional RMS normalization of queries and keys, head by head, before the rotation.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;

const EPS: f32 = 1e-6;
