//! Projected GAN and Faster Projected GAN in Rust, on candle.
//!
//! A generator in four variants (its 3 x 3 convolutions dense or depthwise-separable), the projected discriminator over a
//! frozen EfficientNet-lite0, training, sampling, evaluation and a paired benchmark. See the crate's README for the
//! command line and `docs/faster-projected-gan.md` for what was measured.

pub mod bench;
pub mod cli;
pub mod config;
pub mod count;
pub mod discriminator;
pub mod efficientnet;
pub(crate) mod element;
mod error;
pub mod evaluate;
pub mod figures;
pub mod generator;
pub mod images;
pub mod nn;
pub mod ops;
pub mod train;

pub use error::{Error, Result};
