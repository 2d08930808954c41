//! Token (and learned position) embedding: gather forward, ordered scatter-add backward.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;

use crate::error::{Error, Result, shape_error};

/// Check tokens for operation `op`: whole sequences, of tokens below `vocabulary`.
///
/// # Errors
/// What the error says.
pub fn check(op: &'static str, tokens: &[u32], seq_len: usize, vocabulary: usize) -> Result<()> {
    if seq_len == 0 || tokens.is_empty() || !tokens.len().is_multiple_of(seq_len) {
        return Err(shape_error(
            op,
            "tokens",
            &[tokens.len()],
            format!("whole sequences of length {seq_len}"),
        ));
    }
    match tokens.iter().find(|t| **t as usize >= vocabulary) {
        None => Ok(()),
        Some(t) => Err(Error::Unsupported {
            op,
            message: format!(
                "token {t} lies outside the vocabulary of {vocabulary}: was the text encoded with another tokenizer?"
            ),
        }),
    }
}
