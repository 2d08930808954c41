//! Same ids by every road, and round trips.

use super::*;
use proptest::prelude::*;
use std::path::PathBuf;

/// Real text and tokenizers beside the checkout, where there are any.
fn shared(path: &str) -> Option<PathBuf> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(path);
    if full.exists() {
        return Some(full);
    }
    eprintln!("skipped: no {}", full.display());
    None
}

/// `tokenizer` as another program sees it: through its written JSON.
fn through_json(tokenizer: &Tokenizer) -> tokenizers::Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    tokenizer.write_tokenizer_json(&path).unwrap();
    tokenizers::Tokenizer::from_file(&path).unwrap()
}

fn same_ids(tokenizer: &Tokenizer, foreign: &tokenizers::Tokenizer, text: &str) {
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(foreign.encode(text, false).unwrap().get_ids(), ids, "{text:?}");
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    assert_eq!(foreign.decode(&ids, false).unwrap(), text);
}

const TRICKY: [&str; 14] = [
    "",
    " ",
    "\n",
    "  \n\n  x",
    "a \n b\n\nc  \n",
    "it's we'll THEY'RE 'sx 'S",
    "tabs\tand\r\nreturns\r\n\r\n",
    "naïve café — “quotes” … €100",
    "日本語のテキスト 한국어 עברית",
    "👩‍👩‍👧‍👦 e\u{301} \u{a0}\u{2003}\u{3000}x",
    "123 4567 8.9e-10 x1y2",
    "<|endoftext|>after <|endoftext|>\n<|endoftext|>",
    "\u{0}\u{1}\u{7f}\u{ad}",
    "!!!??? --- ***\n\t\t{\n\t}",
];

fn trained() -> Tokenizer {
    train_bpe(&crate::data::corpus::generate(9, 60_000).text, 400).unwrap()
}

#[test]
fn written_json_gives_the_same_ids() {
    for tokenizer in [Tokenizer::Bytes, Tokenizer::Gpt2, trained()] {
        let foreign = through_json(&tokenizer);
        assert_eq!(foreign.get_vocab_size(true), tokenizer.vocab_size());
        for text in TRICKY {
            same_ids(&tokenizer, &foreign, text);
        }
    }
}

#[test]
fn bytes_are_their_values() {
    let every: Vec<u32> = Tokenizer::Bytes.encode("aé\n").unwrap();
    assert_eq!(every, [97, 0xc3, 0xa9, 10]);
    let foreign = through_json(&Tokenizer::Bytes);
    let characters = super::file::byte_characters();
    for (byte, character) in (0u32..).zip(characters) {
        assert_eq!(foreign.token_to_id(&character.to_string()), Some(byte));
    }
    // A sample cut inside a character is still shown.
    assert_eq!(Tokenizer::Bytes.decode(&[97, 0xc3]).unwrap(), "a\u{fffd}");
}

#[test]
fn gpt2_ids_are_the_known_ones() {
    let ids = Tokenizer::Gpt2.encode("Hello, world! The quick brown fox<|endoftext|>").unwrap();
    assert_eq!(ids, [15496, 11, 995, 0, 383, 2068, 7586, 21831, 50256]);
    let json: serde_json::Value = serde_json::from_str(Tokenizer::Gpt2.json().unwrap()).unwrap();
    let merges = json["model"]["merges"].as_array().unwrap();
    // 50,257 entries less 256 bytes and one special token; the published list begins like this.
    assert_eq!(merges.len(), 50_000);
    assert_eq!(merges[0], serde_json::json!(["Ġ", "t"]));
    assert_eq!(merges[1], serde_json::json!(["Ġ", "a"]));
    assert_eq!(merges[2], serde_json::json!(["h", "e"]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_text_has_the_same_ids_in_the_written_json(text in "[ \\n\\t\\r'a-e0-2é€日\u{a0}.,<|>sS]{0,60}|\\PC{0,40}") {
        for tokenizer in [Tokenizer::Bytes, Tokenizer::Gpt2] {
            thread_local! {
                static FOREIGN: [tokenizers::Tokenizer; 2] =
                    [through_json(&Tokenizer::Bytes), through_json(&Tokenizer::Gpt2)];
            }
            FOREIGN.with(|f| same_ids(&tokenizer, &f[usize::from(tokenizer.vocab_size() > 256)], &text));
        }
    }

    #[test]
    fn cutting_changes_no_id(
        lines in prop::collection::vec("[ \\t\\r'a-e0-1é\u{a0}\u{2028}.<|>]{0,12}", 0..14), target in 1usize..20,
    ) {
        thread_local! { static TRAINED: Tokenizer = trained(); }
        let text = lines.join("\n");
        let pieces = chunks::pieces(&text, target);
        prop_assert_eq!(pieces.concat(), text.clone());
        prop_assert!(pieces.iter().rev().skip(1).all(|p| p.len() >= target));
        for tokenizer in [Tokenizer::Gpt2, TRAINED.with(Clone::clone)] {
            let cut: Vec<u32> = pieces.iter().flat_map(|p| tokenizer.encode(p).unwrap()).collect();
            prop_assert_eq!(cut, tokenizer.encode(&text).unwrap());
        }
    }
}

#[test]
fn long_texts_are_cut_and_joined_with_progress() {
    let mut text = crate::data::corpus::generate(2, 500_000).text;
    text.push_str("\n\n  <|endoftext|>\n end \n");
    for tokenizer in [Tokenizer::Bytes, Tokenizer::Gpt2, trained()] {
        let mut last = 0;
        let mut calls = 0;
        let ids = tokenizer
            .encode_long(&text, &mut |done, total| {
                assert!(done >= last && total == text.len() as u64);
                (last, calls) = (done, calls + 1);
            })
            .unwrap();
        assert_eq!(ids, tokenizer.encode(&text).unwrap());
        assert!(last == text.len() as u64 && calls > 5, "{last} {calls}");
    }
    assert!(Tokenizer::Gpt2.encode_long("", &mut |_, _| {}).unwrap().is_empty());
}

#[test]
fn a_long_run_of_spaces_does_not_break_gpt2() {
    let text = format!("{}x", " ".repeat(300_000));
    let ids = Tokenizer::Gpt2.encode(&text).unwrap();
    assert_eq!(Tokenizer::Gpt2.decode(&ids).unwrap(), text);
}

#[test]
fn tokenizers_that_rewrite_text_are_not_cut() {
    let base: serde_json::Value = serde_json::from_str(trained().json().unwrap()).unwrap();
    let opened = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = base.clone();
        change(&mut json);
        Tokenizer::from_json("changed", &json.to_string()).unwrap()
    };
    assert!(opened(&|_| {}).cuts_at_lines());
    assert!(!opened(&|j| j["normalizer"] = serde_json::json!({"type": "NFC"})).cuts_at_lines());
    assert!(!opened(&|j| j["pre_tokenizer"]["add_prefix_space"] = true.into()).cuts_at_lines());
    assert!(!opened(&|j| j["pre_tokenizer"]["use_regex"] = false.into()).cuts_at_lines());
    let special = |content: &str, lstrip: bool| {
        serde_json::json!([{"id": 400, "content": content, "single_word": false, "lstrip": lstrip,
            "rstrip": false, "normalized": false, "special": true}])
    };
    assert!(opened(&|j| j["added_tokens"] = special("<end>", false)).cuts_at_lines());
    assert!(!opened(&|j| j["added_tokens"] = special("<e nd>", false)).cuts_at_lines());
    assert!(!opened(&|j| j["added_tokens"] = special("<end>", true)).cuts_at_lines());
    // Truncation would silently drop text; it is turned off.
    let cut = opened(&|j| {
        j["truncation"] = serde_json::json!({"direction": "Right", "max_length": 3,
            "strategy": "LongestFirst", "stride": 0});
    });
    assert_eq!(cut.encode("one two three four").unwrap(), trained().encode("one two three four").unwrap());
    assert_eq!(cut.fingerprint().unwrap(), trained().fingerprint().unwrap());
}

#[test]
fn fingerprints_survive_the_file_and_tell_tokenizers_apart() {
    let all = [Tokenizer::Bytes, Tokenizer::Gpt2, trained()];
    let prints: Vec<String> = all.iter().map(|t| t.fingerprint().unwrap()).collect();
    assert!(prints[0] != prints[1] && prints[1] != prints[2] && prints[0] != prints[2]);
    for (tokenizer, print) in all.iter().zip(&prints) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        tokenizer.write_tokenizer_json(&path).unwrap();
        let again = Tokenizer::from_file(&path).unwrap();
        assert_eq!(&again.fingerprint().unwrap(), print);
        assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(tokenizer));
    }
}

#[test]
fn training_is_deterministic_and_compresses() {
    let text = crate::data::corpus::generate(9, 60_000).text;
    let (a, b) = (train_bpe(&text, 400).unwrap(), train_bpe(&text, 400).unwrap());
    assert_eq!(a.json().unwrap(), b.json().unwrap());
    assert_eq!(a.vocab_size(), 400);
    assert!(a.encode(&text).unwrap().len() * 3 < text.len() * 2);
    // Nothing repeats: no merge is learned, every byte remains.
    assert_eq!(train_bpe("ab", 300).unwrap().vocab_size(), 256);
    for size in [0, 256, 65_537] {
        let error = train_bpe(&text, size).unwrap_err().to_string();
        assert!(error.contains(&format!("{size} entries is outside 257..=65536")), "{error}");
    }
}

#[test]
fn the_command_line_value_reads_and_prints() {
    for value in ["bytes", "gpt2", "bpe:2048", "some/tokenizer.json"] {
        assert_eq!(value.parse::<TokenizerSpec>().unwrap().to_string(), value);
    }
    for value in ["", "gpt3", "bpe:", "bpe:many", "tokenizer.txt"] {
        let error = value.parse::<TokenizerSpec>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("tokenizer '{value}' is unknown; use bytes, gpt2")), "{error}");
    }
    let missing = TokenizerSpec::File("none.json".into()).build(|| "").unwrap_err().to_string();
    assert!(missing.starts_with("none.json: not a usable tokenizer: no such file"), "{missing}");
}

#[test]
fn unusable_files_and_ids_say_why() {
    let bad = |json: &str| Tokenizer::from_json("t.json", json).unwrap_err().to_string();
    assert!(bad("{").starts_with("t.json: not a usable tokenizer: "));
    let mut json: serde_json::Value = serde_json::from_str(trained().json().unwrap()).unwrap();
    json["model"]["dropout"] = 0.1.into();
    assert!(bad(&json.to_string()).contains("drops merges at random"));
    let error = Tokenizer::Bytes.decode(&[1, 256]).unwrap_err().to_string();
    assert!(error.starts_with("token id 256 is outside the bytes tokenizer's vocabulary of 256"), "{error}");
    assert!(Tokenizer::Gpt2.decode(&[50_257]).is_err() && Tokenizer::Gpt2.decode(&[50_256]).is_ok());
    let dir = tempfile::tempdir().unwrap();
    let error = Tokenizer::Bytes.write_tokenizer_json(dir.path()).unwrap_err().to_string();
    assert!(error.contains("cannot write"), "{error}");
}

#[test]
fn real_text_round_trips_through_every_tokenizer() {
    let Some(path) = shared("tinyshakespeare/input.txt") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let mut all = vec![Tokenizer::Bytes, Tokenizer::Gpt2];
    for name in ["tinyshakespeare-bpe4096", "wikitext2-bpe8192", "books20mb-bpe8192"] {
        let Some(path) = shared(&format!("tokenizers/{name}.json")) else { return };
        all.push(Tokenizer::from_file(&path).unwrap());
        assert!(all.last().unwrap().cuts_at_lines());
    }
    for tokenizer in &all {
        let ids = tokenizer.encode_long(&text, &mut |_, _| {}).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        let head = &text[..200_000];
        assert_eq!(
            through_json(tokenizer).encode(head, false).unwrap().get_ids(),
            tokenizer.encode(head).unwrap()
        );
        eprintln!("{}: {} tokens", tokenizer.name(), ids.len());
    }
    // The count that the corpus is known by.
    assert_eq!(all[1].encode_long(&text, &mut |_, _| {}).unwrap().len(), 338_025);
}

#[test]
fn a_trained_tokenizer_matches_one_trained_elsewhere_on_the_same_rules() {
    let (Some(text), Some(tokenizer)) =
        (shared("wikitext-2/wiki.valid.tokens"), shared("tokenizers/wikitext2-bpe8192.json"))
    else {
        return;
    };
    let text = std::fs::read_to_string(text).unwrap();
    let ours = train_bpe(&text, 2_048).unwrap();
    let theirs = Tokenizer::from_file(&tokenizer).unwrap();
    assert_eq!(ours.vocab_size(), 2_048);
    assert_eq!(theirs.vocab_size(), 8_192);
    let (a, b) = (ours.encode(&text).unwrap(), theirs.encode(&text).unwrap());
    assert_eq!(ours.decode(&a).unwrap(), theirs.decode(&b).unwrap());
    // Four times the entries, trained on ten times the text, save tokens; ours stays within a third.
    assert!(b.len() < a.len() && (a.len() as f64) < 1.34 * b.len() as f64, "{} {}", a.len(), b.len());
}
