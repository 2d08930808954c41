//! Encoding a long text on all processors, with the ids of the text in one piece.
//!
//! Why cutting is safe. GPT-2's pre-tokenizer matches, from left to right, one of: a contraction, an
//! optional space with letters, with digits or with other visible characters, or white space. It looks
//! ahead (white space: is the next character visible?) but never behind. Cut before a newline that
//! follows a visible character. No match holds that visible character and the newline both, since white
//! space (other than one leading space) and visible characters never share a match, so the whole text has
//! a boundary at the cut. The part before ends in a visible character, whose match ends there with or
//! without the newline; the part after is matched as before, since nothing looks behind. BPE merges never
//! cross a boundary. Special tokens hold no white space (checked), so no cut goes through one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::Tokenizer;
use crate::data::error::Result;

/// Aimed-at piece size, bytes: large against a line, small against a text.
const PIECE: usize = 1 << 16;

/// Cuts `text` into pieces of at least `target` bytes (the last may be shorter), each cut before a newline
/// that follows a visible character.
pub(super) fn pieces(text: &str, target: usize) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut all = Vec::new();
    let mut start = 0;
    let mut from = target.max(1);
    while from < bytes.len() {
        let Some(found) = bytes[from..].iter().position(|&b| b == b'\n') else { break };
        let at = from + found;
        // `at` is the place of an ASCII byte, hence a character boundary.
        if text[..at].chars().next_back().is_some_and(|c| !c.is_whitespace()) {
            all.push(&text[start..at]);
            start = at;
            from = at + target.max(1);
        } else {
            from = at + 1;
        }
    }
    all.push(&text[start..]);
    all
}

impl Tokenizer {
    /// The ids of a long text: the same as [`Tokenizer::encode`], on all processors where the tokenizer
    /// allows it. `progress` is called on this thread with (bytes done, bytes in all).
    ///
    /// # Errors
    /// [`crate::data::DataError::Encode`] if the tokenizer refuses the text.
    pub fn encode_long(&self, text: &str, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<u32>> {
        encode(self, text, progress)
    }
}

fn encode(tokenizer: &Tokenizer, text: &str, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<u32>> {
    let total = text.len() as u64;
    progress(0, total);
    let pieces = if tokenizer.cuts_at_lines() { pieces(text, PIECE) } else { vec![text] };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(pieces.len());
    if workers == 1 {
        let mut ids = Vec::new();
        let mut done = 0;
        for piece in pieces {
            ids.extend(tokenizer.encode(piece)?);
            done += piece.len() as u64;
            progress(done, total);
        }
        return Ok(ids);
    }
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (send, receive) = mpsc::channel();
    let mut encoded: Vec<Vec<u32>> = vec![Vec::new(); pieces.len()];
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (send, pieces, next, stop) = (send.clone(), &pieces, &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(piece) = pieces.get(index) else { break };
                    if send.send((index, tokenizer.encode(piece))).is_err() {
                        break;
                    }
                }
            });
        }
        // The loop below ends when the last worker drops its sender.
        drop(send);
        let mut done = 0;
        for (index, ids) in receive {
            match ids {
                Ok(ids) => encoded[index] = ids,
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            done += pieces[index].len() as u64;
            progress(done, total);
        }
        Ok(())
    })?;
    Ok(encoded.concat())
}
