//! Training a byte-level BPE tokenizer.

use std::collections::HashSet;
use std::sync::Arc;

use growthpath_trace::guard::guarded;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::file::{CONFUSED, FileTokenizer, byte_characters};
use super::{Tokenizer, chunks, words};
use crate::data::error::{DataError, Result};

/// Smallest vocabulary [`train_bpe`] makes: the 256 bytes and one merge.
pub const MIN_BPE_VOCAB: usize = 257;
/// Largest vocabulary [`train_bpe`] makes: ids fit 16 bits.
pub const MAX_BPE_VOCAB: usize = 65_536;

/// Piece size for counting words, bytes.
const PIECE: usize = 1 << 14;

/// Trains a byte-level BPE of `vocab` entries on `text`: GPT-2's word pattern, all 256 bytes, no special
/// tokens, merges of pairs seen at least twice. The result depends on the text and the size alone, not on
/// the number of threads; a text with too few repeated pairs gives fewer entries. Words of more than
/// [`super::LONGEST_WORD`] bytes (DNA, base64) are cut for counting: the time stays proportional to the text.
///
/// # Errors
/// [`DataError::VocabSize`] outside [`MIN_BPE_VOCAB`]`..=`[`MAX_BPE_VOCAB`], [`DataError::TokenizerFile`]
/// if training fails.
pub fn train_bpe(text: &str, vocab: usize) -> Result<Tokenizer> {
    if !(MIN_BPE_VOCAB..=MAX_BPE_VOCAB).contains(&vocab) {
        return Err(DataError::VocabSize { asked: vocab, min: MIN_BPE_VOCAB, max: MAX_BPE_VOCAB });
    }
    let name = format!("bpe:{vocab}");
    let refuse = |e: String| DataError::TokenizerFile {
        name: name.clone(),
        reason: format!("training it failed: {e}"),
    };
    let level = ByteLevel::new(false, true, true);
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(level));
    tokenizer.with_decoder(Some(level));
    let mut trainer: tokenizers::models::TrainerWrapper = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab)
        .min_frequency(2)
        .initial_alphabet(HashSet::from(byte_characters()))
        .build()
        .into();
    // Words are the same whether the text is cut or not (see `chunks`), and so are their counts.
    let pieces = chunks::pieces(text, PIECE).into_iter().flat_map(words::bounded);
    let train = || {
        tokenizer.train(&mut trainer, pieces).map_err(|e| e.to_string())?;
        tokenizer.to_string(false).map_err(|e| e.to_string())
    };
    let json = guarded(train, || CONFUSED.to_owned()).map_err(refuse)?;
    Ok(Tokenizer::Bpe(Arc::new(FileTokenizer::from_json(&name, &json)?)))
}
