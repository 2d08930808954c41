//! The built-in corpus: a small formal language whose entropy rate is known.
//!
//! Its form is in the table of the `language` file: bindings, recalls, copies and sentences, a passage a
//! line. A byte-level model first learns letter statistics, then the words and the form of statements,
//! then agreement, and last to look back: values and copied words cost nothing to a reader who attends to
//! the right place and nearly 2.8 nats a letter to one who does not.
//!
//! # The floor
//!
//! [`entropy_rate`] is exact. [`Corpus::nats`] holds the ideal code length of every byte given everything
//! before it, so any stretch of text has its own exact floor too. A byte-level model with unlimited
//! context cannot beat it on average (a tokenizer with bigger pieces has the same floor per byte, not per
//! token: multiply by bytes per token).
//!
//! A model whose window of T bytes starts anywhere sees less than everything before: passages have no
//! memory of each other, so only the window's first, cut passage is harder:
//! `rate <= H(window)/T <= rate + excess/T`. [`Corpus::context_ceiling`] gives the right side, a bound that
//! a reader described in the `context` file attains. The excess sits in the first hundred bytes of a
//! window; losses at positions past the longest passage ([`MAX_PASSAGE`]) meet the rate itself.

mod choice;
mod context;
mod generate;
mod language;
mod rate;
#[cfg(test)]
mod tests;

pub use generate::generate;
pub use rate::{EntropyRate, entropy_rate};

/// Longest possible passage with its newline, bytes: two bindings and five sentences of the longest words.
pub const MAX_PASSAGE: usize = 2 * 11 + 5 * 42;

/// What a byte of the corpus asks of its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ByteClass {
    /// Punctuation and spacing of statements, and where a passage ends: local form.
    Form,
    /// Which statement comes, and the words of sentences: grammar.
    Grammar,
    /// Fresh keys, values and words to copy: nobody can foresee them beyond their distribution.
    Fresh,
    /// The key and value of `get` and the repeats of `copy`: found by looking back.
    Recall,
}

/// A generated text with its ideal code.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// The text: readable ASCII, one passage a line (the last may be cut).
    pub text: String,
    /// Ideal code length of each byte given all bytes before it, nats; as long as `text`.
    pub nats: Vec<f32>,
    /// What each byte asks of its reader; as long as `text`.
    pub classes: Vec<ByteClass>,
}

impl Corpus {
    /// Mean ideal code length of bytes `range`, nats per byte: what a perfect reader of all that comes
    /// before pays there. 0 for an empty range or one outside the text.
    pub fn floor(&self, range: std::ops::Range<usize>) -> f64 {
        let part = self.nats.get(range).unwrap_or(&[]);
        if part.is_empty() {
            return 0.0;
        }
        part.iter().map(|&n| f64::from(n)).sum::<f64>() / part.len() as f64
    }

    /// Upper end of the ideal loss, nats per byte, of a reader whose windows of `context` bytes start
    /// anywhere and who knows nothing before the window: `rate + excess/context`, where the excess is what
    /// being told its place in the cut passage costs, plus what recalling unseen things costs.
    ///
    /// Expectations are taken over the first half million bytes of this corpus (the excess is good to
    /// a few per cent from 100,000 bytes on). Infinite for context 0.
    pub fn context_ceiling(&self, context: usize) -> f64 {
        let sample = &self.text[..self.text.len().min(1 << 19)];
        entropy_rate().nats_per_byte + context::excess(sample) / context as f64
    }
}
