//! The corpus against an ideal reader written apart from the generator.
//!
//! The reader knows the language only as the documentation states it. From the passage so far it lists
//! whole statements with their probabilities and sums those that agree with what has been read.

use super::*;
use proptest::prelude::*;

const LETTERS: &str = "abcdefghijklmnop";

fn noun_phrases() -> Vec<(String, f64, bool)> {
    let mut all = Vec::new();
    for plural in [false, true] {
        for (det, p_det) in [("the", 0.6), (if plural { "some" } else { "a" }, 0.4)] {
            for (adj, p_adj) in
                [("", 0.6), ("big ", 0.16), ("red ", 0.12), ("small ", 0.08), ("quick ", 0.04)]
            {
                for (noun, p_noun) in [("cat", 0.4), ("bird", 0.3), ("dog", 0.2), ("frog", 0.1)] {
                    let s = if plural { "s" } else { "" };
                    all.push((format!("{det} {adj}{noun}{s}"), 0.5 * p_det * p_adj * p_noun, plural));
                }
            }
        }
    }
    all
}

struct Reader {
    /// All sentences with their probabilities (given that the statement is a sentence).
    sentences: Vec<(String, f64)>,
    /// All bindings, given that the statement is one.
    bindings: Vec<(String, f64)>,
}

impl Reader {
    fn new() -> Self {
        let nps = noun_phrases();
        let mut sentences = Vec::new();
        for (subject, p_subject, plural) in &nps {
            for (verb, p_verb) in [("see", 0.4), ("chase", 0.3), ("hear", 0.2), ("follow", 0.1)] {
                for (object, p_object, _) in &nps {
                    let s = if *plural { "" } else { "s" };
                    sentences.push((format!("{subject} {verb}{s} {object};"), p_subject * p_verb * p_object));
                }
            }
        }
        let mut bindings = Vec::new();
        for key in "ABCDEFGHIJ".chars() {
            for value in 0..16usize.pow(3) {
                let letter = |place: usize| char::from(LETTERS.as_bytes()[value >> (4 * place) & 15]);
                let text = format!("set {key}={}{}{};", letter(0), letter(1), letter(2));
                bindings.push((text, 1.0 / 40_960.0));
            }
        }
        Self { sentences, bindings }
    }

    /// Distribution of the byte after `passage`, the current line so far.
    fn next(&self, passage: &str) -> [f64; 128] {
        let mut out = [0.0; 128];
        let done: Vec<&str> = passage.split_terminator(';').collect();
        if passage.ends_with(';') {
            let stop = match done.len() {
                0..=4 => 0.0,
                5 => 0.25,
                6 => 2.0 / 3.0,
                _ => 1.0,
            };
            out[usize::from(b'\n')] = stop;
            out[usize::from(b' ')] = 1.0 - stop;
            return out;
        }
        let (complete, partial) = match passage.rfind(';') {
            Some(at) => (&done[..done.len() - 1], &passage[at + 2..]),
            None => (&[][..], passage),
        };
        let mut add = |text: &str, p: f64| {
            if let Some(rest) = text.strip_prefix(partial) {
                out[usize::from(rest.as_bytes()[0])] += p;
            }
        };
        if complete.len() < 2 {
            self.bindings.iter().for_each(|(text, p)| add(text, *p));
        } else {
            let mut bound = std::collections::BTreeMap::new();
            for statement in complete {
                if let Some(rest) = statement.trim_start().strip_prefix("set ") {
                    let (key, value) = rest.split_once('=').unwrap();
                    bound.insert(key, value);
                }
            }
            for (key, value) in &bound {
                add(&format!("get {key}={value};"), 0.55 / bound.len() as f64);
            }
            self.bindings.iter().for_each(|(text, p)| add(text, 0.05 * p));
            self.sentences.iter().for_each(|(text, p)| add(text, 0.15 * p));
            match partial.strip_prefix("copy ") {
                None => add("copy ", 0.25),
                Some(word) if word.len() < 4 => LETTERS.bytes().for_each(|l| out[usize::from(l)] += 0.25),
                Some(rest) => {
                    let word = &rest[..4];
                    add(&format!("copy {word} {word} {word} {word};"), 0.25);
                }
            }
        }
        let total: f64 = out.iter().sum();
        out.iter_mut().for_each(|p| *p /= total);
        out
    }
}

/// Runs the reader over `corpus` and checks every byte's code length.
fn check(corpus: &Corpus) {
    let reader = Reader::new();
    let mut start = 0;
    for (at, (byte, &nats)) in corpus.text.bytes().zip(&corpus.nats).enumerate() {
        let p = reader.next(&corpus.text[start..at]);
        let want = -p[usize::from(byte)].ln();
        // The reader sums up to 41,000 probabilities (relative error 1e-11 at worst); the corpus rounds a
        // cost of at most 6 nats to f32, 3e-7.
        assert!(
            (want - f64::from(nats)).abs() < 1e-6,
            "byte {at} '{}' after '{}': reader {want}, generator {nats}",
            char::from(byte),
            &corpus.text[start..at]
        );
        if byte == b'\n' {
            start = at + 1;
        }
    }
}

#[test]
fn an_independent_ideal_reader_pays_the_same_for_every_byte() {
    check(&generate(3, 6_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn the_ideal_reader_agrees_on_any_seed(seed: u64, bytes in 1usize..700) {
        let corpus = generate(seed, bytes);
        prop_assert_eq!(corpus.text.len(), bytes);
        prop_assert_eq!(corpus.nats.len(), bytes);
        prop_assert_eq!(corpus.classes.len(), bytes);
        check(&corpus);
    }
}

/// Sums (bytes, nats, nats of a reader without recall) of each whole passage.
fn passages(corpus: &Corpus) -> Vec<(f64, f64, f64)> {
    let mut all = Vec::new();
    let mut at = 0;
    for line in corpus.text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
        let nats: f64 = corpus.nats[at..at + line.len()].iter().map(|&n| f64::from(n)).sum();
        let mut blind = nats;
        let mut bound = std::collections::BTreeSet::new();
        for statement in line.split(';') {
            let words: Vec<&str> = statement.split_whitespace().collect();
            match words.as_slice() {
                ["set", binding] => {
                    bound.insert(&binding[..1]);
                }
                ["get", ..] => blind += (40_960.0 / bound.len() as f64).ln(),
                ["copy", ..] => blind += 12.0 * 16f64.ln(),
                _ => {}
            }
        }
        all.push((line.len() as f64, nats, blind));
        at += line.len();
    }
    all
}

#[test]
fn long_samples_converge_to_the_exact_rates() {
    let rate = entropy_rate();
    let all = passages(&generate(20_261_124, 3_000_000));
    let n = all.len() as f64;
    let check = |name: &str, deviations: Vec<f64>| {
        let mean = deviations.iter().sum::<f64>() / n;
        let variance = deviations.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let error = (variance / n).sqrt();
        // Passages are independent: the mean is normal with this standard error. 4 of them leave 6e-5.
        assert!(mean.abs() < 4.0 * error, "{name}: {mean} is not 0 within {error}");
        // And the test has teeth: it would notice a rate that is off by 2 %.
        assert!(4.0 * error < 0.02 * rate.nats_per_passage, "{name}: standard error {error}");
    };
    check("nats", all.iter().map(|(b, x, _)| x - rate.nats_per_byte * b).collect());
    check("without recall", all.iter().map(|(b, _, x)| x - rate.without_recall * b).collect());
    check("bytes", all.iter().map(|(b, _, _)| b - rate.bytes_per_passage).collect());
}

#[test]
fn the_rate_leaves_room_to_learn_each_thing() {
    let rate = entropy_rate();
    eprintln!("{rate:?}");
    assert!((rate.nats_per_byte * rate.bytes_per_passage - rate.nats_per_passage).abs() < 1e-9);
    // Recall must be worth a good part of the loss, and grammar more than half of what letters cost.
    assert!(rate.without_recall > 1.3 * rate.nats_per_byte);
    let corpus = generate(5, 400_000);
    let mut counts = [0usize; 256];
    corpus.text.bytes().for_each(|b| counts[usize::from(b)] += 1);
    let unigram: f64 = counts
        .iter()
        .filter(|&&c| c > 0)
        .map(|&c| c as f64 / corpus.text.len() as f64)
        .map(|p| -p * p.ln())
        .sum();
    assert!(unigram > 2.0 * rate.without_recall, "{unigram}");
    assert!(corpus.text.is_ascii());
}

#[test]
fn passages_fit_the_stated_maximum_and_recall_costs_only_the_choice_of_key() {
    let corpus = generate(11, 500_000);
    assert!(corpus.text.lines().all(|l| l.len() < MAX_PASSAGE));
    let longest = corpus.text.lines().map(str::len).max().unwrap();
    assert!(longest > MAX_PASSAGE / 2, "the maximum is not idle: {longest}");
    let mut recalled = 0;
    for (i, class) in corpus.classes.iter().enumerate() {
        let byte = corpus.text.as_bytes()[i];
        if *class == ByteClass::Recall && byte.is_ascii_lowercase() {
            assert_eq!(corpus.nats[i], 0.0);
            recalled += 1;
        }
    }
    assert!(recalled as f64 > 0.05 * corpus.text.len() as f64, "{recalled}");
}

#[test]
fn a_seed_is_a_text_and_seeds_differ() {
    let (a, b, c) = (generate(1, 5_000), generate(1, 9_000), generate(2, 5_000));
    assert_eq!(a.text, b.text[..5_000]);
    assert_eq!(a.nats, b.nats[..5_000]);
    assert_ne!(a.text, c.text);
    assert!(generate(1, 0).text.is_empty());
}

#[test]
fn floors_of_stretches_and_of_finite_contexts() {
    let corpus = generate(8, 300_000);
    let by_hand: f64 = corpus.nats[100..300].iter().map(|&n| f64::from(n)).sum::<f64>() / 200.0;
    assert_eq!(corpus.floor(100..300), by_hand);
    assert_eq!(corpus.floor(5..5), 0.0);
    assert_eq!(corpus.floor(0..usize::MAX), 0.0);
    let rate = entropy_rate().nats_per_byte;
    let excess = |t: usize| (corpus.context_ceiling(t) - rate) * t as f64;
    eprintln!("context excess {} nats", excess(128));
    // It falls as 1/T, to rounding of differences of numbers near 0.5 times at most 256.
    assert!((excess(64) - excess(256)).abs() < 1e-10);
    // Only part of a cut passage has to be paid again.
    assert!(excess(128) > 0.0 && excess(128) < 0.5 * entropy_rate().nats_per_passage);
    // Two samples agree as the documentation says: 1,000 passages, each with an excess of 16 +- 10 nats.
    let other = generate(9, 100_000);
    assert!((other.context_ceiling(1) / corpus.context_ceiling(1) - 1.0).abs() < 0.06);
}

/// A window's entropy H_k for small k, from frequencies, is at least k * rate and at most
/// k * rate + excess.
#[test]
fn block_entropies_lie_between_the_rate_and_the_ceiling() {
    let corpus = generate(77, 1 << 20);
    let text = corpus.text.as_bytes();
    let rate = entropy_rate().nats_per_byte;
    let mut before = 0.0;
    for k in 1..=6 {
        let mut counts = std::collections::HashMap::new();
        text.windows(k).for_each(|w| *counts.entry(w).or_insert(0u64) += 1);
        let n = (text.len() - k + 1) as f64;
        // Plain frequencies underestimate H_k, so the upper check is the weaker for it, and the lower one
        // the stronger.
        let h: f64 = counts.values().map(|&c| -(c as f64 / n) * (c as f64 / n).ln()).sum();
        let excess = h - k as f64 * rate;
        assert!(excess > before, "the excess entropy grows with the block: {k} {excess} {before}");
        let ceiling = k as f64 * (corpus.context_ceiling(k) - rate);
        assert!(excess < ceiling, "{k}: {excess} {ceiling}");
        before = excess;
    }
    eprintln!("excess entropy of 6 bytes {before} nats");
}
