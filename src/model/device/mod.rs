//! The decoder on a CUDA device: the same blocks, the same statistics, in memory that is laid out once.
//!
//! A step uploads a batch, launches, and starts one copy of all its statistics to the host, where they are read a step
//! later: nothing on the way waits for the device. Activations are stored as float32 or bf16; parameters, gradients,
//! moments and statistics are float32, and in bf16 the products read a rounded copy of the parameters.

mod backward;
mod buffers;
mod decoder;
mod forward;
mod stats;
mod traffic;
mod update;
mod weights;

pub use decoder::DeviceDecoder;
pub use growthpath_kernels::gpu::{Elem, Gpu, KernelUse};
