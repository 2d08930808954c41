//! Refused commands leave nothing behind, and say what to change.

use crate::support::*;

#[test]
fn a_refused_run_leaves_no_directory() {
    let d = Dir::new();
    std::fs::write(d.path("short"), "a text that is rather short. ".repeat(12)).unwrap();
    for (code, says, more) in [
        (2, "--eval-sequences", &["--eval-sequences", "0"][..]),
        (2, "--beta1", &["--beta1", "1"]),
        (2, "--beta2", &["--beta2", "-0.1"]),
        (2, "--beta2", &["--beta2", "nan"]),
        (2, "--momentum", &["--optimizer", "sgd", "--momentum", "1.5"]),
        (2, "--maturity-lag", &["--maturity-lag", "2"]),
        (
            2,
            "--maturity-threshold",
            &["--intervene", "upper-qk", "--hold", "adaptive", "--maturity-threshold", "7"],
        ),
        (2, "--probe-threshold", &["--probe-threshold", "-1"]),
        (2, "--probe-budget", &["--probe-budget", "0"]),
        (2, "--batch", &["--batch", "18446744073709551615"]),
        (2, "--batch", &["--batch", "0"]),
        (2, "memory", &["--set", "width=65536", "--set", "layers=400"]),
        (2, "context", &["--set", "context=1"]),
        (2, "--checkpoint-minutes", &["--checkpoint-minutes", "-1"]),
        (2, "--checkpoint-minutes", &["--checkpoint-minutes", "inf"]),
        (1, "probe", &["--data", "short", "--probe-sequences", "9", "--probe-every", "1"]),
        (1, "gone", &["--data", "gone"]),
    ] {
        d.fails(code, &[says], &train("deep/er/x", "3", more));
        assert!(!d.path("deep").exists(), "{more:?}");
    }
    // An empty directory of the user's stays, and stays empty.
    std::fs::create_dir(d.path("mine")).unwrap();
    d.fails(2, &["--eval-sequences"], &train("mine", "3", &["--eval-sequences", "0"]));
    assert!(names(&d.path("mine")).is_empty());
    d.ok(&train("mine", "3", &[]));
    d.ok(&train("deep/er/x", "3", &[]));
}

#[test]
fn a_full_disk_at_the_start_leaves_no_directory() {
    let d = Dir::new();
    let program = assert_cmd::cargo::cargo_bin("growthpath");
    // A limit on the size of files stands for a full disk.
    let out = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(program)
        .args(train("x", "3", &[]))
        .current_dir(d.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("x/") && !said.contains("panicked"), "{said}");
    assert!(!d.path("x").exists(), "{:?}", names(&d.path("x")));
}

#[test]
fn flags_that_contradict_the_run_to_be_resumed_are_refused() {
    let d = Dir::new();
    d.ok(&train("whole", "9", &["--checkpoint-every", "3"]));
    d.ok(&train("a", "9", &["--checkpoint-every", "3"]));
    std::fs::remove_dir_all(d.path("a/checkpoints/step-9")).unwrap();
    d.forget_its_end("a");
    let again = |more: &[&'static str]| [&["train", "--resume", "--out", "a", "--quiet"], more].concat();
    for (says, more) in [
        ("--steps", &["--steps", "20"][..]),
        // The default is a value too.
        ("--steps", &["--steps", "300"]),
        ("--lr", &["--lr", "0.5"]),
        ("--seed", &["--seed", "2"]),
        ("--preset", &["--preset", "llama"]),
        ("--set layers", &["--set", "layers=3"]),
        ("--intervene", &["--intervene", "upper-qk"]),
        ("--optimizer", &["--optimizer", "sgd"]),
        ("--label", &["--label", "other"]),
        ("--data", &["--data", "elsewhere"]),
        ("--checkpoint-probes", &["--checkpoint-probes"]),
    ] {
        d.fails(2, &[says, "the run to be resumed"], &again(more));
    }
    d.ok(&again(&["--steps", "9", "--seed", "1", "--preset", "gpt", "--set", "layers=2", "--threads", "1"]));
    d.same("whole", "a", 9);
}

#[test]
fn a_refused_study_leaves_nothing() {
    let d = Dir::new();
    for (says, flags) in [
        ("--beta1", r#"["--beta1", "2"]"#),
        ("--eval-sequences", r#"["--eval-sequences", "0"]"#),
        ("gone", r#"["--data", "gone"]"#),
    ] {
        let plan = format!(
            "flags = [\"--size\", \"nano\", \"--steps\", \"4\"]\nseeds = [1]\n[[arms]]\nname = \"good\"\n[[arms]]\nname = \"bad\"\nflags = {flags}\n"
        );
        std::fs::write(d.path("plan.toml"), plan).unwrap();
        let out = d.run(&["study", "plan.toml", "--quiet"]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(says), "{said}");
        assert!(!d.path("plan").exists(), "{says}");
    }
}
