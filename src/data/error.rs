//! What can go wrong with training text, each with the thing's name and the mend.

use std::path::PathBuf;

use growthpath_trace::shown_path;

/// The module's result.
pub type Result<T> = std::result::Result<T, DataError>;

/// An error about training text, tokenizers or batches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file is not there.
    #[error("{}: no such file; check the path, or leave --data out to train on the built-in corpus", shown_path(.path))]
    Missing {
        /// The file asked for.
        path: PathBuf,
    },
    /// A folder stands where a text file was expected.
    #[error("{}: is a directory; name one UTF-8 text file in it", shown_path(.path))]
    Directory {
        /// The folder.
        path: PathBuf,
    },
    /// The file holds no byte.
    #[error("{}: the file is empty; give a text file of at least a few thousand bytes", shown_path(.path))]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is no text.
    #[error("{}: is not UTF-8 text: {what}; {mend}", shown_path(.path))]
    NotText {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        what: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// A pipe, a device, or more than there is room for.
    #[error("{}: {why}", shown_path(.path))]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why it is not read.
        why: String,
    },
    /// The file is not UTF-8.
    #[error(
        "{}: not UTF-8 at byte {offset} (0x{byte:02x}); if it is text of another encoding convert it (for example `iconv -f LATIN1 -t UTF-8`), otherwise cut the bad bytes out",
        shown_path(.path)
    )]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first byte that is not part of a valid character.
        offset: usize,
        /// That byte.
        byte: u8,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", shown_path(.path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried ("read", "write").
        action: &'static str,
        /// The system's own error.
        source: std::io::Error,
    },
    /// Too few tokens to cut one window of `context` inputs and their targets.
    #[error(
        "{name}: {tokens} tokens are fewer than the {need} that one window of context {context} needs; {mend}"
    )]
    TooShort {
        /// The text's name.
        name: String,
        /// Tokens in it.
        tokens: usize,
        /// Tokens needed.
        need: usize,
        /// Context length asked for.
        context: usize,
        /// What to do.
        mend: &'static str,
    },
    /// `--tokenizer` is none of the known forms.
    #[error(
        "tokenizer '{value}' is unknown; use bytes, gpt2, bpe:N (train one of N entries, N >= {min}), or a tokenizer.json file"
    )]
    TokenizerName {
        /// What was given.
        value: String,
        /// Smallest vocabulary that can be trained.
        min: usize,
    },
    /// A tokenizer file does not open or cannot be used for training.
    #[error("{name}: not a usable tokenizer: {reason}; give a Hugging Face tokenizer.json")]
    TokenizerFile {
        /// The file or other origin.
        name: String,
        /// Why.
        reason: String,
    },
    /// A vocabulary size that cannot be trained.
    #[error(
        "a BPE vocabulary of {asked} entries is outside {min}..={max}; choose one inside, for example 2048"
    )]
    VocabSize {
        /// Entries asked for.
        asked: usize,
        /// Smallest allowed: all bytes and one merge.
        min: usize,
        /// Largest allowed.
        max: usize,
    },
    /// Encoding failed.
    #[error(
        "the {tokenizer} tokenizer could not encode the text: {reason}; try another tokenizer (--tokenizer bytes never fails)"
    )]
    Encode {
        /// The tokenizer.
        tokenizer: String,
        /// Why.
        reason: String,
    },
    /// Decoding failed.
    #[error("the {tokenizer} tokenizer could not decode: {reason}")]
    Decode {
        /// The tokenizer.
        tokenizer: String,
        /// Why.
        reason: String,
    },
    /// A token id outside the vocabulary.
    #[error(
        "token id {id} is outside the {tokenizer} tokenizer's vocabulary of {vocab}; the ids belong to another tokenizer"
    )]
    TokenId {
        /// The id.
        id: u32,
        /// The tokenizer.
        tokenizer: String,
        /// Its vocabulary size.
        vocab: usize,
    },
    /// A size that must be at least one is zero.
    #[error("{what} is 0; it must be at least 1")]
    Zero {
        /// The size's name.
        what: &'static str,
    },
    /// The validation stream cannot hold the probe sequences apart from each other.
    #[error(
        "{count} probe sequences of {length} tokens need {need} validation tokens, there are {tokens}; use fewer or shorter probes, or more validation text"
    )]
    Probe {
        /// Sequences asked for.
        count: usize,
        /// Their length.
        length: usize,
        /// Tokens needed.
        need: usize,
        /// Tokens there.
        tokens: usize,
    },
}
