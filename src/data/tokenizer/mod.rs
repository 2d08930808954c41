//! Text to token ids and back.

mod chunks;
mod file;
mod gpt2;
mod ids;
mod spec;
#[cfg(test)]
mod tests;
mod train;
mod words;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use growthpath_trace::input::{self, Refusal};
use growthpath_trace::shown_path;

pub use file::FileTokenizer;
pub use spec::TokenizerSpec;
pub use train::{MAX_BPE_VOCAB, MIN_BPE_VOCAB, train_bpe};
pub use words::LONGEST as LONGEST_WORD;

use super::error::{DataError, Result};

/// Larger tokenizer files are refused unread: the largest published ones have some 35 MB.
const LARGEST_FILE: u64 = 128 << 20;

/// A tokenizer. Cloning is cheap.
#[derive(Debug, Clone)]
pub enum Tokenizer {
    /// One token a byte; the id is the byte's value. Vocabulary 256.
    Bytes,
    /// GPT-2's byte-level BPE, built in. Vocabulary 50,257; `<|endoftext|>` in the text is token 50,256.
    Gpt2,
    /// A tokenizer of the Hugging Face `tokenizer.json` format, from a file or from [`train_bpe`].
    Bpe(Arc<FileTokenizer>),
}

impl Tokenizer {
    /// Opens a `tokenizer.json`. One that was written for [`Tokenizer::Bytes`] or [`Tokenizer::Gpt2`] opens
    /// as these.
    ///
    /// # Errors
    /// [`DataError::TokenizerFile`] with the reason.
    pub fn from_file(path: &Path) -> Result<Self> {
        let name = shown_path(path);
        let refuse = |reason: &dyn std::fmt::Display| DataError::TokenizerFile {
            name: name.clone(),
            reason: reason.to_string(),
        };
        let bytes = match input::read(path, LARGEST_FILE) {
            Err(Refusal::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(refuse(&"no such file"));
            }
            Err(Refusal::NotAFile("a folder")) => {
                return Err(refuse(&"it is a folder; name the tokenizer.json in it"));
            }
            Err(e) => return Err(refuse(&e)),
            Ok(bytes) if bytes.is_empty() => return Err(refuse(&"the file is empty")),
            Ok(bytes) => bytes,
        };
        let json = String::from_utf8(bytes).map_err(|e| refuse(&e.utf8_error()))?;
        Self::from_json(&name, &json)
    }

    /// Like [`Tokenizer::from_file`], from the file's text; `name` is used in errors.
    ///
    /// # Errors
    /// [`DataError::TokenizerFile`] with the reason.
    pub fn from_json(name: &str, json: &str) -> Result<Self> {
        let opened = FileTokenizer::from_json(name, json)?;
        for builtin in [Tokenizer::Bytes, Tokenizer::Gpt2] {
            if builtin.vocab_size() == opened.vocab_size() && builtin.json()? == opened.json() {
                return Ok(builtin);
            }
        }
        Ok(Tokenizer::Bpe(Arc::new(opened)))
    }

    /// Entries in the vocabulary: every id is below it. Ids may have gaps in a foreign file.
    pub fn vocab_size(&self) -> usize {
        match self {
            Tokenizer::Bytes => 256,
            Tokenizer::Gpt2 => gpt2::VOCAB,
            Tokenizer::Bpe(file) => file.vocab_size(),
        }
    }

    /// A short name: `bytes`, `gpt2`, or where the tokenizer came from.
    pub fn name(&self) -> &str {
        match self {
            Tokenizer::Bytes => "bytes",
            Tokenizer::Gpt2 => "gpt2",
            Tokenizer::Bpe(file) => file.name(),
        }
    }

    /// The ids of `text`, in one piece and on this thread.
    ///
    /// # Errors
    /// [`DataError::Encode`] if the tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Tokenizer::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Tokenizer::Gpt2 => gpt2::encode(text),
            Tokenizer::Bpe(file) => file.encode(text),
        }
    }

    /// May a text be cut before a newline that follows a visible character, without changing any id?
    fn cuts_at_lines(&self) -> bool {
        match self {
            Tokenizer::Bytes | Tokenizer::Gpt2 => true,
            Tokenizer::Bpe(file) => file.cuts_at_lines(),
        }
    }

    /// The text of `ids`. Bytes that are not UTF-8, as a model may write them, become U+FFFD.
    ///
    /// # Errors
    /// [`DataError::TokenId`] for an id outside the vocabulary, [`DataError::Decode`] if the tokenizer
    /// refuses.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let vocab = self.vocab_size();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab) {
            return Err(DataError::TokenId { id, tokenizer: self.name().to_string(), vocab });
        }
        match self {
            // The ids were checked to be below 256.
            Tokenizer::Bytes => {
                let bytes: Vec<u8> = ids.iter().map(|&id| id as u8).collect();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Tokenizer::Gpt2 => gpt2::decode(ids),
            Tokenizer::Bpe(file) => file.decode(ids),
        }
    }

    /// The tokenizer in `tokenizer.json` form. A Hugging Face tokenizer opened from it gives the same ids
    /// (encode without adding special tokens).
    ///
    /// # Errors
    /// [`DataError::TokenizerFile`] if a built-in vocabulary cannot be put in this form.
    pub fn json(&self) -> Result<&str> {
        static BYTES: OnceLock<String> = OnceLock::new();
        static GPT2: OnceLock<String> = OnceLock::new();
        let (cell, build): (_, fn() -> Result<String>) = match self {
            Tokenizer::Bytes => (&BYTES, file::bytes_json),
            Tokenizer::Gpt2 => (&GPT2, gpt2::json),
            Tokenizer::Bpe(file) => return Ok(file.json()),
        };
        match cell.get() {
            Some(json) => Ok(json),
            // If two threads build it at once they build the same text.
            None => {
                let json = build()?;
                Ok(cell.get_or_init(|| json))
            }
        }
    }

    /// Writes [`Tokenizer::json`] to `path`.
    ///
    /// # Errors
    /// [`DataError::Io`] naming the path, or as [`Tokenizer::json`].
    pub fn write_tokenizer_json(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.json()?).map_err(|source| DataError::Io {
            path: path.to_path_buf(),
            action: "write",
            source,
        })
    }

    /// BLAKE3 of [`Tokenizer::json`], 64 hexadecimal digits: equal for two tokenizers of one vocabulary,
    /// rules and file layout.
    ///
    /// # Errors
    /// As [`Tokenizer::json`].
    pub fn fingerprint(&self) -> Result<String> {
        Ok(blake3::hash(self.json()?.as_bytes()).to_hex().to_string())
    }
}
