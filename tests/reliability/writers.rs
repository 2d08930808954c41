//! Two writers, and what is left of one that was stopped in the middle.

use growthpath_trace::{Run, Status};

use crate::support::*;

#[test]
fn a_run_that_is_written_is_not_touched_by_another() {
    let d = Dir::new();
    let mut live = d.start("a", &train("a", "3000", &[]));
    wait_for("the run's beginning", || d.path("a/tokens.safetensors").exists());
    d.fails(1, &["is being written by another process"], &["train", "--resume", "--out", "a", "--quiet"]);
    d.fails(1, &["a"], &train("a", "5", &[]));
    send(&live, "INT");
    assert_eq!(live.wait().unwrap().code(), Some(130));
    assert!(d.ok(&["verify", "a"]).contains("all checks hold"));
}

#[test]
fn a_run_whose_directory_was_replaced_stops_and_leaves_the_other_whole() {
    let d = Dir::new();
    let mut first = d.start("first", &train("a", "100000", &["--checkpoint-minutes", "1e-9"]));
    wait_for("a checkpoint", || !names(&d.path("a/checkpoints")).is_empty());
    // It goes on writing while it is being removed.
    while d.path("a").exists() {
        let _ = std::fs::remove_dir_all(d.path("a"));
    }
    d.ok(&train("a", "12", &[]));
    assert_eq!(first.wait().unwrap().code(), Some(1), "{}", d.log("first"));
    d.ok(&train("alone", "12", &[]));
    d.same("alone", "a", 12);
    assert_eq!(d.status("a"), Status::Complete);
}

#[test]
fn leftovers_are_named_and_then_removed() {
    let d = Dir::new();
    d.ok(&train("whole", "8", &["--checkpoint-every", "4"]));
    d.ok(&train("a", "8", &["--checkpoint-every", "4"]));
    std::fs::remove_dir_all(d.path("a/checkpoints/step-8")).unwrap();
    d.forget_its_end("a");
    let files = [".manifest.json.1-0.tmp", "heads/.part-000001.parquet.1-2.tmp", "heads/part-000077.parquet"];
    for file in files {
        std::fs::write(d.path("a").join(file), "cut short").unwrap();
    }
    let folder = "checkpoints/.step-8.1-3.tmp";
    std::fs::create_dir(d.path("a").join(folder)).unwrap();
    std::fs::write(d.path("a").join(folder).join("model.safetensors"), "cut short").unwrap();
    let said = d.ok(&["verify", "a"]);
    let json: serde_json::Value = serde_json::from_slice(&d.run(&["verify", "a", "--json"]).stdout).unwrap();
    let told = json["integrity"]["strays"].to_string();
    for stray in files.iter().chain([&folder]) {
        assert!(said.contains(stray) && told.contains(stray), "{stray}: {said} {told}");
    }
    d.ok(&["train", "--resume", "--out", "a", "--quiet"]);
    d.same("whole", "a", 8);
    assert!(!d.ok(&["verify", "a"]).contains("leftover"));
    assert!(Run::open(d.path("a")).unwrap().check_integrity().strays.is_empty());
}
