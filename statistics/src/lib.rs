//! The statistics of attention logits, each declared once, in [`logits`]: no dependencies, so that kernels, build scripts
//! and the trace can all see it.
//!
//! From a declaration come
//! - the partial rows that the CPU kernels and, through [`cuda_header`], the CUDA kernels add up, with their merge;
//! - [`logits::LogitStats`] and [`logits::LogitGradStats`], finished from the totals of either;
//! - the columns of the table `heads`, with unit and description, and the conversion into its rows;
//! - how closely two computations of it agree: `verify --against` and `check-device` compare everything declared.

mod declare;
mod header;
pub mod logits;

pub use declare::{Accumulator, Combine, Counted, Scale, Statistic};
pub use header::cuda_header;
