//! `growthpath demo` on tiny models: everything is there, and the bound that it speaks of is the text's.

use std::path::Path;

use assert_cmd::Command;
use growthpath_trace::Run;

fn demo(folder: &Path, more: &[&str]) -> (bool, String) {
    let mut args = vec!["demo", "--size", "nano", "--steps", "16", "--quiet"];
    args.extend(more);
    let o = Command::cargo_bin("growthpath").unwrap().current_dir(folder).args(&args).output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    (o.status.success(), text(o.stdout) + &text(o.stderr))
}

fn bound(run: &Run) -> f64 {
    run.info().extra["loss_without_looking_back"].as_f64().unwrap()
}

#[test]
fn four_arms_their_figures_and_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let (ok, text) = demo(dir.path(), &["--out", "d"]);
    assert!(ok, "{text}");
    let out = dir.path().join("d");
    for arm in ["gpt", "gpt+slow-qk", "llama", "llama+slow-qk"] {
        let run = Run::open(out.join(arm)).unwrap();
        assert_eq!(run.info().status, growthpath_trace::Status::Complete);
        // Conditional entropy of a byte given the one before, in plays in English: between two and three nats; over
        // the very same windows in every arm.
        assert!((2.2..2.6).contains(&bound(&run)), "{}", bound(&run));
        let loss = run.evals().unwrap().last().unwrap().loss;
        assert!(loss > bound(&run), "sixteen steps of a tiny model do not beat it: {loss}");
        assert!(run.info().extra["command"].as_str().unwrap().starts_with("growthpath demo"));
    }
    let html = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        html.contains("attention is not shown to pay: gpt, gpt+slow-qk, llama, llama+slow-qk"),
        "the plain word"
    );
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("attention is not shown") && text.lines().all(|l| l.chars().count() <= 130),
        "{text}"
    );
    assert!(out.join("figures/growth-shares.png").exists() && out.join("text/train.txt").exists());
    let (again, text) = demo(dir.path(), &["--out", "d"]);
    assert!(!again && text.contains("exists already"), "{text}");
}

#[test]
fn the_formal_language_stays_an_option() {
    let dir = tempfile::tempdir().unwrap();
    let (ok, text) = demo(dir.path(), &["--out", "d", "--language"]);
    assert!(ok && text.contains("Entropy rate"), "{text}");
    let (ok, text) = demo(dir.path(), &["--out", "e", "--size", "mircro"]);
    assert!(!ok && text.contains("did you mean `micro`?") && !dir.path().join("e").exists(), "{text}");
}
