//! The program as its user meets it: what it prints, its exit codes, its error messages.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output, Stdio};

use assert_cmd::Command;
use growthpath_trace::{Run, Table};
use tempfile::TempDir;

struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn text(&self, name: &str, content: &[u8]) -> PathBuf {
        let p = self.path(name);
        std::fs::write(&p, content).unwrap();
        p
    }
    fn run(&self, args: &[&str]) -> Output {
        Command::cargo_bin("growthpath").unwrap().current_dir(self.0.path()).args(args).output().unwrap()
    }
    fn ok(&self, args: &[&str]) -> String {
        let o = self.run(args);
        assert!(o.status.success(), "{args:?}: {}", String::from_utf8_lossy(&o.stderr));
        String::from_utf8(o.stdout).unwrap()
    }
    /// The command fails with `code` and one error line that has every one of `says`.
    fn fails(&self, code: i32, says: &[&str], args: &[&str]) {
        let o = self.run(args);
        let err = String::from_utf8_lossy(&o.stderr);
        assert_eq!(o.status.code(), Some(code), "{args:?}: {err}");
        assert!(!err.contains("panicked"), "{args:?}: {err}");
        for s in says {
            assert!(err.contains(s), "{args:?}: `{s}` is missing in: {err}");
        }
    }
}

const NANO: &[&str] = &["--size", "nano", "--set", "layers=2", "--set", "context=32", "--quiet"];

fn train(dir: &Dir, out: &str, more: &[&str]) {
    let mut args = vec!["train", "--out", out, "--steps", "12", "--probe-every", "3"];
    args.extend(NANO);
    args.extend(more);
    dir.ok(&args);
}

#[test]
fn a_run_is_verified_analysed_drawn_and_reported() {
    let d = Dir::new();
    train(&d, "a", &[]);
    train(&d, "b", &["--intervene", "upper-qk", "--hold", "0.5"]);
    let run = Run::open(d.path("a")).unwrap();
    assert_eq!(run.rows(Table::Steps), 12);
    assert_eq!(run.rows(Table::Heads), 12 * 2 * 4);
    assert_eq!(run.rows(Table::Writes), 12 * 2 * 2);
    assert!(d.ok(&["verify", "a"]).contains("all checks hold"));

    let json: serde_json::Value = serde_json::from_str(&d.ok(&["analyze", "a", "--json"])).unwrap();
    assert!(json["accounting"]["max_residual"].as_f64().unwrap() <= 1e-10);
    assert!(json["euler"]["max_rel_residual"].as_f64().unwrap() <= 1e-3);
    assert_eq!(json["bound"]["violations"], 0);
    let splits = json["accounting"]["layers"].as_array().unwrap();
    assert_eq!(splits.len(), 2);
    for l in splits {
        let get = |k: &str| l[k].as_f64().unwrap();
        let sum = get("query") + get("key") + get("features");
        assert!((sum - get("growth")).abs() <= 1e-9 * (1.0 + get("growth").abs()), "{l}");
    }
    let loss = json["val_loss"].as_f64().unwrap();
    assert!((json["val_perplexity"].as_f64().unwrap() - loss.exp()).abs() < 1e-9 * loss.exp());
    for key in ["prediction", "factors", "energy_shares", "diagnosis"] {
        assert!(json.get(key).is_some(), "{key}");
    }

    let c: serde_json::Value = serde_json::from_str(&d.ok(&["compare", "a", "b", "--json"])).unwrap();
    let s = &c["shapley"];
    let parts = ["step_size", "update_geometry", "residual_energy", "coherence", "features", "start"];
    let sum: f64 = parts.iter().map(|p| s[p].as_f64().unwrap()).sum();
    let gap = c["predicted_gap"].as_f64().unwrap();
    assert!(c["measured_gap"].as_f64().unwrap().is_finite());
    assert!((sum - gap).abs() <= 1e-9 * gap.abs().max(1e-3), "{sum} {gap}");

    d.ok(&["plot", "a", "b", "--figure", "all", "--out", "figures"]);
    // Curves over seeds take two of them; over one slowed run there is no sensitivity to show.
    let drawn = |name: &str| !["seeds", "sensitivity"].contains(&name);
    for figure in growthpath_figures::FIGURES.iter().filter(|f| drawn(f.name)) {
        for ext in ["png", "svg"] {
            let p = d.path("figures").join(format!("{}.{ext}", figure.name));
            assert!(p.metadata().is_ok_and(|m| m.len() > 1000), "{}", p.display());
        }
    }
    let two = ["plot", "a", "--figure", "loss,factors", "--figure", "rate-scatter", "--format", "pdf"];
    let drawn = d.ok(&[&two[..], &["--width", "column", "--window", "3..9", "--out", "some"]].concat());
    assert_eq!(drawn, "some/loss.pdf\nsome/factors.pdf\nsome/prediction.pdf\n");
    assert!(std::fs::read(d.path("some/loss.pdf")).unwrap().starts_with(b"%PDF"));
    let list = d.ok(&["plot", "--figure", "list"]);
    assert!(growthpath_figures::FIGURES.iter().all(|f| list.contains(f.name) && list.contains(f.about)));
    d.ok(&["report", "a", "b", "--out", "r.html"]);
    let html = std::fs::read_to_string(d.path("r.html")).unwrap();
    assert!(html.contains("</html>") && !html.contains("src=\"http"));
    assert!(d.ok(&["inspect", "a/checkpoints/step-12"]).contains("stable rank"));
    assert_eq!(d.ok(&["export", "a", "--table", "heads"]).lines().count(), 1 + 12 * 2 * 4);
    let line = d.ok(&["export", "a", "--table", "probe", "--format", "jsonl"]);
    serde_json::from_str::<serde_json::Value>(line.lines().next().unwrap()).unwrap();
}

#[test]
fn same_seed_same_bits_on_any_thread_count() {
    let d = Dir::new();
    for (out, threads) in [("a", "1"), ("b", "2"), ("c", "3")] {
        train(&d, out, &["--threads", threads]);
    }
    let table = |run: &str, t: &str| d.ok(&["export", run, "--table", t]);
    for t in ["heads", "writes", "probe", "evals", "shares"] {
        assert_eq!(table("a", t), table("b", t), "{t}");
        assert_eq!(table("a", t), table("c", t), "{t}");
    }
    let model = |run: &str| std::fs::read(d.path(run).join("checkpoints/step-12/model.safetensors")).unwrap();
    assert!(model("a") == model("b") && model("a") == model("c"));
}

#[test]
fn a_resumed_run_equals_one_that_never_stopped() {
    let d = Dir::new();
    let more = ["--checkpoint-every", "5", "--intervene", "upper-qk", "--hold", "0.6"];
    train(&d, "whole", &more);
    train(&d, "cut", &more);
    // As if the process had died after step 10's checkpoint: later rows and checkpoint gone or stale.
    std::fs::remove_dir_all(d.path("cut/checkpoints/step-12")).unwrap();
    growthpath_trace::RunInfo::rewrite(&d.path("cut"), |i| i["status"] = "running".into()).unwrap();
    d.ok(&["train", "--resume", "--out", "cut", "--quiet"]);
    for t in ["heads", "writes", "probe", "probe-layers", "shares", "evals", "reliance"] {
        let table = |run: &str| d.ok(&["export", run, "--table", t]);
        assert_eq!(table("whole"), table("cut"), "{t}");
    }
    let model = |run: &str| std::fs::read(d.path(run).join("checkpoints/step-12/model.safetensors")).unwrap();
    assert!(model("whole") == model("cut"));
    assert!(d.ok(&["verify", "cut"]).contains("all checks hold"));
    d.fails(1, &["complete"], &["train", "--resume", "--out", "cut", "--quiet"]);
}

#[test]
fn bad_text_and_bad_values_are_named() {
    let d = Dir::new();
    let t = |args: &[&'static str]| {
        let mut all = vec!["train", "--out", "x", "--steps", "3"];
        all.extend(NANO);
        all.extend(args);
        all
    };
    d.text("bad.txt", b"good text \xff\xfe bad");
    d.text("empty.txt", b"");
    d.text("short.txt", b"ten bytes.");
    d.fails(1, &["missing.txt", "no such file"], &t(&["--data", "missing.txt"]));
    d.fails(1, &["bad.txt", "UTF-8", "10"], &t(&["--data", "bad.txt"]));
    d.fails(1, &["empty.txt", "empty"], &t(&["--data", "empty.txt"]));
    d.fails(1, &["short.txt", "context"], &t(&["--data", "short.txt"]));
    d.fails(2, &["gtp", "gpt+geglu"], &t(&["--preset", "gtp"]));
    d.fails(2, &["huge", "micro"], &["train", "--out", "x", "--size", "huge"]);
    d.fails(2, &["heads", "width"], &t(&["--set", "heads=5"]));
    d.fails(2, &["unknown key"], &t(&["--set", "widht=8"]));
    d.fails(2, &["--lr"], &t(&["--lr", "-1"]));
    d.fails(2, &["words"], &t(&["--tokenizer", "words"]));
    d.fails(2, &["--telemetry"], &t(&["--telemetry", "sometimes"]));
    d.fails(2, &["--hold"], &t(&["--intervene", "upper-qk", "--hold", "3"]));
    d.fails(2, &["--dump-step"], &t(&["--dump-step", "99"]));
    d.fails(1, &["cuda"], &t(&["--device", "cuda"]));
    d.fails(2, &["--no-such-flag"], &t(&["--no-such-flag"]));
    assert!(!d.path("x").exists(), "nothing was created for a run that never began");
}

#[test]
fn a_directory_is_never_overwritten_and_damage_is_found() {
    let d = Dir::new();
    train(&d, "run", &[]);
    let mut again = vec!["train", "--out", "run", "--steps", "3"];
    again.extend(NANO);
    d.fails(1, &["run"], &again);
    std::fs::create_dir(d.path("plain")).unwrap();
    for verb in ["analyze", "verify"] {
        d.fails(1, &["plain"], &[verb, "plain"]);
        d.fails(1, &["nowhere"], &[verb, "nowhere"]);
    }
    d.fails(1, &["plain"], &["plot", "plain", "--out", "f"]);
    d.fails(1, &["plain"], &["inspect", "plain"]);
    d.fails(2, &["12..3"], &["analyze", "run", "--window", "12..3"]);
    d.fails(
        2,
        &["no-such-figure", "energy-shares"],
        &["plot", "run", "--figure", "no-such-figure", "--out", "f"],
    );
    d.fails(2, &["did you mean `growth-shares`?"], &["plot", "run", "--figure", "loss,growth-share"]);
    d.fails(2, &["RUN"], &["plot", "--figure", "loss"]);

    let part = std::fs::read_dir(d.path("run/heads")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&part).unwrap();
    std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    d.fails(1, &["heads"], &["analyze", "run"]);
    d.fails(1, &["run"], &["verify", "run"]);
}

#[test]
fn runs_that_do_not_match_are_not_compared() {
    let d = Dir::new();
    train(&d, "a", &[]);
    train(&d, "deep", &["--set", "layers=3"]);
    train(&d, "other", &["--probe-every", "4"]);
    d.fails(1, &["2", "3"], &["compare", "a", "deep"]);
    // Runs that were probed at other steps are compared over what they share, and told to be.
    let text = d.ok(&["compare", "a", "other"]);
    assert!(text.contains("interpolated") && text.contains("--probe-like"), "{text}");
}

#[test]
fn divergence_stops_with_a_whole_trace() {
    let d = Dir::new();
    let mut args =
        vec!["train", "--out", "x", "--steps", "60", "--lr", "1e30", "--clip", "0", "--optimizer", "sgd"];
    args.extend(NANO);
    d.fails(1, &["diverged at step", "layer 0", "--lr"], &args);
    let run = Run::open(d.path("x")).unwrap();
    assert_eq!(run.info().status, growthpath_trace::Status::Diverged);
    assert!(run.check_integrity().is_ok(), "{:?}", run.check_integrity());
}

#[test]
fn a_closed_pipe_is_quiet() {
    let d = Dir::new();
    train(&d, "a", &[]);
    let bin = assert_cmd::cargo::cargo_bin("growthpath");
    for args in [
        &["export", "a", "--table", "heads", "--format", "jsonl"][..],
        #[cfg(target_os = "linux")]
        &["report", "a", "--out", "/dev/stdout"],
    ] {
        let mut child = Process::new(&bin)
            .current_dir(d.0.path())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn a_full_disk_is_one_clear_error() {
    if !Path::new("/dev/full").exists() {
        eprintln!("skipped: no /dev/full here");
        return;
    }
    let d = Dir::new();
    train(&d, "a", &[]);
    let bin = assert_cmd::cargo::cargo_bin("growthpath");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = Process::new(bin)
        .current_dir(d.0.path())
        .args(["analyze", "a"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{err}");
    assert!(err.contains("standard output") && !err.contains("panicked"), "{err}");
}

#[test]
fn help_names_every_verb_and_completions_come_from_it() {
    let d = Dir::new();
    let help = d.ok(&["--help"]);
    let verbs = [
        "demo",
        "train",
        "study",
        "analyze",
        "compare",
        "plot",
        "report",
        "inspect",
        "verify",
        "export",
        "completions",
    ];
    let bash = d.ok(&["completions", "bash"]);
    for v in verbs {
        assert!(help.contains(v) && bash.contains(v), "{v}");
    }
    assert!(d.ok(&["completions", "--man"]).contains(".TH"));
    assert_eq!(d.run(&["--version"]).status.code(), Some(0));
    assert_eq!(d.run(&[]).status.code(), Some(2));
}
