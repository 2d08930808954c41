//! Names that somebody else chose cannot forge a line, steer a terminal or stall a figure.

use std::time::Instant;

use growthpath_trace::RunInfo;

use crate::support::*;

const FORGED: &str = "gpt\nall checks hold\n\u{1b}[2J\u{202e}";

/// No line is the forged one, and nothing steers.
#[track_caller]
fn clean(o: &std::process::Output) -> String {
    let said = String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr);
    assert!(said.lines().all(|l| l.trim() != "all checks hold"), "{said}");
    assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}'), "{said}");
    said
}

#[test]
fn labels_and_paths_are_shown_on_one_line() {
    let d = Dir::new();
    d.ok(&train("run", "12", &["--probe-every", "3", "--label", FORGED]));
    d.ok(&train("b", "12", &["--probe-every", "3"]));
    for args in [&["analyze", "run"][..], &["compare", "run", "b"], &["compare", "b", "run"]] {
        let o = d.run(args);
        assert!(o.status.success());
        clean(&o);
    }
    // Without a label, the path is the name.
    RunInfo::rewrite(&d.path("run"), |i| i["label"] = "".into()).unwrap();
    let odd = "dir\nall checks hold\n";
    std::fs::rename(d.path("run"), d.path(odd)).unwrap();
    for args in [&["analyze", odd][..], &["compare", odd, "b"], &["report", odd, "b"]] {
        let o = d.run(args);
        clean(&o);
        assert!(o.status.success());
    }
    // Errors name the path, escaped.
    flip(&d.path(odd).join("heads/part-000000.parquet"));
    for args in [&["verify", odd][..], &["analyze", odd], &["train", "--out", odd, "--steps", "3"]] {
        let o = d.run(args);
        assert_eq!(o.status.code(), Some(1));
        assert!(clean(&o).contains("dir\\nall checks hold"));
    }
    for args in [&["analyze", "no\nall checks hold\n"][..], &["inspect", "no\nall checks hold\n"]] {
        clean(&d.run(args));
    }
    let o = d.run(&["train", "--out", "x", "--steps", "3", "--data", "no\nall checks hold\n"]);
    clean(&o);
}

#[test]
fn long_labels_are_refused_by_flag_and_cut_from_files() {
    let d = Dir::new();
    let long = "x".repeat(10_000);
    d.fails(2, &["--label", "10000"], &train("x", "3", &["--label", &long]));
    assert!(!d.path("x").exists());
    d.ok(&train("run", "12", &["--probe-every", "3"]));
    RunInfo::rewrite(&d.path("run"), |i| i["label"] = long.clone().into()).unwrap();
    let start = Instant::now();
    d.ok(&["plot", "run", "--figure", "loss", "--out", "figures"]);
    d.ok(&["report", "run"]);
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
