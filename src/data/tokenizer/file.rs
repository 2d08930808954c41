//! Tokenizers of the Hugging Face `tokenizer.json` format.

use growthpath_trace::guard::guarded;
use serde_json::{Value, json};

use crate::data::error::{DataError, Result};

/// Said where the `tokenizers` library panics.
pub(super) const CONFUSED: &str = "its rules confuse the tokenizers library";

/// An opened `tokenizer.json`.
#[derive(Debug)]
pub struct FileTokenizer {
    inner: tokenizers::Tokenizer,
    name: String,
    json: String,
    vocab: usize,
    cuts_at_lines: bool,
}

impl FileTokenizer {
    /// Opens the JSON text of a tokenizer. Truncation and padding are turned off: a training text is
    /// neither cut nor filled.
    pub(super) fn from_json(name: &str, json: &str) -> Result<Self> {
        let refuse = |reason: String| DataError::TokenizerFile { name: name.to_string(), reason };
        super::ids::check(json).map_err(refuse)?;
        let open = || -> std::result::Result<_, String> {
            let mut inner = tokenizers::Tokenizer::from_bytes(json.as_bytes()).map_err(|e| e.to_string())?;
            inner.with_truncation(None).map_err(|e| e.to_string())?;
            inner.with_padding(None);
            let json = inner.to_string(false).map_err(|e| e.to_string())?;
            Ok((inner, json))
        };
        let (inner, json) = guarded(open, || CONFUSED.into()).map_err(refuse)?;
        let rules: Value = serde_json::from_str(&json).map_err(|e| refuse(e.to_string()))?;
        if rules["model"]["dropout"].as_f64().is_some_and(|p| p > 0.0) {
            return Err(refuse(
                "it drops merges at random, so ids differ from run to run (set dropout to null)".into(),
            ));
        }
        // Ids may have gaps; an embedding needs a row for the largest.
        let vocab = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        if vocab == 0 {
            return Err(refuse("its vocabulary is empty".into()));
        }
        Ok(Self { inner, name: name.to_string(), cuts_at_lines: cuts_at_lines(&rules), json, vocab })
    }

    /// Entries, counting gaps: the largest id and one.
    pub fn vocab_size(&self) -> usize {
        self.vocab
    }

    /// Where it came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its canonical JSON text.
    pub fn json(&self) -> &str {
        &self.json
    }

    pub(super) fn cuts_at_lines(&self) -> bool {
        self.cuts_at_lines
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encode = || {
            let encoding = self.inner.encode_fast(text, false).map_err(|e| e.to_string())?;
            Ok(encoding.get_ids().to_vec())
        };
        guarded(encode, || CONFUSED.to_owned())
            .map_err(|reason| DataError::Encode { tokenizer: self.name.clone(), reason })
    }

    pub(super) fn decode(&self, ids: &[u32]) -> Result<String> {
        guarded(|| self.inner.decode(ids, false).map_err(|e| e.to_string()), || CONFUSED.to_owned())
            .map_err(|reason| DataError::Decode { tokenizer: self.name.clone(), reason })
    }
}

/// Do the rules allow the cuts of [`super::chunks`]? Only where the proof holds: byte-level BPE with
/// GPT-2's pattern, no normalizer, nothing put before or after, and special tokens free of white space.
fn cuts_at_lines(rules: &Value) -> bool {
    let before = &rules["pre_tokenizer"];
    let after = &rules["post_processor"];
    let plain = |token: &Value| {
        token["lstrip"] == false
            && token["rstrip"] == false
            && token["content"].as_str().is_some_and(|t| !t.chars().any(char::is_whitespace))
    };
    rules["model"]["type"] == "BPE"
        && rules["normalizer"].is_null()
        && before["type"] == "ByteLevel"
        && before["add_prefix_space"] == false
        && before["use_regex"] == true
        && (after.is_null() || after["type"] == "ByteLevel")
        && rules["added_tokens"].as_array().is_some_and(|tokens| tokens.iter().all(plain))
}

/// The visible character that byte-level tokenizers write for a byte: itself where it is a printable
/// Latin-1 character, else the next unused one from U+0100 on.
pub(super) fn byte_characters() -> [char; 256] {
    let mut spare = (0x100..).filter_map(char::from_u32);
    std::array::from_fn(|b| {
        let byte = b as u8;
        let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        // The spare characters do not end before 256 are taken.
        if printable { char::from(byte) } else { spare.next().unwrap_or(char::REPLACEMENT_CHARACTER) }
    })
}

/// A byte-level BPE tokenizer of this vocabulary and these merges as JSON, made canonical by opening it.
pub(super) fn byte_level_json(
    name: &str,
    vocab: Value,
    merges: Value,
    split_words: bool,
    added: Value,
) -> Result<String> {
    let level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": split_words
    });
    let text = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges
        }
    });
    Ok(FileTokenizer::from_json(name, &text.to_string())?.json)
}

/// [`super::Tokenizer::Bytes`] as a BPE of 256 entries without merges.
pub(super) fn bytes_json() -> Result<String> {
    let vocab: serde_json::Map<String, Value> =
        byte_characters().iter().enumerate().map(|(id, c)| (c.to_string(), json!(id))).collect();
    byte_level_json("bytes", vocab.into(), json!([]), false, json!([]))
}
