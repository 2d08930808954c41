//! Studies as their user meets them: killed and resumed, side by side, on a cluster's scripts, with runs that fail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;

fn plans() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("studies")
}

fn growthpath(dir: &Path, args: &[&str]) -> Output {
    Command::cargo_bin("growthpath").unwrap().current_dir(dir).args(args).output().unwrap()
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let o = growthpath(dir, args);
    assert!(o.status.success(), "{args:?}: {}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8(o.stdout).unwrap()
}

/// Every table, page and JSON of a study, by name.
fn written(out: &Path) -> BTreeMap<String, String> {
    let tables = std::fs::read_dir(out.join("tables")).unwrap().map(|e| e.unwrap().path());
    let files = tables.chain([out.join("study.json"), out.join("results.md")]);
    files
        .map(|p| {
            (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&p).unwrap())
        })
        .collect()
}

#[test]
fn the_quick_plan_killed_and_resumed_or_side_by_side_gives_the_same_tables() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let plan = plans().join("quick.toml");
    let plan = plan.to_str().unwrap();
    let said = ok(dir, &["study", plan, "--out", "whole", "--quiet"]);
    assert!(said.contains("gpt+slow against gpt: "), "{said}");
    let whole = written(&dir.join("whole"));
    for name in [
        "arms.md",
        "arms.tex",
        "arms.csv",
        "differences.tex",
        "growth.csv",
        "runs.md",
        "warnings.md",
        "data-runs.csv",
    ] {
        assert!(whole.contains_key(name), "no {name}");
    }
    assert!(whole["runs.md"].contains("diverged after "), "{}", whole["runs.md"]);
    assert!(whole["arms.tex"].contains("\\toprule") && whole["arms.tex"].contains("booktabs"));
    assert!(dir.join("whole/figures/seeds.png").metadata().unwrap().len() > 1000);
    assert!(dir.join("whole/report.html").exists());

    // Killed in its second run, after a checkpoint.
    let program = assert_cmd::cargo::cargo_bin("growthpath");
    let mut child = Process::new(program);
    child.current_dir(dir).args(["study", plan, "--out", "killed", "--quiet"]);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(300);
    let checkpoints = dir.join("killed/gpt+slow-seed1/checkpoints");
    while !checkpoints.read_dir().is_ok_and(|mut d| d.next().is_some()) {
        assert!(
            Instant::now() < until && child.try_wait().unwrap().is_none(),
            "it ended before it was killed"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let again = growthpath(dir, &["study", plan, "--out", "killed"]);
    assert_eq!(again.status.code(), Some(1), "without --resume it must not go on");
    ok(dir, &["study", plan, "--out", "killed", "--resume", "--quiet"]);
    assert_eq!(written(&dir.join("killed")), whole, "killed and resumed");

    ok(dir, &["study", plan, "--out", "two", "--jobs", "2", "--threads", "2", "--quiet"]);
    assert_eq!(written(&dir.join("two")), whole, "two at a time");

    // A finished study, resumed, trains nothing and says the same.
    let before = std::fs::metadata(dir.join("two/gpt-seed1/manifest.json")).unwrap().modified().unwrap();
    assert_eq!(
        ok(dir, &["study", plan, "--out", "two", "--resume", "--quiet"]),
        said.replace("whole", "two")
    );
    assert_eq!(
        std::fs::metadata(dir.join("two/gpt-seed1/manifest.json")).unwrap().modified().unwrap(),
        before
    );
    let json: serde_json::Value =
        serde_json::from_str(&ok(dir, &["study", plan, "--out", "two", "--collect", "--json"])).unwrap();
    assert_eq!(json["runs"].as_array().unwrap().len(), 6);
}

#[test]
fn a_run_that_fails_does_not_stop_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let plan = plans().join("quick.toml");
    let args = ["study", plan.to_str().unwrap(), "--out", "s", "--resume", "--quiet", "--"];
    let args =
        [&args[..], &["--steps", "4", "--eval-every=2", "--warmup=1", "--checkpoint-every=0"]].concat();
    // Something else lies where the first run should be, whose probe times the others of its seed share.
    std::fs::create_dir_all(dir.join("s/gpt-seed1")).unwrap();
    std::fs::write(dir.join("s/gpt-seed1/run.json"), "{}").unwrap();
    for jobs in ["--jobs=1", "--jobs=2"] {
        let args = [&args[..4], &[jobs], &args[4..]].concat();
        let o = growthpath(dir, &args);
        let (out, err) = (String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
        assert_eq!(o.status.code(), Some(1), "{err}");
        assert!(err.contains("1 of 6 runs did not finish: gpt-seed1 (failed: "), "{err}");
        assert!(out.contains("Of 6 runs, 3 complete; 2 diverged, 1 failed"), "{out}");
        assert!(dir.join("s/failed/gpt-seed1.txt").exists());
        assert!(dir.join("s/gpt+slow-seed1/manifest.json").exists());
        let runs = std::fs::read_to_string(dir.join("s/tables/runs.md")).unwrap();
        assert!(runs.contains("run.json"), "why it failed stands below the table: {runs}");
    }
    // Mended, it goes on, and nothing speaks of the failure any more.
    std::fs::remove_dir_all(dir.join("s/gpt-seed1")).unwrap();
    let text = ok(dir, &args);
    assert!(text.contains("Of 6 runs, 4 complete; 2 diverged"), "{text}");
    assert!(!dir.join("s/failed/gpt-seed1.txt").exists());
}

#[test]
fn every_shipped_plan_can_be_trained_and_the_example_runs() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut count = 0;
    for entry in std::fs::read_dir(plans()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let out = path.file_stem().unwrap().to_str().unwrap().to_owned();
            // Flags are resolved and checked; nothing is trained.
            ok(dir, &["study", path.to_str().unwrap(), "--out", &out, "--launcher", "slurm"]);
            count += 1;
        }
    }
    assert!(count >= 5, "{count} plans");
    std::fs::write(dir.join("plan.toml"), ok(dir, &["study", "--example"])).unwrap();
    let short = [
        "--",
        "--steps=4",
        "--eval-every=2",
        "--warmup=1",
        "--probe-every=2",
        "--set=layers=2",
        "--set=context=32",
    ];
    let text = ok(dir, &[&["study", "plan.toml", "--out", "s", "--quiet"], &short[..]].concat());
    assert!(text.contains("llama against gpt"), "{text}");
}

#[test]
fn a_cluster_gets_scripts_that_train_run_by_run() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let plan = "flags = [\"--size=nano\", \"--set=layers=2\", \"--set=context=32\", \"--steps=4\", \"--eval-every=2\"]\n\
                seeds = [1, 2]\ncompare = [[\"a\", \"b\"]]\n[[arms]]\nname = \"a\"\n[[arms]]\nname = \"b\"\nflags = [\"--lr=1e-4\"]\n";
    std::fs::write(dir.join("p.toml"), plan).unwrap();
    let said = ok(
        dir,
        &["study", "p.toml", "--out", "o o", "--launcher=slurm", "--sbatch=--partition=cpu", "--threads=2"],
    );
    assert!(said.contains("4 runs"), "{said}");
    let read = |name: &str| std::fs::read_to_string(dir.join("o o/slurm").join(name)).unwrap();
    assert_eq!(read("first.txt"), "a-seed1\na-seed2\n");
    assert_eq!(read("then.txt"), "b-seed1\nb-seed2\n");
    assert!(read("submit.sh").contains("'--partition=cpu'"));
    // What Slurm would do, by hand: the tasks of both arrays, then the collecting step.
    for (list, tasks) in [("first.txt", 2), ("then.txt", 2)] {
        for task in 1..=tasks {
            let mut bash = Process::new("bash");
            bash.arg(dir.join("o o/slurm/run.sbatch")).arg(dir.join("o o/slurm").join(list));
            let o = bash.env("SLURM_ARRAY_TASK_ID", task.to_string()).output().unwrap();
            assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
        }
    }
    let o = Process::new("bash").arg(dir.join("o o/slurm/collect.sbatch")).output().unwrap();
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    assert!(String::from_utf8_lossy(&o.stdout).contains("b against a"));
    // The same tables as trained here.
    ok(dir, &["study", "p.toml", "--out", "here", "--quiet"]);
    assert_eq!(written(&dir.join("here")), written(&dir.join("o o")));
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let quick = plans().join("quick.toml");
    let quick = quick.to_str().unwrap();
    let fails = |code: i32, says: &str, args: &[&str]| {
        let o = growthpath(dir, args);
        let err = String::from_utf8_lossy(&o.stderr);
        assert_eq!(o.status.code(), Some(code), "{args:?}: {err}");
        assert!(err.contains(says) && !err.contains("panicked"), "{args:?}: `{says}` is missing in: {err}");
    };
    fails(2, "PLAN", &["study"]);
    fails(2, "ARM-seedN", &["study", quick, "--out", "x", "--only", "nobody-seed1"]);
    fails(2, "--jobs", &["study", quick, "--out", "x", "--jobs", "0"]);
    fails(2, "lr", &["study", quick, "--out", "x", "--", "--lr=-1"]);
    fails(2, "unknown flag", &["study", quick, "--out", "x", "--", "--nonsense"]);
    fails(1, "not.toml", &["study", "not.toml"]);
    assert!(!dir.join("x").exists(), "nothing is written before everything is checked");
}
