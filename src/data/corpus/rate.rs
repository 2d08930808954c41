//! The language's entropy rate, from its probabilities alone.

use super::language::{
    BODY, BODY_MIN, KEYS, LETTERS, Language, OPENING, P_COPY, P_GET, P_SENTENCE, P_SET, P_SINGULAR, REPEATS,
    START_SUBJECT, VALUE, WORD,
};

/// Exact expectations of the language, in nats and bytes.
///
/// Passages are independent and identically distributed, and a reader sees where each ends, so the rate of
/// the whole text is the expected information of a passage over its expected length (renewal-reward).
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct EntropyRate {
    /// The floor: nats per byte of the ideal reader, who remembers the passage so far.
    pub nats_per_byte: f64,
    /// The plateau before recall: nats per byte of a reader who knows every rule and probability but does
    /// not look back at what was bound or is being copied. It takes the key of `get` as uniform over all
    /// ten keys, the value as fresh letters, and each repeat of a copied word as a fresh word.
    pub without_recall: f64,
    /// Expected information of a passage, nats.
    pub nats_per_passage: f64,
    /// Expected length of a passage with its newline, bytes.
    pub bytes_per_passage: f64,
}

/// Computes the language's [`EntropyRate`]: a sum over its choices, no sampling.
pub fn entropy_rate() -> EntropyRate {
    let language = Language::new();
    let ln_letter = (LETTERS.len() as f64).ln();
    let ln_keys = (KEYS as f64).ln();

    // "set K=XYZ;" and "get K=XYZ;" have 10 bytes; every statement is followed by one separator.
    let bind_bytes = (4 + 1 + 1 + VALUE + 1 + 1) as f64;
    let set_nats = ln_keys + VALUE as f64 * ln_letter;
    // "copy", then a space before each word, and the semicolon.
    let copy_bytes = 4.0 + ((1 + WORD) * (1 + REPEATS)) as f64 + 1.0 + 1.0;
    let copy_nats = WORD as f64 * ln_letter;
    let sentence_bytes = language.start.mean_bytes_from(START_SUBJECT)
        + P_SINGULAR * language.verb[0].mean_bytes()
        + (1.0 - P_SINGULAR) * language.verb[1].mean_bytes()
        + language.object.mean_bytes()
        + 1.0;
    // The subject's information is part of the choice that starts the statement.
    let sentence_nats = P_SINGULAR * language.verb[0].entropy()
        + (1.0 - P_SINGULAR) * language.verb[1].entropy()
        + language.object.entropy();
    let start_nats = language.start.entropy();

    let mut nats = OPENING as f64 * set_nats + BODY.iter().map(|p| -p * p.ln()).sum::<f64>();
    let mut bytes = OPENING as f64 * bind_bytes;
    let mut forgotten = 0.0;
    // Distribution of the number of distinct keys bound so far.
    let mut bound = [0.0; KEYS + 1];
    bound[0] = 1.0;
    for _ in 0..OPENING {
        bound = bind_one(&bound, 1.0);
    }
    for i in 0..BODY_MIN + BODY.len() - 1 {
        // Probability that the passage has a body statement number i.
        let reached: f64 = BODY[(i + 1).saturating_sub(BODY_MIN)..].iter().sum();
        let which_key: f64 = bound.iter().enumerate().skip(1).map(|(n, p)| p * (n as f64).ln()).sum();
        nats += reached
            * (start_nats
                + P_SET * set_nats
                + P_GET * which_key
                + P_COPY * copy_nats
                + P_SENTENCE * sentence_nats);
        bytes += reached * ((P_SET + P_GET) * bind_bytes + P_COPY * copy_bytes + P_SENTENCE * sentence_bytes);
        forgotten += reached * (P_GET * (set_nats - which_key) + P_COPY * REPEATS as f64 * copy_nats);
        bound = bind_one(&bound, P_SET);
    }
    EntropyRate {
        nats_per_byte: nats / bytes,
        without_recall: (nats + forgotten) / bytes,
        nats_per_passage: nats,
        bytes_per_passage: bytes,
    }
}

/// One statement's effect on the number of bound keys, if it binds a uniform key with probability `p`.
fn bind_one(bound: &[f64; KEYS + 1], p: f64) -> [f64; KEYS + 1] {
    let mut next = [0.0; KEYS + 1];
    for (n, mass) in bound.iter().enumerate() {
        let fresh = p * (KEYS - n) as f64 / KEYS as f64;
        next[n] += mass * (1.0 - fresh);
        if n < KEYS {
            next[n + 1] += mass * fresh;
        }
    }
    next
}
