//! Projected GAN and Faster Projected GAN in Rust, on candle.
pub(crate) mod element;
mod error;
pub mod ops;
pub use error::{Error, Result};
