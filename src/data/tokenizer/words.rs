//! Bounded words for training: the time to merge pairs in a word grows with the square of its length.

/// Bytes of a word at most, for training; words of natural text stay far below.
pub const LONGEST: usize = 1024;

/// Cuts `text` so that no run of visible characters, and none of white space, is longer than [`LONGEST`] bytes; a text
/// without such runs stays in one piece.
pub(super) fn bounded(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    // Where the piece and the run begin, and of which kind the run is.
    let (mut start, mut run, mut white) = (0, 0, false);
    for (at, c) in text.char_indices() {
        if c.is_whitespace() != white {
            (run, white) = (at, !white);
        } else if at + c.len_utf8() - run > LONGEST {
            pieces.push(&text[start..at]);
            (start, run) = (at, at);
        }
    }
    pieces.push(&text[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_endless_words_are_cut() {
        let lines = "word and word\n".repeat(1000);
        assert_eq!(bounded(&lines), [lines.as_str()]);
        assert_eq!(bounded(""), [""]);
        let dna = "ACGTü".repeat(2000);
        let text = format!("before {dna} after");
        let pieces = bounded(&text);
        assert_eq!(pieces.concat(), text);
        assert_eq!(pieces.len(), 1 + (dna.len() - 1) / LONGEST, "{}", pieces.len());
        for p in pieces {
            assert!(p.split_whitespace().all(|w| w.len() <= LONGEST));
        }
        assert_eq!(bounded(&" ".repeat(5000)).len(), 5);
    }
}
