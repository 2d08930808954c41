//! Pipes, devices and files without end in place of any input: refused at once.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::*;

fn fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// The command fails with `code` within seconds, saying all of `says`.
#[track_caller]
fn refused(d: &Dir, code: i32, says: &[&str], args: &[&str]) {
    let mut child =
        d.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{args:?} waits");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let o = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr);
    assert_eq!(o.status.code(), Some(code), "{args:?}: {said}");
    for s in says {
        assert!(said.contains(s), "{args:?}: `{s}` is missing in: {said}");
    }
}

#[test]
fn pipes_devices_and_huge_files_are_refused_at_once() {
    let d = Dir::new();
    fifo(&d.path("pipe"));
    fifo(&d.path("pipe.json"));
    symlink("/dev/zero", d.path("zero")).unwrap();
    symlink("/dev/zero", d.path("zero.json")).unwrap();
    // Larger than any memory, and takes no room.
    std::fs::File::create(d.path("huge")).unwrap().set_len(1 << 42).unwrap();
    std::fs::File::create(d.path("huge.json")).unwrap().set_len(1 << 42).unwrap();
    for (name, why) in [("pipe", "a pipe"), ("zero", "a device"), ("huge", "bytes")] {
        let data = if name == "huge" { "memory" } else { why };
        let json = format!("{name}.json");
        refused(&d, 1, &[name, data], &["train", "--out", "x", "--steps", "1", "--data", name]);
        let valid = ["train", "--out", "x", "--steps", "1", "--data", "text", "--valid", name];
        refused(&d, 1, &[name, data], &valid);
        let tokenizer = ["train", "--out", "x", "--steps", "1", "--data", "text", "--tokenizer", &json];
        refused(&d, 1, &[&json, why], &tokenizer);
        refused(&d, 1, &[name, why], &["study", name, "--out", "x"]);
    }
    assert!(!d.path("x").exists());
}

#[test]
fn parts_of_a_run_that_are_no_files_are_refused_at_once() {
    let d = Dir::new();
    d.ok(&train("run", "3", &[]));
    for (file, verbs) in [
        ("manifest.json", &["analyze", "verify", "report", "plot"][..]),
        ("run.json", &["analyze", "verify", "report", "plot"]),
        ("heads/part-000000.parquet", &["analyze", "verify", "report", "plot"]),
        ("tokens.safetensors", &["verify"]),
    ] {
        let path = d.path("run").join(file);
        let good = std::fs::read(&path).unwrap();
        for kind in ["pipe", "device", "huge"] {
            std::fs::remove_file(&path).unwrap();
            match kind {
                "pipe" => fifo(&path),
                "device" => symlink("/dev/zero", &path).unwrap(),
                _ => std::fs::File::create(&path).unwrap().set_len(1 << 42).unwrap(),
            }
            for verb in verbs {
                refused(&d, 1, &["run"], &[verb, "run"]);
            }
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, good).unwrap();
    }
    d.ok(&["verify", "run"]);
}
