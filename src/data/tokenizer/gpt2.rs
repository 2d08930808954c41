//! GPT-2's tokenizer from its built-in ranks.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use growthpath_trace::guard::guarded;
use serde_json::{Map, Value, json};

use super::file::{byte_characters, byte_level_json};
use crate::data::error::{DataError, Result};

/// Entries: 50,256 byte strings and [`END`].
pub(super) const VOCAB: usize = 50_257;
/// The one special token; its id is the last.
const END: &str = "<|endoftext|>";

pub(super) fn encode(text: &str) -> Result<Vec<u32>> {
    static SPECIAL: LazyLock<HashSet<&str>> = LazyLock::new(|| HashSet::from([END]));
    let encode = || match tiktoken_rs::r50k_base_singleton().encode(text, &SPECIAL) {
        Ok((ids, _)) => Ok(ids),
        Err(e) => Err(e.to_string()),
    };
    guarded(encode, || "a piece of it is too much for the library".to_owned())
        .map_err(|reason| DataError::Encode { tokenizer: "gpt2".into(), reason })
}

/// `ids` must be below [`VOCAB`].
pub(super) fn decode(ids: &[u32]) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes(ids)?).into_owned())
}

fn bytes(ids: &[u32]) -> Result<Vec<u8>> {
    tiktoken_rs::r50k_base_singleton()
        .decode_bytes(ids)
        .map_err(|e| DataError::Decode { tokenizer: "gpt2".into(), reason: e.to_string() })
}

/// The vocabulary as `tokenizer.json`.
///
/// The ranks say which byte string each id is, not which two it was merged from. An entry was the newest
/// when it was made, so splitting it with the older entries alone leaves exactly the two parts.
pub(super) fn json() -> Result<String> {
    let entries: Vec<Vec<u8>> = (0..VOCAB as u32 - 1).map(|id| bytes(&[id])).collect::<Result<_>>()?;
    let ranks: HashMap<&[u8], u32> = (0..).zip(&entries).map(|(rank, e)| (e.as_slice(), rank)).collect();
    let characters = byte_characters();
    let visible = |part: &[u8]| -> String { part.iter().map(|&b| characters[usize::from(b)]).collect() };
    let mut merges = Vec::with_capacity(entries.len());
    let mut vocab = Map::new();
    for (rank, entry) in (0u32..).zip(&entries) {
        vocab.insert(visible(entry), json!(rank));
        if entry.len() == 1 {
            continue;
        }
        let [left, right] = split(entry, rank, &ranks)[..] else {
            return Err(DataError::TokenizerFile {
                name: "gpt2".into(),
                reason: format!("entry {rank} is not made of two older entries, so it has no merge"),
            });
        };
        merges.push(json!([visible(left), visible(right)]));
    }
    vocab.insert(END.into(), json!(VOCAB - 1));
    let added = json!([{
        "id": VOCAB - 1, "content": END, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    }]);
    byte_level_json("gpt2", Value::Object(vocab), Value::Array(merges), true, added)
}

/// `entry` merged by the entries older than `rank`: always the oldest that fits, leftmost first.
fn split<'a>(entry: &'a [u8], rank: u32, ranks: &HashMap<&[u8], u32>) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = (0..=entry.len()).collect();
    loop {
        let oldest = ends
            .windows(3)
            .enumerate()
            .filter_map(|(i, w)| ranks.get(&entry[w[0]..w[2]]).map(|&r| (r, i)))
            .filter(|&(r, _)| r < rank)
            .min();
        match oldest {
            Some((_, i)) => {
                ends.remove(i + 1);
            }
            None => return ends.windows(2).map(|w| &entry[w[0]..w[1]]).collect(),
        }
    }
}
