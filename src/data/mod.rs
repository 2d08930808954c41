//! Training text: the built-in corpus, tokenizers, and deterministic batches.
//!
//! The flow is one way: text (a file or [`corpus`]) -> [`Tokenizer`] -> [`TokenStream`] -> [`Dataset`]
//! -> [`Batcher`]. Which tokens a step sees is a function of (seed, step) alone, so that a resumed run
//! needs no saved state and two arms with one seed see the same data in the same order.

pub mod batch;
pub mod batcher;
pub mod bundled;
pub mod corpus;
pub mod dataset;
pub mod error;
pub mod lookback;
mod not_text;
mod read_text;
pub mod stream;
pub mod tokenizer;

pub use batch::Batch;
pub use batcher::Batcher;
pub use corpus::{ByteClass, Corpus, EntropyRate};
pub use dataset::{DataInfo, Dataset, Source, Stage};
pub use error::{DataError, Result};
pub(crate) use read_text::read_text;
pub use stream::TokenStream;
pub use tokenizer::{Tokenizer, TokenizerSpec, train_bpe};
