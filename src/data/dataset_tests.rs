//! Files in, streams out, and what is said when a file will not do.

use super::*;
use proptest::prelude::*;
use std::fs;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn load(path: &Path, context: usize) -> Result<Dataset> {
    Dataset::from_files(path, None, &TokenizerSpec::Bytes, context)
}

#[test]
fn without_a_validation_file_the_last_tenth_validates() {
    let dir = folder();
    let path = dir.path().join("text.txt");
    let text: String = (0..100).map(|i| char::from(b' ' + i % 90)).collect();
    fs::write(&path, &text).unwrap();
    let data = load(&path, 4).unwrap();
    let join = |s: &TokenStream| data.tokenizer().decode(&s.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(join(data.train()), text[..90]);
    assert_eq!(join(data.valid()), text[90..]);
    assert_eq!((data.info().train_bytes, data.info().valid_tokens), (90, 10));
    assert!(data.info().valid.ends_with("text.txt (last tenth)"));
    // A character on the border goes to validation whole.
    let path = dir.path().join("wide.txt");
    fs::write(&path, "€".repeat(33)).unwrap();
    let data = load(&path, 4).unwrap();
    assert_eq!((data.train().len(), data.valid().len()), (90, 9));
}

#[test]
fn a_validation_file_is_used_whole_and_the_training_file_too() {
    let dir = folder();
    let (train, valid) = (dir.path().join("a.txt"), dir.path().join("b.txt"));
    fs::write(&train, "abc".repeat(50)).unwrap();
    fs::write(&valid, "xyz".repeat(20)).unwrap();
    let data = Dataset::from_files(&train, Some(&valid), &TokenizerSpec::Bytes, 8).unwrap();
    assert_eq!((data.train().len(), data.valid().len()), (150, 60));
    assert_eq!(data.info().valid_bytes_per_token(), 1.0);
    let eval = data.eval_windows(3).unwrap();
    assert_eq!((eval.rows, eval.context), (3, 8));
    assert_eq!(eval, data.eval_windows(3).unwrap());
    assert_eq!(data.eval_windows(1_000).unwrap().rows, 7);
}

#[test]
fn errors_name_the_file_and_the_mend() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    let say = |r: Result<Dataset>| r.unwrap_err().to_string();
    let shown = |name: &str| at(name).display().to_string();

    let missing = say(load(&at("none.txt"), 8));
    assert!(
        missing.starts_with(&format!("{}: no such file; check the path", shown("none.txt"))),
        "{missing}"
    );
    let directory = say(load(dir.path(), 8));
    assert!(directory.contains(": is a directory; name one UTF-8 text file"), "{directory}");
    fs::write(at("empty.txt"), "").unwrap();
    assert!(say(load(&at("empty.txt"), 8)).contains("empty.txt: the file is empty; give"));
    fs::write(at("latin.txt"), b"caf\xe9 au lait, encore").unwrap();
    let utf8 = say(load(&at("latin.txt"), 8));
    assert!(
        utf8.contains("latin.txt: not UTF-8 at byte 3 (0xe9); if it is text of another encoding convert"),
        "{utf8}"
    );
    // A character cut off at the end of the file is bad as well.
    fs::write(at("cut.txt"), b"hello \xe2\x82").unwrap();
    assert!(say(load(&at("cut.txt"), 8)).contains("not UTF-8 at byte 6 (0xe2)"));

    fs::write(at("short.txt"), "0123456789").unwrap();
    let short = say(load(&at("short.txt"), 9));
    assert!(
        short.contains(
            "short.txt: 9 tokens are fewer than the 10 that one window of context 9 needs; give more"
        ),
        "{short}"
    );
    // Long enough to train, too short for a validation window.
    let valid = say(load(&at("short.txt"), 8));
    assert!(valid.contains("short.txt (last tenth): 1 tokens") && valid.contains("--valid FILE"), "{valid}");
    assert!(say(load(&at("short.txt"), 0)).contains("the context length is 0"));
}

#[test]
fn probes_are_fixed_disjoint_and_from_validation_text() {
    let source = Source::BuiltIn { seed: 4, bytes: 50_000 };
    let data = Dataset::load(&source, &TokenizerSpec::Bytes, 128, &mut |_, _, _| {}).unwrap();
    let probe = data.probe_sequences(4, 96).unwrap();
    assert_eq!((probe.rows, probe.context, probe.inputs.len()), (4, 96, 384));
    let again = Dataset::load(&source, &TokenizerSpec::Bytes, 128, &mut |_, _, _| {}).unwrap();
    assert_eq!(again.probe_sequences(4, 96).unwrap(), probe);
    let text = |ids: &[u32]| data.tokenizer().decode(ids).unwrap();
    let (train, valid) =
        (text(&data.train().iter().collect::<Vec<_>>()), text(&data.valid().iter().collect::<Vec<_>>()));
    for row in probe.inputs.chunks(96) {
        assert!(valid.contains(&text(row)));
        assert!(!train.contains(&text(row)));
    }
    let error = data.probe_sequences(300, 96).unwrap_err().to_string();
    assert!(
        error.starts_with("300 probe sequences of 96 tokens need 28801 validation tokens, there are 20000"),
        "{error}"
    );
    assert!(data.probe_sequences(0, 9).is_err() && data.probe_sequences(9, 0).is_err());
    // As many as just fit.
    assert_eq!(data.probe_sequences(1, 19_999).unwrap().rows, 1);
    assert!(data.probe_sequences(1, 20_000).is_err());
    assert!(data.probe_sequences(usize::MAX, 2).is_err());
}

#[test]
fn the_built_in_corpus_loads_with_progress_in_order() {
    let mut stages = Vec::new();
    let source = Source::BuiltIn { seed: 1, bytes: 300_000 };
    let data = Dataset::load(&source, &TokenizerSpec::Train(300), 64, &mut |stage, done, total| {
        assert!(done <= total);
        if stages.last().is_none_or(|(s, _)| *s != stage) {
            stages.push((stage, 0));
        }
        let last = stages.last_mut().unwrap();
        assert!(last.1 <= done, "progress never goes back");
        last.1 = done;
    })
    .unwrap();
    let (names, ends): (Vec<Stage>, Vec<u64>) = stages.into_iter().unzip();
    assert_eq!(names, [Stage::Read, Stage::TrainTokenizer, Stage::EncodeTrain, Stage::EncodeValid]);
    assert_eq!(ends[2..], [300_000, 33_333]);
    assert_eq!(data.tokenizer().vocab_size(), 300);
    assert_eq!(data.info().vocab_size, 300);
    assert!(data.info().valid_bytes_per_token() > 1.5);
    assert_eq!(data.batcher(2).unwrap().tokens_per_step(), 128);
    assert!(data.batcher(0).is_err());
}

#[test]
fn fingerprints_tell_data_apart() {
    let dir = folder();
    let info = |train: &str, valid: &str| {
        fs::write(dir.path().join("t"), train).unwrap();
        fs::write(dir.path().join("v"), valid).unwrap();
        let (t, v) = (dir.path().join("t"), dir.path().join("v"));
        Dataset::from_files(&t, Some(&v), &TokenizerSpec::Bytes, 2).unwrap().info().clone()
    };
    let a = info("hello world", "good bye");
    assert_eq!(a, info("hello world", "good bye"));
    assert_eq!(a.fingerprint.len(), 64);
    assert_ne!(a.fingerprint, info("hello worle", "good bye").fingerprint);
    // Moving a character across the border changes it too.
    assert_ne!(a.fingerprint, info("hello worldg", "ood bye").fingerprint);
    let text = serde_json::to_string(&a).unwrap();
    assert_eq!(serde_json::from_str::<DataInfo>(&text).unwrap(), a);
}

proptest! {
    #[test]
    fn the_split_loses_nothing(text in "\\PC{1,60}") {
        let at = nine_tenths(&text);
        prop_assert!(text.is_char_boundary(at));
        // Characters have at most 4 bytes, and a tenth is rounded down.
        prop_assert!(at <= text.len() - text.len() / 10 && at + 3 >= text.len() - text.len() / 10);
    }

    #[test]
    fn fingerprints_do_not_depend_on_the_integer_width(ids in prop::collection::vec(0u32..70_000, 0..50)) {
        let mut direct = blake3::Hasher::new_derive_key("growthpath token streams 1");
        direct.update(&(ids.len() as u64).to_le_bytes());
        ids.iter().for_each(|id| { direct.update(&id.to_le_bytes()); });
        let want = direct.finalize().to_hex().to_string();
        prop_assert_eq!(fingerprint(&[&TokenStream::new(ids)]), want);
    }
}
