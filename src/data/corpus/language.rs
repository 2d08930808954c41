//! The formal language: its words and its probabilities.
//!
//! A *passage* is one line:
//!
//! ```text
//! set C=bma; set H=hai; get C=bma; the big cats see a dog; copy kdoa kdoa kdoa kdoa; get H=hai;
//! ```
//!
//! | statement | form | chosen |
//! |---|---|---|
//! | bind | `set K=XYZ;` | the first two always; later with probability 0.05 |
//! | recall | `get K=XYZ;` | 0.55; K uniform among the keys bound in this passage, XYZ its latest value |
//! | copy | `copy W W W W;` | 0.25; W has 4 letters |
//! | sentence | `NP VERB NP;` | 0.15; the verb agrees in number with the first noun phrase |
//!
//! Keys are uniform among `A`..`J` when bound; letters of values and words are uniform among `a`..`p`.
//! After its two bindings a passage has 3, 4 or 5 further statements (probability 1/4, 1/2, 1/4).
//! Statements are parted by one space, passages by a newline. Passages are independent of each other.
//!
//! The forms are chosen so that looking back is learned in stages: a repeated word stands at a fixed
//! distance, so one attention head that knows distances finds it; a value stands at any distance, behind a
//! key that must be matched, which takes a second head that builds on the first.

use super::choice::Choice;

/// Number of keys, `A` to `J`.
pub(super) const KEYS: usize = 10;
/// Letters of values and copied words.
pub(super) const LETTERS: &[u8; 16] = b"abcdefghijklmnop";
/// Letters of a value.
pub(super) const VALUE: usize = 3;
/// Letters of a copied word.
pub(super) const WORD: usize = 4;
/// Times a copied word stands again after the first.
pub(super) const REPEATS: usize = 3;
/// Bindings that open a passage.
pub(super) const OPENING: usize = 2;
/// Statements after the opening: fewest, and the probability of each count from there on.
pub(super) const BODY_MIN: usize = 3;
/// Probability of `BODY_MIN`, `BODY_MIN + 1`, ... body statements.
pub(super) const BODY: [f64; 3] = [0.25, 0.5, 0.25];

/// Probability that a body statement is a recall.
pub(super) const P_GET: f64 = 0.55;
/// Probability that a body statement is a binding.
pub(super) const P_SET: f64 = 0.05;
/// Probability that a body statement is a copy.
pub(super) const P_COPY: f64 = 0.25;
/// Probability that a body statement is a sentence.
pub(super) const P_SENTENCE: f64 = 0.15;

/// Probability that a noun phrase is singular.
pub(super) const P_SINGULAR: f64 = 0.5;
const P_ADJECTIVE: f64 = 0.4;
/// Adjectives with their probabilities.
pub(super) const ADJECTIVES: [(&str, f64); 4] = [("big", 0.4), ("red", 0.3), ("small", 0.2), ("quick", 0.1)];
const NOUNS: [(&str, f64); 4] = [("cat", 0.4), ("bird", 0.3), ("dog", 0.2), ("frog", 0.1)];
const VERBS: [(&str, f64); 4] = [("see", 0.4), ("chase", 0.3), ("hear", 0.2), ("follow", 0.1)];
const DETERMINERS: [[(&str, f64); 2]; 2] = [[("the", 0.6), ("a", 0.4)], [("the", 0.6), ("some", 0.4)]];

/// Index in [`Language::start`] of a recall.
pub(super) const START_GET: usize = 0;
/// Index in [`Language::start`] of a binding.
pub(super) const START_SET: usize = 1;
/// Index in [`Language::start`] of a copy.
pub(super) const START_COPY: usize = 2;
/// From this index on, [`Language::start`] holds the subjects of sentences.
pub(super) const START_SUBJECT: usize = 3;

/// The language's choices, ready to draw from.
pub(super) struct Language {
    /// How a body statement begins: `get `, `set `, `copy `, or a subject with its space.
    pub start: Choice,
    /// For each subject of `start` (from [`START_SUBJECT`]): is it plural?
    pub plural: Vec<bool>,
    /// The verb with its space, for a singular and for a plural subject.
    pub verb: [Choice; 2],
    /// The object with its semicolon.
    pub object: Choice,
}

impl Language {
    pub fn new() -> Self {
        let mut start =
            vec![("get ".to_string(), P_GET), ("set ".to_string(), P_SET), ("copy ".to_string(), P_COPY)];
        let subjects = noun_phrases(" ");
        start.extend(subjects.iter().map(|(s, p, _)| (s.clone(), p * P_SENTENCE)));
        let verb =
            |ending: &str| Choice::new(VERBS.iter().map(|(v, p)| (format!("{v}{ending} "), *p)).collect());
        Self {
            start: Choice::new(start),
            plural: subjects.iter().map(|(_, _, plural)| *plural).collect(),
            verb: [verb("s"), verb("")],
            object: Choice::new(noun_phrases(";").into_iter().map(|(s, p, _)| (s, p)).collect()),
        }
    }
}

/// Every noun phrase followed by `end`: its text, probability, and whether it is plural.
fn noun_phrases(end: &str) -> Vec<(String, f64, bool)> {
    let mut all = Vec::new();
    for (number, determiners) in DETERMINERS.iter().enumerate() {
        let plural = number == 1;
        let p_number = if plural { 1.0 - P_SINGULAR } else { P_SINGULAR };
        for (determiner, p_determiner) in determiners {
            let mut adjectives = vec![(String::new(), 1.0 - P_ADJECTIVE)];
            adjectives.extend(ADJECTIVES.iter().map(|(a, p)| (format!("{a} "), p * P_ADJECTIVE)));
            for (adjective, p_adjective) in &adjectives {
                for (noun, p_noun) in NOUNS {
                    let s = if plural { "s" } else { "" };
                    let text = format!("{determiner} {adjective}{noun}{s}{end}");
                    all.push((text, p_number * p_determiner * p_adjective * p_noun, plural));
                }
            }
        }
    }
    all
}

/// Probability that a passage ends after `done` body statements, given that it got that far.
pub(super) fn passage_stop(done: usize) -> f64 {
    let Some(at) = done.checked_sub(BODY_MIN) else { return 0.0 };
    let left: f64 = BODY[at..].iter().sum();
    BODY[at] / left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_a_prefix_free_distribution() {
        let language = Language::new();
        for choice in [&language.start, &language.object, &language.verb[0], &language.verb[1]] {
            let all = choice.alternatives();
            let total: f64 = all.iter().map(|a| a.p).sum();
            // At most 83 additions of numbers below 1.
            assert!((total - 1.0).abs() < 1e-13, "{total}");
            for (i, a) in all.iter().enumerate() {
                for (j, b) in all.iter().enumerate() {
                    assert!(i == j || !b.text.starts_with(&a.text), "'{}' begins '{}'", a.text, b.text);
                }
            }
        }
        assert_eq!(language.plural.len() + START_SUBJECT, language.start.alternatives().len());
        assert!((P_GET + P_SET + P_COPY + P_SENTENCE - 1.0).abs() < 1e-15);
        assert!((BODY.iter().sum::<f64>() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn stopping_probabilities_give_the_stated_lengths() {
        let mut alive = 1.0;
        for done in 0..BODY_MIN + BODY.len() {
            let p = alive * passage_stop(done);
            let want = if done < BODY_MIN { 0.0 } else { BODY[done - BODY_MIN] };
            assert!((p - want).abs() < 1e-15);
            alive -= p;
        }
        assert!(alive.abs() < 1e-15);
    }
}
