//! growthpath: measure, predict and explain how attention grows during language-model pretraining.
//!
//! Data flows one way: **measure** ([`train`], on the fused operations of `growthpath-kernels`), **record**
//! (`growthpath-trace`), **explain** (`growthpath-analysis`), **draw** (`growthpath-figures`). A reader of saved
//! traces never needs the trainer.

pub mod cli;
pub mod data;
mod destination;
mod error;
mod hint;
mod input;
pub mod live;
mod memory;
pub mod model;
pub mod qk_import;
pub mod report;
pub mod study;
mod tables;
pub mod train;
mod verify;

pub use error::{Error, Result};
