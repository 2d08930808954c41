//! The command line's `--tokenizer` value.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{MIN_BPE_VOCAB, Tokenizer, train_bpe};
use crate::data::error::{DataError, Result};

/// Which tokenizer to use: `bytes`, `gpt2`, `bpe:N` or a `tokenizer.json` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerSpec {
    /// [`Tokenizer::Bytes`].
    Bytes,
    /// [`Tokenizer::Gpt2`].
    Gpt2,
    /// Train a byte-level BPE of this many entries on the training text.
    Train(usize),
    /// Open this file.
    File(PathBuf),
}

impl TokenizerSpec {
    /// The tokenizer; `training_text` is called only if one must be trained.
    ///
    /// # Errors
    /// As [`Tokenizer::from_file`] and [`train_bpe`].
    pub fn build<'a>(&self, training_text: impl FnOnce() -> &'a str) -> Result<Tokenizer> {
        match self {
            TokenizerSpec::Bytes => Ok(Tokenizer::Bytes),
            TokenizerSpec::Gpt2 => Ok(Tokenizer::Gpt2),
            TokenizerSpec::Train(vocab) => train_bpe(training_text(), *vocab),
            TokenizerSpec::File(path) => Tokenizer::from_file(path),
        }
    }
}

impl FromStr for TokenizerSpec {
    type Err = DataError;

    fn from_str(value: &str) -> Result<Self> {
        let unknown = || DataError::TokenizerName { value: value.to_string(), min: MIN_BPE_VOCAB };
        match value {
            "bytes" => Ok(TokenizerSpec::Bytes),
            "gpt2" => Ok(TokenizerSpec::Gpt2),
            _ => match value.strip_prefix("bpe:") {
                Some(entries) => entries.parse().map(TokenizerSpec::Train).map_err(|_| unknown()),
                None if value.ends_with(".json") => Ok(TokenizerSpec::File(PathBuf::from(value))),
                None => Err(unknown()),
            },
        }
    }
}

impl fmt::Display for TokenizerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenizerSpec::Bytes => f.write_str("bytes"),
            TokenizerSpec::Gpt2 => f.write_str("gpt2"),
            TokenizerSpec::Train(vocab) => write!(f, "bpe:{vocab}"),
            TokenizerSpec::File(path) => f.write_str(&growthpath_trace::shown_path(path)),
        }
    }
}
