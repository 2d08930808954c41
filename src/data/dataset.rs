//! A training and a validation stream with everything that names them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use growthpath_trace::shown_path;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::batcher::Batcher;
use super::corpus;
use super::error::{DataError, Result};
use super::read_text::read_text;
use super::stream::TokenStream;
use super::tokenizer::{Tokenizer, TokenizerSpec};

/// Where the text comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case")]
pub enum Source {
    /// The built-in corpus: `bytes` bytes to train on, a ninth as many (at least 20,000) to validate on,
    /// drawn independently.
    BuiltIn {
        /// Seed of the text (not of the data order).
        seed: u64,
        /// Training bytes.
        bytes: usize,
    },
    /// Text files; without `valid`, the last tenth of `train` validates.
    Files {
        /// Training text.
        train: PathBuf,
        /// Validation text.
        valid: Option<PathBuf>,
    },
}

/// A long part of [`Dataset::load`], for progress bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading or generating text.
    Read,
    /// Training a tokenizer (`bpe:N`).
    TrainTokenizer,
    /// Encoding the training text.
    EncodeTrain,
    /// Encoding the validation text.
    EncodeValid,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "reading the text",
            Self::TrainTokenizer => "training the tokenizer",
            Self::EncodeTrain => "tokenizing the training text",
            Self::EncodeValid => "tokenizing the validation text",
        })
    }
}

/// What a run records about its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataInfo {
    /// Name of the training text: a path, or `built-in corpus (seed N)`.
    pub train: String,
    /// Name of the validation text.
    pub valid: String,
    /// Training bytes.
    pub train_bytes: u64,
    /// Validation bytes.
    pub valid_bytes: u64,
    /// Training tokens.
    pub train_tokens: u64,
    /// Validation tokens.
    pub valid_tokens: u64,
    /// Tokenizer name.
    pub tokenizer: String,
    /// Vocabulary size.
    pub vocab_size: usize,
    /// [`Tokenizer::fingerprint`].
    pub tokenizer_fingerprint: String,
    /// BLAKE3 of the tokens of both streams: equal if and only if a model is trained and validated on
    /// the same token sequences (up to a hash collision).
    pub fingerprint: String,
}

impl DataInfo {
    /// Validation bytes in a token, on average: divide a validation loss in nats per token by it to
    /// compare tokenizers in nats per byte.
    pub fn valid_bytes_per_token(&self) -> f64 {
        self.valid_bytes as f64 / self.valid_tokens.max(1) as f64
    }
}

/// Text ready for training.
#[derive(Debug, Clone)]
pub struct Dataset {
    train: Arc<TokenStream>,
    valid: Arc<TokenStream>,
    tokenizer: Tokenizer,
    context: usize,
    info: DataInfo,
}

struct Text {
    name: String,
    text: String,
}

impl Dataset {
    /// Reads (or generates), tokenizes and checks the text. `bpe:N` trains its tokenizer on the training
    /// part alone. `progress` gets (stage, done, total) in bytes.
    ///
    /// # Errors
    /// Every file error of [`DataError`], tokenizer errors, and [`DataError::TooShort`] if either part has
    /// fewer than `context + 1` tokens.
    pub fn load(
        source: &Source,
        tokenizer: &TokenizerSpec,
        context: usize,
        progress: &mut dyn FnMut(Stage, u64, u64),
    ) -> Result<Self> {
        if context == 0 {
            return Err(DataError::Zero { what: "the context length" });
        }
        progress(Stage::Read, 0, 0);
        let (train, valid, split) = read(source)?;
        if matches!(tokenizer, TokenizerSpec::Train(_)) {
            progress(Stage::TrainTokenizer, 0, train.text.len() as u64);
        }
        let tokenizer = tokenizer.build(|| &train.text)?;
        let valid_mend = if split {
            "it is the last tenth of the training text: give more text, --valid FILE, or a smaller context"
        } else {
            "give more text or a smaller context"
        };
        let mut encode = |stage, text: &Text, mend| -> Result<TokenStream> {
            let ids = tokenizer.encode_long(&text.text, &mut |done, total| progress(stage, done, total))?;
            if ids.len() <= context {
                let (name, tokens) = (text.name.clone(), ids.len());
                return Err(DataError::TooShort {
                    name,
                    tokens,
                    need: context.saturating_add(1),
                    context,
                    mend,
                });
            }
            Ok(TokenStream::new(ids))
        };
        let train_stream = encode(Stage::EncodeTrain, &train, "give more text or a smaller context")?;
        let valid_stream = encode(Stage::EncodeValid, &valid, valid_mend)?;
        let info = DataInfo {
            train_bytes: train.text.len() as u64,
            valid_bytes: valid.text.len() as u64,
            train: train.name,
            valid: valid.name,
            train_tokens: train_stream.len() as u64,
            valid_tokens: valid_stream.len() as u64,
            tokenizer: tokenizer.name().to_string(),
            vocab_size: tokenizer.vocab_size(),
            tokenizer_fingerprint: tokenizer.fingerprint()?,
            fingerprint: fingerprint(&[&train_stream, &valid_stream]),
        };
        Ok(Self { train: train_stream.into(), valid: valid_stream.into(), tokenizer, context, info })
    }

    /// [`Dataset::load`] from files, without progress.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn from_files(
        train: &Path,
        valid: Option<&Path>,
        tokenizer: &TokenizerSpec,
        context: usize,
    ) -> Result<Self> {
        let source = Source::Files { train: train.to_path_buf(), valid: valid.map(Path::to_path_buf) };
        Self::load(&source, tokenizer, context, &mut |_, _, _| {})
    }

    /// The training stream.
    pub fn train(&self) -> &Arc<TokenStream> {
        &self.train
    }

    /// The validation stream. Nothing of it is ever trained on.
    pub fn valid(&self) -> &Arc<TokenStream> {
        &self.valid
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Context length, tokens.
    pub fn context(&self) -> usize {
        self.context
    }

    /// What to record about this data.
    pub fn info(&self) -> &DataInfo {
        &self.info
    }

    /// Training batches of `batch` sequences.
    ///
    /// # Errors
    /// [`DataError::Zero`] for batch 0.
    pub fn batcher(&self, batch: usize) -> Result<Batcher> {
        Batcher::new(Arc::clone(&self.train), batch, self.context)
    }

    /// Up to `max_sequences` evaluation windows of the validation stream: evenly spread, not overlapping,
    /// the same on every call.
    ///
    /// # Errors
    /// [`DataError::Zero`] for 0 sequences.
    pub fn eval_windows(&self, max_sequences: usize) -> Result<Batch> {
        self.valid.even_windows(&self.info.valid, max_sequences, self.context)
    }

    /// `count` probe sequences of `length` tokens, with their targets: evenly spread over the validation
    /// stream, not overlapping, fixed for the whole run and the same for every arm on this data. None is
    /// ever trained on.
    ///
    /// # Errors
    /// [`DataError::Zero`] for a zero size, [`DataError::Probe`] if the validation stream is too short.
    pub fn probe_sequences(&self, count: usize, length: usize) -> Result<Batch> {
        if count == 0 {
            return Err(DataError::Zero { what: "the number of probe sequences" });
        }
        if length == 0 {
            return Err(DataError::Zero { what: "the probe length" });
        }
        let need = count.saturating_mul(length).saturating_add(1);
        let tokens = self.valid.len();
        if tokens < need {
            return Err(DataError::Probe { count, length, need, tokens });
        }
        self.valid.even_windows(&self.info.valid, count, length)
    }
}

/// The training and the validation text, and whether the second was split off the first.
fn read(source: &Source) -> Result<(Text, Text, bool)> {
    match source {
        Source::BuiltIn { seed, bytes } => {
            let part = |part: &str, seed: u64, bytes: usize| Text {
                name: format!("built-in corpus (seed {seed}, {part})"),
                text: corpus::generate(seed, bytes).text,
            };
            // Any other seed gives an independent text.
            let valid = part("validation", seed ^ VALID_SEED, (bytes / 9).max(20_000));
            Ok((part("training", *seed, *bytes), valid, false))
        }
        Source::Files { train, valid: Some(valid) } => {
            let text =
                |path: &Path| -> Result<Text> { Ok(Text { name: shown_path(path), text: read_text(path)? }) };
            Ok((text(train)?, text(valid)?, false))
        }
        Source::Files { train, valid: None } => {
            let mut text = read_text(train)?;
            let name = shown_path(train);
            let valid = text.split_off(nine_tenths(&text));
            let valid = Text { name: format!("{name} (last tenth)"), text: valid };
            Ok((Text { name, text }, valid, true))
        }
    }
}

/// Turns a training seed into its validation seed.
const VALID_SEED: u64 = 0x5DEE_CE66_D1CE_4E5B;

/// The character boundary at or just below nine tenths of the bytes.
fn nine_tenths(text: &str) -> usize {
    let mut at = text.len() - text.len() / 10;
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// BLAKE3 over each stream's length and ids, 64 hexadecimal digits.
fn fingerprint(streams: &[&TokenStream]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("growthpath token streams 1");
    let mut buffer = Vec::new();
    for stream in streams {
        hasher.update(&(stream.len() as u64).to_le_bytes());
        let mut ids = stream.iter().peekable();
        while ids.peek().is_some() {
            buffer.clear();
            buffer.extend(ids.by_ref().take(1 << 14).flat_map(u32::to_le_bytes));
            hasher.update(&buffer);
        }
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
