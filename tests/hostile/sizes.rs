//! Sizes from flags and files are held against what there is before anything is allocated.

use growthpath_trace::RunInfo;

use crate::support::*;

/// With 8 GiB of address space, so that a reservation that should not be made is an abort.
#[track_caller]
fn refused(d: &Dir, code: i32, says: &[&str], args: &[&str]) {
    let program = assert_cmd::cargo::cargo_bin("growthpath");
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "ulimit -v 8388608; exec \"$0\" \"$@\""])
        .arg(program)
        .args(args)
        .current_dir(d.path(""));
    let o = command.output().unwrap();
    let said = String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr);
    assert_eq!(o.status.code(), Some(code), "{args:?}: {said}");
    assert!(!said.contains("panicked") && !said.contains("a bug in"), "{args:?}: {said}");
    for s in says {
        assert!(said.contains(s), "{args:?}: `{s}` is missing in: {said}");
    }
}

/// Address space that a small run on 64 threads takes: 1 GiB that the allocator reserves at the start, 4 MiB of packed
/// factors and 2 MiB of stack a thread, and what the allocator keeps for each thread, some 10 MiB: 2.1 GiB as measured. With
/// packed factors as large as the machine's last cache (see `faer` in Cargo.toml) it would be 8 GiB on a machine with 32 MiB,
/// and 34 with 256.
#[test]
#[cfg(target_os = "linux")]
fn address_space_does_not_grow_with_cores_and_caches() {
    let d = Dir::new();
    let limit = "ulimit -v 3145728; exec \"$0\" \"$@\"";
    let args = train("run", "4", &["--threads", "64", "--probe-every", "2"]);
    let program = assert_cmd::cargo::cargo_bin("growthpath");
    let mut command = std::process::Command::new("sh");
    let o = command.args(["-c", limit]).arg(program).args(args).current_dir(d.path("")).output().unwrap();
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    assert!(d.ok(&["verify", "run"]).contains("all checks hold"));
}

#[test]
fn flags_of_impossible_sizes_are_usage_errors() {
    let d = Dir::new();
    let most = u64::MAX.to_string();
    let (context, width) = (format!("context={most}"), format!("width={most}"));
    let (hidden, vocab) = (format!("hidden={most}"), format!("vocab={most}"));
    for (says, more) in [
        ("--batch", &["--batch", &most][..]),
        ("--batch", &["--batch", "4294967296"]),
        ("--batch", &["--batch", "576460752303423488"]),
        ("65536", &["--set", "width=65536"]),
        ("width", &["--set", &width]),
        ("too large", &["--set", &context]),
        ("too large", &["--set", &hidden]),
        ("layers", &["--set", "layers=100000"]),
        ("heads", &["--set", "heads=65536", "--set", "width=65536"]),
        ("vocab", &["--set", &vocab]),
        ("vocabulary of 100", &["--set", "vocab=100"]),
        ("memory", &["--set", "vocab=4294967295"]),
    ] {
        let args =
            [&["train", "--out", "x", "--steps", "3", "--data", "text", "--size", "micro"], more].concat();
        refused(&d, 2, &[says], &args);
    }
    assert!(!d.path("x").exists());
    // A padded vocabulary is one.
    d.ok(&train("padded", "3", &["--set", "vocab=300"]));
    let config = std::fs::read_to_string(d.path("padded/checkpoints/step-3/config.json")).unwrap();
    assert!(config.contains("\"vocab_size\": 300"), "{config}");
}

#[test]
fn files_that_swell_are_refused_or_read_in_bounded_memory() {
    let d = Dir::new();
    d.ok(&train("run", "3", &[]));
    let path = d.path("run/run.json");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, vec![b' '; 220 << 20]).unwrap();
    refused(&d, 1, &["run.json", "bytes"], &["verify", "run"]);
    // Just below the limit, a list of millions of numbers.
    let list = format!("{{\"schema_version\": 2, \"config\": [{}0]}}", "0,".repeat(7 << 20));
    std::fs::write(&path, list).unwrap();
    refused(&d, 1, &["run.json"], &["verify", "run"]);
    std::fs::write(&path, "[".repeat(15 << 20)).unwrap();
    refused(&d, 1, &["run.json"], &["verify", "run"]);
    std::fs::write(&path, &good).unwrap();
    // Claims of the configuration decide no allocation.
    for (pointer, value) in [("steps", u64::from(u32::MAX)), ("batch", u64::MAX), ("eval_every", 1)] {
        RunInfo::rewrite(&d.path("run"), |i| i["config"][pointer] = value.into()).unwrap();
        let o = d.run(&["verify", "run"]);
        assert!(matches!(o.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&o.stderr));
        std::fs::write(&path, &good).unwrap();
    }
}

#[test]
fn a_tokenizer_with_a_huge_id_is_refused() {
    let d = Dir::new();
    for (name, vocab, added) in [
        ("vocab", "{\"a\": 0, \"b\": 4294967290}", "[]"),
        (
            "added",
            "{\"a\": 0}",
            "[{\"id\": 4294967290, \"content\": \"<x>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}]",
        ),
    ] {
        let json = format!(
            "{{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": {added}, \"normalizer\": null, \"pre_tokenizer\": null, \"post_processor\": null, \"decoder\": null, \"model\": {{\"type\": \"WordLevel\", \"vocab\": {vocab}, \"unk_token\": \"a\"}}}}"
        );
        let file = format!("{name}.json");
        std::fs::write(d.path(&file), json).unwrap();
        let args = ["train", "--out", "x", "--steps", "3", "--data", "text", "--tokenizer", &file];
        refused(&d, 1, &["id 4294967290", &file], &args);
    }
}
