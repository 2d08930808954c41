//! A run watched and its curves exported, while it trains and after.

use std::path::Path;
use std::process::{Command as Process, Stdio};

use assert_cmd::Command;
use growthpath_trace::{HeadRow, Run, StepRow};
use serde_json::Value;

const FLAGS: &[&str] = &[
    "--size=nano",
    "--set=layers=2",
    "--set=context=32",
    "--steps=24",
    "--eval-every=8",
    "--probe-every=8",
    "--quiet",
];

fn ok(dir: &Path, args: &[&str]) -> String {
    let o = Command::cargo_bin("growthpath").unwrap().current_dir(dir).args(args).output().unwrap();
    assert!(o.status.success(), "{args:?}: {}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8(o.stdout).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn curves_hold_what_the_tables_hold() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    ok(dir, &[&["train", "--out", "r"], FLAGS].concat());
    let run = Run::open(dir.join("r")).unwrap();
    let got = lines(&ok(dir, &["export", "r", "--to", "jsonl"]));
    let steps = run.read::<StepRow>(..).unwrap();
    let heads = run.read::<HeadRow>(..).unwrap();
    for row in &steps {
        let line = got.iter().find(|l| l["step"] == row.step).unwrap();
        assert_eq!(line["train/loss"].as_f64().unwrap() as f32, row.loss);
        let mine: Vec<f64> = heads
            .iter()
            .filter(|h| h.step == row.step && h.layer == 1)
            .map(|h| f64::from(h.spread).ln())
            .collect();
        let spread = (mine.iter().sum::<f64>() / mine.len() as f64).exp();
        // The same float64 sums, perhaps in another order.
        assert!((line["attention/spread_upper"].as_f64().unwrap() / spread - 1.0).abs() < 1e-12);
        assert_eq!(line["spread/layer_01"], line["attention/spread_upper"]);
    }
    let evals = run.evals().unwrap();
    let told: Vec<f64> = got.iter().filter_map(|l| l["valid/loss"].as_f64()).collect();
    assert_eq!(told, evals.iter().map(|e| e.loss).collect::<Vec<_>>());
    let seconds: Vec<f64> = got.iter().map(|l| l["seconds"].as_f64().unwrap()).collect();
    assert!(seconds.windows(2).all(|w| w[0] <= w[1]));

    // TensorBoard: a record a step and the file's head; a second export takes the first one's place.
    for _ in 0..2 {
        ok(dir, &["export", "r", "--to", "tensorboard", "--out", "tb"]);
    }
    let files: Vec<_> = std::fs::read_dir(dir.join("tb")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let bytes = std::fs::read(&files[0]).unwrap();
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        at += 16 + length;
        records += 1;
    }
    assert_eq!((at, records), (bytes.len(), got.len() + 1));

    let seen = ok(dir, &["watch", "r", "--once"]);
    for words in
        ["step 24 of 24 (100 %), complete", "spread of the logits by layer", "upper", "lower", "settles"]
    {
        assert!(seen.contains(words), "`{words}` is missing in\n{seen}");
    }
    assert!(seen.lines().all(|l| l.chars().count() <= 80), "{seen}");
    // A pipe is no terminal: one line, then the end, as the run has ended.
    let piped = ok(dir, &["watch", "r", "--every", "0.1"]);
    assert_eq!(piped.lines().count(), 1, "{piped}");
    assert!(!piped.contains('\x1b'));
}

#[test]
fn a_run_is_followed_while_it_trains() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let program = assert_cmd::cargo::cargo_bin("growthpath");
    let mut train = Process::new(&program);
    // Every checkpoint writes what was recorded until then.
    train
        .current_dir(dir)
        .args([&["train", "--out", "r", "--checkpoint-every=4"], FLAGS].concat())
        .stdout(Stdio::null());
    let mut train = train.spawn().unwrap();
    while !(dir.join("r/run.json").exists() && dir.join("r/manifest.json").exists()) {
        assert!(train.try_wait().unwrap().is_none_or(|s| s.success()));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let followed = ok(dir, &["export", "r", "--to", "jsonl", "--follow", "--every", "0.05"]);
    assert!(train.wait().unwrap().success());
    // In pieces or whole: every number once.
    let count = |text: &str, name: &str| lines(text).iter().filter(|l| !l[name].is_null()).count();
    let whole = ok(dir, &["export", "r", "--to", "jsonl"]);
    for name in ["train/loss", "valid/loss", "attention/spread_lower", "attention/reliance_upper"] {
        assert_eq!(count(&followed, name), count(&whole, name), "{name}");
    }
    assert_eq!(count(&whole, "train/loss"), 24);
}

/// A process that was killed says nothing, and whoever follows it must not wait for ever.
#[test]
fn a_killed_run_is_said_to_be_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let program = assert_cmd::cargo::cargo_bin("growthpath");
    let start = |out: &str| {
        let flags = FLAGS.iter().filter(|f| !f.starts_with("--steps"));
        let own = ["train", "--out", out, "--checkpoint-every=4", "--steps=100000"];
        Process::new(&program).current_dir(dir).args(own).args(flags).stdout(Stdio::null()).spawn().unwrap()
    };
    let kill = |mut train: std::process::Child| {
        train.kill().unwrap();
        train.wait().unwrap();
    };
    // One is killed while it is followed, with rows written.
    let train = start("r");
    let rows = || Run::open(dir.join("r")).is_ok_and(|r| r.rows(growthpath_trace::Table::Steps) > 0);
    while !rows() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let follow = Process::new(&program)
        .current_dir(dir)
        .args(["export", "r", "--to", "jsonl", "--follow", "--every", "0.05"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let live = ok(dir, &["watch", "r", "--once"]);
    assert!(live.contains("running") && !live.contains("cut off"), "{live}");
    kill(train);
    let followed = follow.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&followed.stderr);
    assert!(followed.status.success() && said.contains("r: cut off after "), "{said}");
    assert!(said.contains("`growthpath train --resume --out r` goes on"), "{said}");
    let recorded = Run::open(dir.join("r")).unwrap().steps().unwrap().len();
    let told = lines(&String::from_utf8(followed.stdout).unwrap());
    assert_eq!(told.iter().filter(|l| !l["train/loss"].is_null()).count(), recorded);
    for args in [&["watch", "r", "--every", "0.05"][..], &["watch", "r", "--once"]] {
        let seen = ok(dir, args);
        assert!(seen.contains(&format!("cut off after {recorded} of 100000 steps")), "{seen}");
        assert!(!seen.contains("running") && !seen.contains("left"), "{seen}");
    }
    // Another has no rows yet.
    let none = |out: &str| {
        let mut run: Value = serde_json::from_slice(&std::fs::read(dir.join("r/run.json")).unwrap()).unwrap();
        run["status"] = "running".into();
        growthpath_trace::RunWriter::create(dir.join(out), &serde_json::from_value(run).unwrap()).unwrap()
    };
    let writer = none("empty");
    assert!(ok(dir, &["watch", "empty", "--once"]).contains("no rows yet"));
    drop(writer);
    std::fs::copy(dir.join("r/tokens.safetensors"), dir.join("empty/tokens.safetensors")).unwrap();
    for args in [&["watch", "empty", "--once"][..], &["watch", "empty", "--every", "0.05"]] {
        let seen = ok(dir, args);
        assert!(seen.contains("cut off before its first rows were written"), "{seen}");
        assert_eq!(seen.lines().count(), 1);
    }
    // What reads results says so in place of an empty answer.
    for args in [
        &["report", "empty"][..],
        &["analyze", "empty"],
        &["plot", "empty"],
        &["compare", "r", "empty"],
        &["verify", "r", "--against", "empty"],
        &["export", "empty", "--to", "parquet-dataset", "set"],
    ] {
        let o = Command::cargo_bin("growthpath").unwrap().current_dir(dir).args(args).output().unwrap();
        let err = String::from_utf8_lossy(&o.stderr);
        assert_eq!(o.status.code(), Some(1), "{args:?}: {err}");
        assert!(
            err.contains("empty: no rows: cut off before its first rows were written"),
            "{args:?}: {err}"
        );
    }
    let verified = ok(dir, &["verify", "empty"]);
    assert!(verified.contains("no rows yet: nothing but the files was checked"), "{verified}");
    assert!(!verified.contains("all checks hold"), "{verified}");
}

/// A process that hangs, or a file system without locks: nobody knows that the run ended, and its followers go on.
#[test]
fn a_run_that_has_fallen_silent_is_said_to_have() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    ok(dir, &[&["train", "--out", "r"], FLAGS].concat());
    growthpath_trace::RunInfo::rewrite(&dir.join("r"), |i| i["status"] = "running".into()).unwrap();
    let _lock = growthpath_trace::RunLock::take(&dir.join("r")).unwrap();
    assert!(!ok(dir, &["watch", "r", "--once"]).contains("stopped"), "it was written a moment ago");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(14 * 60 + 10);
    for file in ["run.json", "manifest.json"] {
        let file = std::fs::File::options().write(true).open(dir.join("r").join(file)).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let says = "seems to have stopped: last written 14 min ago; its steps take";
    let seen = ok(dir, &["watch", "r", "--once"]);
    let words = seen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(says) && words.contains("a process holds it still"), "{seen}");
    assert!(!seen.contains(" left") && !seen.contains("cut off"), "{seen}");
    for args in [
        &["watch", "r", "--every", "0.05"][..],
        &["export", "r", "--to", "jsonl", "--follow", "--every", "0.05"],
    ] {
        let bin = assert_cmd::cargo::cargo_bin("growthpath");
        let (out, err) = (dir.join("out"), dir.join("err"));
        let to = |path: &Path| Stdio::from(std::fs::File::create(path).unwrap());
        let mut follow =
            Process::new(bin).current_dir(dir).args(args).stdout(to(&out)).stderr(to(&err)).spawn().unwrap();
        let said = || [&out, &err].map(|p| std::fs::read_to_string(p).unwrap()).concat();
        for _ in 0..600 {
            if said().contains(says) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(follow.try_wait().unwrap().is_none(), "it follows still: {}", said());
        follow.kill().unwrap();
        follow.wait().unwrap();
        // `watch` shows it with the first look, and again when it is noticed that nothing comes; never at every look.
        let times = said().matches(says).count();
        assert!((1..=2).contains(&times), "{}", said());
    }
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (says, args) in [
        ("nowhere", vec!["watch", "nowhere", "--once"]),
        ("nowhere", vec!["export", "nowhere", "--to", "jsonl"]),
        ("--every", vec!["watch", "nowhere", "--every", "0"]),
        ("--table", vec!["export", "nowhere"]),
        ("--to", vec!["export", "nowhere", "--table", "steps", "--follow"]),
    ] {
        let o =
            Command::cargo_bin("growthpath").unwrap().current_dir(dir.path()).args(&args).output().unwrap();
        let err = String::from_utf8_lossy(&o.stderr);
        assert!(!o.status.success() && err.contains(says) && !err.contains("panicked"), "{args:?}: {err}");
    }
}
