//! Checkpoints: bound to their run and step, checked before they are used, kept by the clock.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::*;

const FILES: [&str; 6] = [
    "checkpoint.json",
    "config.json",
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "tokenizer.json",
];

/// Run `whole`, and `cut` as if its process had died after the checkpoint of step 8.
fn stopped(d: &Dir) {
    for out in ["whole", "cut"] {
        d.ok(&train(out, "12", &["--probe-every", "5", "--checkpoint-every", "4"]));
    }
    std::fs::remove_dir_all(d.path("cut/checkpoints/step-12")).unwrap();
    d.forget_its_end("cut");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            drop(std::fs::copy(entry.path(), target))
        }
    }
}

#[test]
fn a_flipped_bit_in_any_file_is_found_and_the_checkpoint_before_is_taken() {
    let d = Dir::new();
    stopped(&d);
    for file in FILES {
        copy(&d.path("cut"), &d.path("again"));
        let bad = format!("checkpoints/step-8/{file}");
        flip(&d.path("again").join(&bad));
        d.fails(1, &[&bad, "problem"], &["verify", "again"]);
        let said = d.ok(&["train", "--resume", "--out", "again", "--quiet"]);
        assert!(
            said.contains("skipped") && said.contains(file) && said.contains("resuming at step 4"),
            "{said}"
        );
        d.same("whole", "again", 12);
        std::fs::remove_dir_all(d.path("again")).unwrap();
    }
    // An empty file is what a power cut left of one that was not flushed.
    std::fs::write(d.path("cut/checkpoints/step-8/state.json"), "").unwrap();
    assert!(d.ok(&["train", "--resume", "--out", "cut", "--quiet"]).contains("state.json"));
    d.same("whole", "cut", 12);
}

#[test]
fn a_run_whose_only_checkpoint_is_damaged_is_not_trained_anew() {
    let d = Dir::new();
    stopped(&d);
    std::fs::remove_dir_all(d.path("cut/checkpoints/step-4")).unwrap();
    flip(&d.path("cut/checkpoints/step-8/optimizer.safetensors"));
    d.fails(
        1,
        &["optimizer.safetensors", "no other checkpoint"],
        &["train", "--resume", "--out", "cut", "--quiet"],
    );
    // The record is as it was.
    d.fails(1, &["optimizer.safetensors"], &["verify", "cut"]);
}

#[test]
fn weights_that_were_changed_are_neither_inspected_nor_begun_with() {
    let d = Dir::new();
    stopped(&d);
    let weights = "cut/checkpoints/step-8/model.safetensors";
    d.ok(&["inspect", "cut/checkpoints/step-8"]);
    flip(&d.path(weights));
    d.fails(1, &[weights, "was changed"], &["inspect", "cut/checkpoints/step-8"]);
    let init = ["train", "--init", "cut/checkpoints/step-8", "--steps", "2", "--out", "new", "--quiet"];
    d.fails(1, &[weights, "was changed"], &init);
    assert!(!d.path("new").exists());
}

#[test]
fn another_steps_and_another_runs_checkpoint_is_refused() {
    let d = Dir::new();
    stopped(&d);
    copy(&d.path("cut/checkpoints/step-4"), &d.path("cut/checkpoints/step-11"));
    copy(&d.path("whole/checkpoints/step-12"), &d.path("cut/checkpoints/step-12"));
    d.fails(
        1,
        &["checkpoints/step-11/checkpoint.json", "belongs to step 4", "step-12", "another run"],
        &["verify", "cut"],
    );
    let said = d.ok(&["train", "--resume", "--out", "cut", "--quiet"]);
    assert!(said.contains("belongs to step 4") && said.contains("resuming at step 8"), "{said}");
    // It is not ours to remove: `verify` goes on naming it until somebody does.
    d.fails(1, &["step-11"], &["verify", "cut"]);
    std::fs::remove_dir_all(d.path("cut/checkpoints/step-11")).unwrap();
    d.same("whole", "cut", 12);
}

#[test]
fn numbers_that_are_not_finite_are_refused_even_with_the_right_hash() {
    let d = Dir::new();
    stopped(&d);
    let path = d.path("cut/checkpoints/step-8/optimizer.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let seal = d.path("cut/checkpoints/step-8/checkpoint.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&seal).unwrap()).unwrap();
    json["files"]["optimizer.safetensors"]["blake3"] = blake3::hash(&bytes).to_hex().to_string().into();
    json.as_object_mut().unwrap().remove("blake3");
    let text = growthpath_trace::seal::seal(&serde_json::to_string_pretty(&json).unwrap());
    std::fs::write(&seal, text).unwrap();
    d.fails(1, &["step-8/optimizer.safetensors", "NaN"], &["verify", "cut"]);
    assert!(d.ok(&["train", "--resume", "--out", "cut", "--quiet"]).contains("resuming at step 4"));
    d.same("whole", "cut", 12);
}

#[test]
fn a_changed_run_json_is_refused_by_every_verb() {
    let d = Dir::new();
    stopped(&d);
    let path = d.path("cut/run.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"seed\": 1", "\"seed\": 3", 1)).unwrap();
    for verb in [&["verify", "cut"][..], &["analyze", "cut"], &["train", "--resume", "--out", "cut"]] {
        d.fails(1, &["run.json", "changed after it was written"], verb);
    }
    std::fs::write(&path, text.replacen("\"blake3\"", "\"blake\"", 1)).unwrap();
    d.fails(1, &["run.json"], &["verify", "cut"]);
    flip(&d.path("whole/tokens.safetensors"));
    d.fails(1, &["tokens.safetensors"], &["verify", "whole"]);
}

#[test]
fn files_have_the_mode_that_the_umask_leaves() {
    let d = Dir::new();
    let plain = d.path("plain");
    std::fs::write(&plain, "x").unwrap();
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    d.ok(&train("a", "3", &["--dump-step", "1"]));
    let mut files: Vec<_> = FILES.iter().map(|f| d.path("a/checkpoints/step-3").join(f)).collect();
    files.extend(["a/tokens.safetensors", "a/run.json", "a/dumps/step-1.safetensors"].map(|f| d.path(f)));
    for file in files {
        assert_eq!(mode(&file), mode(&plain), "{}", file.display());
    }
}

#[test]
fn a_run_resumed_from_its_last_checkpoint_says_no_nan() {
    let d = Dir::new();
    d.ok(&train("whole", "6", &[]));
    d.ok(&train("a", "6", &[]));
    d.forget_its_end("a");
    let said = d.ok(&["train", "--resume", "--out", "a", "--quiet"]);
    assert!(
        said.contains("resuming at step 6") && said.contains("validation loss") && !said.contains("NaN"),
        "{said}"
    );
    d.same("whole", "a", 6);
}

#[test]
fn checkpoints_by_the_clock_are_few_change_nothing_and_save_a_killed_run() {
    let d = Dir::new();
    d.ok(&train("whole", "60", &["--probe-every", "7", "--checkpoint-minutes", "0"]));
    let args = train("cut", "60", &["--probe-every", "7", "--checkpoint-minutes", "1e-9"]);
    let mut child = d.start("cut", &args);
    let checkpoints = d.path("cut/checkpoints");
    wait_for("automatic checkpoints", || {
        let newest = names(&checkpoints).iter().filter_map(|n| n.strip_prefix("step-")?.parse().ok()).max();
        newest.is_some_and(|n: u32| n >= 20)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = names(&checkpoints).iter().filter(|n| n.starts_with("step-")).count();
    // Two stay; a third may be on its way out.
    assert!((1..=3).contains(&kept), "{:?}", names(&checkpoints));
    assert!(d.ok(&["verify", "cut"]).contains("all checks hold"));
    let said = d.ok(&["train", "--resume", "--out", "cut", "--quiet", "--checkpoint-minutes", "1e-9"]);
    let step: u32 = said.split("resuming at step ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!(step >= 19, "{said}");
    d.same("whole", "cut", 60);
    assert_eq!(names(&checkpoints), ["step-60"]);
}

#[test]
fn a_run_that_was_killed_before_its_first_checkpoint_starts_again() {
    let d = Dir::new();
    d.ok(&train("whole", "12", &[]));
    d.ok(&train("cut", "12", &[]));
    std::fs::remove_dir_all(d.path("cut/checkpoints")).unwrap();
    d.forget_its_end("cut");
    let said = d.ok(&["train", "--resume", "--out", "cut", "--quiet"]);
    assert!(said.contains("starting again"), "{said}");
    d.same("whole", "cut", 12);
}
