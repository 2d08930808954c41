//! Training text and tokenizers that are not what they should be.

use std::time::Instant;

use crate::support::*;

#[test]
fn what_is_no_text_is_refused_and_called_by_its_name() {
    let d = Dir::new();
    let text = "the king is dead, long live the king\n".repeat(900);
    let wide = |mark: &[u8]| -> Vec<u8> {
        [mark, &text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat()
    };
    let latin: String = wide(b"\xff\xfe").iter().map(|b| char::from(*b)).collect();
    let ids: Vec<u8> = text.bytes().flat_map(|b| u16::from(b % 65).to_le_bytes()).collect();
    let tokens: Vec<u8> = (0..20_000_u32).flat_map(|i| ((i * 7919 % 50_257) as u16).to_le_bytes()).collect();
    for (name, bytes, says) in [
        ("utf16.txt", wide(b""), "UTF-16"),
        ("utf16-mark.txt", wide(b"\xff\xfe"), "iconv -f UTF-16"),
        ("latin1-of-utf16.txt", latin.into_bytes(), "UTF-16"),
        ("train.bin", ids, "token ids"),
        ("tokens.bin", tokens, "UTF-8"),
        ("text.gz", b"\x1f\x8b\x08\x00abc".to_vec(), "gzip"),
        ("text.zip", b"PK\x03\x04abc".to_vec(), "zip"),
        ("text.parquet", b"PAR1abc".to_vec(), "Parquet"),
        ("latin1.txt", b"gr\xf6\xdfe ".repeat(100), "iconv -f LATIN1"),
        ("empty.txt", Vec::new(), "empty"),
    ] {
        std::fs::write(d.path(name), bytes).unwrap();
        let args = ["train", "--out", "x", "--steps", "3", "--size", "nano", "--data", name];
        d.fails(1, &[name, says], &args);
    }
    assert!(!d.path("x").exists());
}

#[test]
fn tokenizer_files_are_refused_with_the_reason() {
    let d = Dir::new();
    std::fs::write(d.path("empty.json"), "").unwrap();
    std::fs::write(d.path("list.json"), "[1, 2]").unwrap();
    std::fs::write(d.path("latin1.json"), b"{\"a\": \"\xff\"}").unwrap();
    std::fs::create_dir(d.path("folder.json")).unwrap();
    for (name, says) in [
        ("none.json", "no such file"),
        ("empty.json", "the file is empty"),
        ("list.json", "not a usable tokenizer"),
        ("latin1.json", "utf-8"),
        ("folder.json", "folder"),
    ] {
        let args =
            ["train", "--out", "x", "--steps", "3", "--size", "nano", "--data", "text", "--tokenizer", name];
        d.fails(1, &[name, says], &args);
    }
}

#[test]
fn a_panic_in_the_tokenizers_library_is_an_error() {
    let d = Dir::new();
    let model = r#""model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}"#;
    for (name, part) in [
        // The pattern needs more backtracking than the library allows itself.
        (
            "pattern.json",
            r#""normalizer": null, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|a)*\\1b"}, "behavior": "Isolated", "invert": false}"#,
        ),
        (
            "replace.json",
            r#""normalizer": {"type": "Replace", "pattern": {"Regex": "(x+x+)+y"}, "content": "z"}, "pre_tokenizer": null"#,
        ),
        (
            "truncate.json",
            r#""normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, "pre_tokenizer": null"#,
        ),
    ] {
        let json = format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], {part}, "post_processor": null, "decoder": null, {model}}}"#
        );
        std::fs::write(d.path(name), json).unwrap();
        std::fs::write(d.path("long"), "x".repeat(40_000) + &"aa ".repeat(4000)).unwrap();
        let args =
            ["train", "--out", "x", "--steps", "1", "--size", "nano", "--data", "long", "--tokenizer", name];
        let o = d.run(&args);
        let said = String::from_utf8_lossy(&o.stderr);
        assert!(matches!(o.status.code(), Some(0..=2)), "{name}: {said}");
        assert!(!said.contains("panicked") && !said.contains("a bug in"), "{name}: {said}");
        let _ = std::fs::remove_dir_all(d.path("x"));
    }
}

/// DNA, one letter, spaces: a megabyte without a break, for a tokenizer that is trained and for GPT-2's.
#[test]
fn a_megabyte_without_a_break_takes_seconds() {
    let d = Dir::new();
    let mut state = 1_u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"ACGT"[(state >> 30) as usize]
    };
    let dna: Vec<u8> = (0..1 << 20).map(|_| letter()).collect();
    std::fs::write(d.path("dna"), dna).unwrap();
    std::fs::write(d.path("letter"), "a".repeat(1 << 20)).unwrap();
    std::fs::write(d.path("spaces"), " ".repeat(1 << 20) + "end").unwrap();
    for tokenizer in ["bpe:512", "gpt2"] {
        for data in ["dna", "letter", "spaces"] {
            let start = Instant::now();
            let out = format!("{data}-{}", tokenizer.len());
            let args =
                ["train", "--out", &out, "--steps", "1", "--size", "nano", "--set", "context=16", "--quiet"];
            let o =
                d.run(&[&args[..], &["--data", data, "--tokenizer", tokenizer, "--probe", "never"]].concat());
            let said = String::from_utf8_lossy(&o.stderr);
            assert!(matches!(o.status.code(), Some(0 | 1)) && !said.contains("a bug in"), "{said}");
            assert!(start.elapsed().as_secs() < 60, "{data} {tokenizer}: {:?}", start.elapsed());
        }
    }
}
