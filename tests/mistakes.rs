//! What the program answers to the mistakes that its users make, and what every verb's help says, as snapshots: a
//! change of any answer is seen. `INSTA_UPDATE=always cargo test --release --test mistakes` takes new ones; look at
//! the difference before committing it.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use growthpath_kernels::activation::Activation;
use tempfile::TempDir;

fn program(folder: &Path, args: &[&str]) -> String {
    let o = Command::cargo_bin("growthpath")
        .unwrap()
        .current_dir(folder)
        .env("COLUMNS", "80")
        .args(args)
        .output()
        .unwrap();
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
    let (out, err) = (text(&o.stdout), text(&o.stderr));
    assert!(!err.contains("panicked"), "{args:?}: {err}");
    let shown: Vec<String> =
        args.iter().map(|a| if a.contains(' ') { format!("'{a}'") } else { (*a).to_owned() }).collect();
    // The list of activations grows.
    let known: Vec<String> = Activation::ALL.iter().map(|a| format!("{a:?}").to_lowercase()).collect();
    let err = err.replace(&known.join(", "), "ACTIVATIONS");
    let code = o.status.code().unwrap();
    format!("$ growthpath {}\n{out}{err}[{code}]\n", shown.join(" "))
}

/// A folder with small runs: `a`, `b` (same arm, same seed), `deep`, `normed` (QK-norm), and texts.
struct Runs(TempDir);

impl Runs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let train = |out: &str, more: &[&str]| {
            let mut args = vec!["train", "--quiet", "--out", out, "--size", "nano", "--steps", "12"];
            args.extend(["--set", "layers=2", "--set", "context=32", "--probe-every", "3"]);
            args.extend(more);
            let answer = program(dir.path(), &args);
            assert!(answer.ends_with("[0]\n"), "{answer}");
        };
        train("a", &[]);
        train("b", &[]);
        train("deep", &["--set", "layers=3"]);
        train("normed", &["--set", "qk_norm=true"]);
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        for (name, bytes) in
            [("latin.txt", &b"caf\xe9 au lait"[..]), ("empty.txt", b""), ("short.txt", b"ten bytes.")]
        {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

/// A command line each, split at spaces.
const MISTAKES: &[&str] = &[
    // Names.
    "trian --out x",
    "train --out x --preset gptt",
    "train --out x --preset lama",
    "train --out x --preset bert",
    "train --out x --size mircro",
    "train --out x --set widht=64",
    "train --out x --set ffn=gegl",
    "train --out x --set layers",
    "train --out x --set heads=5",
    "train --out x --set width=wide",
    "train --out x --tokenizer words",
    "train --out x --tokenizer bpe:abc",
    "train --out x --intervene upper",
    "train --out x --prest gpt",
    "plot a --figure gorwth-shares",
    "plot a --figure loss,atention",
    "export a --table head",
    // Values.
    "train --out x --lr -1",
    "train --out x --lr fast",
    "train --out x --steps 0",
    "train --out x --hold 0.1",
    "train --out x --intervene upper-qk --hold 3",
    "train --out x --telemetry sometimes",
    "train --out x --dump-step 99 --steps 10",
    "train --out x --probe-budget 2",
    "train --out x --threads 0",
    "analyze a --window 9..3",
    "analyze a --window 100",
    "analyze a --window 500..600",
    "analyze a --window 500..",
    "plot a b --pair 1:1",
    "plot a b --pair 1:3",
    "plot a --width poster",
    // Files and folders.
    "train",
    "train --out a",
    "train --out x --data nowhere.txt",
    "train --out x --data latin.txt",
    "train --out x --data empty.txt",
    "train --out x --data short.txt",
    "train --out x --data folder",
    "train --resume --out nowhere",
    "train --resume --out folder",
    "train --resume --out a",
    "analyze",
    "analyze nowhere",
    "analyze folder",
    "verify folder",
    "report nowhere",
    "plot --figure loss",
    "inspect folder",
    "study nowhere.toml",
    // Runs that do not belong together, or cannot answer.
    "compare a",
    "compare a deep",
    "compare a normed",
    "compare a b --window 500..600",
    "plot a --figure shapley",
    "plot normed --figure growth-shares",
];

#[test]
fn mistakes_are_answered_in_words() {
    let runs = Runs::new();
    let answers: Vec<String> =
        MISTAKES.iter().map(|line| program(&runs.path(), &line.split(' ').collect::<Vec<_>>())).collect();
    for answer in &answers {
        // Figures that cannot be drawn are a note, everything else is an error.
        let note = answer.contains("not drawn");
        assert!(note || !answer.ends_with("[0]\n"), "{answer}");
        assert!(!answer.contains("4294967295") && !answer.contains("NaN"), "{answer}");
    }
    assert!(!runs.path().join("x").exists(), "nothing was created for a run that never began");
    insta::assert_snapshot!("mistakes", answers.join("\n"));
}

#[test]
fn a_run_without_probes_is_given_no_verdict() {
    let runs = Runs::new();
    let text = program(&runs.path(), &["analyze", "normed"]);
    assert!(text.contains("No verdict") && !text.contains("premature"), "{text}");
    let page = program(&runs.path(), &["report", "normed", "--out", "page.html"]);
    assert!(page.ends_with("[0]\n"), "{page}");
    let html = std::fs::read_to_string(runs.path().join("page.html")).unwrap();
    assert!(html.contains("no verdict (queries and keys are normalized)"));
}

#[test]
fn answers_fit_eighty_columns_and_tell_equal_labels_apart() {
    let runs = Runs::new();
    for args in
        [&["analyze", "a", "--verbose", "--signals"][..], &["compare", "a", "b"], &["analyze", "normed"]]
    {
        let text = program(&runs.path(), args);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{args:?}: {line}");
        }
    }
    let all = program(&runs.path(), &["compare", "a", "b"]);
    assert!(all.contains("A = gpt (a)") && all.contains("B = gpt (b)"), "{all}");
    let upper = program(&runs.path(), &["compare", "a", "b", "--layers", "upper"]);
    assert!(all.contains("\nlower ") && !upper.contains("\nlower "), "{upper}");
}

#[test]
fn what_is_undefined_is_null_or_empty() {
    let runs = Runs::new();
    let jsonl = program(&runs.path(), &["export", "a", "--table", "probe", "--format", "jsonl"]);
    let csv = program(&runs.path(), &["export", "a", "--table", "probe"]);
    assert!(jsonl.contains("\"gamma\":null") && csv.contains(",,"), "the first probe has no interval");
    assert!(!jsonl.contains("NaN") && !csv.contains("NaN"));
}

#[test]
fn next_lines_can_be_pasted() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["train", "--quiet", "--out", "my run", "--size", "nano", "--steps", "3"];
    args.extend(["--set", "layers=2", "--set", "context=32"]);
    let text = program(dir.path(), &args);
    let next: Vec<&str> =
        text.lines().skip_while(|l| *l != "next:").skip(1).filter(|l| l.starts_with("  ")).collect();
    assert!(next.len() >= 2, "{text}");
    for line in next {
        let bin = assert_cmd::cargo::cargo_bin("growthpath");
        let line = line.trim().replacen("growthpath", &bin.display().to_string(), 1);
        let done =
            std::process::Command::new("sh").arg("-c").arg(&line).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn every_help_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let whole = program(dir.path(), &["--help"]);
    let verbs: Vec<String> = whole
        .lines()
        .skip_while(|l| *l != "Commands:")
        .skip(1)
        .take_while(|l| !l.is_empty())
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next().map(str::to_owned))
        .filter(|v| v != "help")
        .collect();
    assert!(verbs.len() >= 12, "{verbs:?}");
    insta::assert_snapshot!("help", whole);
    for verb in verbs {
        let help = program(dir.path(), &[&verb, "--help"]);
        assert!(help.contains("Examples:"), "{help}");
        insta::assert_snapshot!(format!("help-{verb}"), help);
    }
}
