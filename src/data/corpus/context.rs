//! How much a reader loses who sees only a window of the text.
//!
//! Let C be the code length of a window given everything before it (`T * rate` on average) and consider a
//! reader of the window alone who is told, at its start, the *shape* of the cut passage: how many
//! statements are complete, how many keys are bound, and the statement begun, with its key and letters
//! hidden. Told for `H(shape)` nats, it decodes the rest of that passage at the ideal price plus what the
//! hidden things cost when they come up again:
//!
//! - a letter recalled from a hidden place: `ln 16`;
//! - `get` with a key never seen bound in the window: uniform among the unseen keys instead of certain to
//!   be one of the hidden ones, and the value's letters; afterwards its binding is known;
//! - `set` with an unseen key: the reader is told whether it rebinds a hidden key, at the surprise of that.
//!
//! From the next newline on nothing is hidden. So `H(window) <= T * rate + H(shape) + E[extra]`.

use std::collections::HashMap;

use super::language::{ADJECTIVES, KEYS, LETTERS, VALUE};

/// Place of the key in `set K=XYZ` and `get K=XYZ`.
const KEY_AT: usize = 4;

/// `H(shape) + E[extra]`, nats, over windows that start at every byte of `text`'s whole passages.
///
/// `H(shape)` is taken as the sum of the entropies of (complete statements, bound keys) and of the begun
/// statement, each from the text's frequencies with the Miller-Madow correction for the sample size.
pub(super) fn excess(text: &str) -> f64 {
    let mut progress = HashMap::new();
    let mut partials = HashMap::new();
    let mut extra = 0.0;
    let mut starts = 0u64;
    for passage in text.split_inclusive('\n').filter(|p| p.ends_with('\n')) {
        let statements = statements(passage);
        for at in 0..passage.len() {
            // The statement (with the separator after it) that holds byte `at`.
            let index = statements.iter().rposition(|s| s.start <= at).unwrap_or(0);
            let bound = bound_before(&statements[..index]);
            let known = bound.iter().filter(|b| **b).count();
            *progress.entry((index, known)).or_insert(0u64) += 1;
            let partial = masked(&passage[statements[index].start..at]);
            *partials.entry(partial).or_insert(0u64) += 1;
            extra += extra_nats(&statements[index..], at, bound);
            starts += 1;
        }
    }
    if starts == 0 {
        return 0.0;
    }
    entropy(progress.values(), starts) + entropy(partials.values(), starts) + extra / starts as f64
}

/// A statement of a passage.
struct Statement<'a> {
    /// Where it begins in the passage.
    start: usize,
    /// Its text without semicolon and separator.
    text: &'a str,
}

fn statements(passage: &str) -> Vec<Statement<'_>> {
    let mut start = 0;
    let mut all = Vec::new();
    for part in passage.split_inclusive(';') {
        // Each part but the first begins with its separator; the last part is the newline alone.
        let text = part.trim_start();
        if !text.is_empty() {
            start += part.len() - text.len();
            all.push(Statement { start, text: text.trim_end_matches(';') });
            start += text.len();
        }
    }
    all
}

/// The key of a `set` or `get` statement.
fn key(text: &str) -> Option<usize> {
    let name = text.strip_prefix("set ").or_else(|| text.strip_prefix("get "))?.bytes().next()?;
    Some(usize::from(name.wrapping_sub(b'A')) % KEYS)
}

fn bound_before(statements: &[Statement<'_>]) -> [bool; KEYS] {
    let mut bound = [false; KEYS];
    for key in statements.iter().filter(|s| s.text.starts_with("set")).filter_map(|s| key(s.text)) {
        bound[key] = true;
    }
    bound
}

/// The begun statement as far as the rest of it depends on it, with key and letters hidden.
fn masked(partial: &str) -> String {
    if partial.contains(';') {
        return ";".into();
    }
    if !["set ", "get ", "copy "].iter().any(|form| partial.starts_with(form)) {
        return sentence_state(partial);
    }
    let hide = |(i, c): (usize, char)| if i >= 4 && c.is_ascii_alphabetic() { '#' } else { c };
    partial.char_indices().map(hide).collect()
}

/// Of a begun sentence: the subject so far, or its number and the verb so far, or the object so far.
fn sentence_state(partial: &str) -> String {
    let words: Vec<&str> = partial.split(' ').collect();
    let adjective = words.get(1).is_some_and(|w| ADJECTIVES.iter().any(|(a, _)| a == w));
    let verb = 2 + usize::from(adjective);
    match words.get(verb) {
        None => partial.into(),
        Some(begun) if words.len() == verb + 1 => {
            format!("{} {begun}", if words[verb - 1].ends_with('s') { "they" } else { "it" })
        }
        Some(_) => format!("> {}", words[verb + 1..].join(" ")),
    }
}

/// What hidden things cost in the rest of the passage, from byte `at`; `bound` are the keys bound before
/// the first of `statements`, all hidden from the reader.
fn extra_nats(statements: &[Statement<'_>], at: usize, bound: [bool; KEYS]) -> f64 {
    let ln_letter = (LETTERS.len() as f64).ln();
    let mut bound = bound;
    let mut seen = [false; KEYS];
    let mut nats = 0.0;
    for statement in statements {
        let cut = at.saturating_sub(statement.start);
        let Some(key) = key(statement.text) else {
            if statement.text.starts_with("copy ") {
                nats += ln_letter * hidden_copies(statement.text, cut) as f64;
            }
            continue;
        };
        let count = |flags: &[bool; KEYS]| flags.iter().filter(|f| **f).count() as f64;
        let unseen = KEYS as f64 - count(&seen);
        let hidden = count(&bound) - count(&seen);
        if statement.text.starts_with("get") {
            if cut > KEY_AT {
                // The key itself is hidden: the letters still to come are paid, and nothing is learned.
                let letters = KEY_AT + 2;
                nats += ln_letter * (VALUE - cut.saturating_sub(letters).min(VALUE)) as f64;
            } else if !seen[key] {
                nats += (unseen / hidden).ln() + VALUE as f64 * ln_letter;
                seen[key] = true;
            }
        } else {
            if !seen[key] {
                let p_rebinds = hidden / unseen;
                nats -= if bound[key] { p_rebinds.ln() } else { (1.0 - p_rebinds).ln() };
            }
            bound[key] = true;
            seen[key] = cut <= KEY_AT;
        }
    }
    nats
}

/// Letters of a `copy` statement from byte `cut` on that repeat a letter no copy of which lies between.
fn hidden_copies(text: &str, cut: usize) -> usize {
    let words: Vec<&str> = text.split(' ').collect();
    let (Some(first), copies) = (words.get(1), words.len() - 1) else { return 0 };
    let place = |copy: usize, letter: usize| 5 + copy * (first.len() + 1) + letter;
    (0..first.len())
        .filter(|&letter| {
            // The first copy of this letter that the window holds pays, unless it is the original.
            let next = (0..copies).find(|&copy| place(copy, letter) >= cut);
            next.is_some_and(|copy| copy > 0)
        })
        .count()
}

/// Entropy of counts that add up to `total`, nats, with the Miller-Madow correction.
fn entropy<'a>(counts: impl Iterator<Item = &'a u64>, total: u64) -> f64 {
    let n = total as f64;
    let (mut sum, mut kinds) = (0.0, 0u64);
    for &count in counts {
        let p = count as f64 / n;
        sum -= p * p.ln();
        kinds += 1;
    }
    sum + kinds.saturating_sub(1) as f64 / (2.0 * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_things_cost_by_hand() {
        let l = 16f64.ln();
        let passage = "set C=bma; set H=hai; get C=bma; copy abca abca abca abca; get C=bma;\n";
        let parts = statements(passage);
        assert_eq!(parts.len(), 5);
        assert_eq!(&passage[parts[3].start..], "copy abca abca abca abca; get C=bma;\n");
        let from = |at: usize| {
            let index = parts.iter().rposition(|s| s.start <= at).unwrap();
            extra_nats(&parts[index..], at, bound_before(&parts[..index]))
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        // From the beginning nothing is hidden but "these are new keys", which is certain.
        close(from(0), 0.0);
        // One hidden key: that H is none of ten, then C is the hidden one: nine unseen, and three letters.
        let new = -(0.9f64.ln());
        close(from(11), new + 9f64.ln() + 3.0 * l);
        // The key H cut off: that it is new, but it stays hidden, two of ten.
        close(from(11 + 5), new + 5f64.ln() + 3.0 * l);
        // Two hidden keys; the second recall of C is free.
        let recall = 5f64.ln() + 3.0 * l;
        close(from(22), recall);
        // Cut inside "get C=b|ma;": two letters, and the binding is not counted as seen.
        close(from(22 + 7), 2.0 * l + recall);
        // Cut in the copy before anything, after two letters, at the last repeat, and after the word.
        close(from(33), recall);
        close(from(33 + 7), 2.0 * l + recall);
        close(from(33 + 20), 4.0 * l + recall);
        close(from(33 + 22), 2.0 * l + recall);
        close(from(33 + 24), recall);
    }

    #[test]
    fn masks_keep_form_and_words() {
        assert_eq!(masked("set C=b"), "set #=#");
        assert_eq!(masked("get "), "get ");
        assert_eq!(masked("copy abca ab"), "copy #### ##");
        for (partial, state) in [
            ("se", "se"),
            ("the big ca", "the big ca"),
            ("the cats ", "they "),
            ("the big cat cha", "it cha"),
            ("the cats see ", "> "),
            ("a small cat sees some b", "> some b"),
        ] {
            assert_eq!(masked(partial), state);
        }
        assert_eq!(masked("set C=bma;"), ";");
    }
}
