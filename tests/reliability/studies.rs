//! Studies beside a live one, after a kill, and with an arm that diverges.

use growthpath_trace::Status;

use crate::support::*;

fn plan(d: &Dir, steps: &str, arms: &str) {
    let flags =
        [&SMALL[..SMALL.len() - 1], &["--steps", steps, "--checkpoint-every", "2", "--probe-every", "2"]]
            .concat();
    let text = format!("flags = {flags:?}\nseeds = [1]\ncompare = [[\"a\", \"b\"]]\n{arms}");
    std::fs::write(d.path("plan.toml"), text).unwrap();
}

const TWO: &str = "[[arms]]\nname = \"a\"\n[[arms]]\nname = \"b\"\nflags = [\"--preset\", \"llama\"]\n";

const RESUME: &[&str] = &["study", "plan.toml", "--out", "s", "--quiet", "--resume"];

#[test]
fn a_live_study_is_not_touched() {
    let d = Dir::new();
    plan(&d, "1500", TWO);
    let mut live = d.start("study", &RESUME[..5]);
    wait_for("the first arm", || d.path("s/a-seed1/tokens.safetensors").exists());
    d.fails(1, &["is being written by another process"], RESUME);
    // A run of it that somebody started alone is live as well, whoever holds the study.
    assert!(live.try_wait().unwrap().is_none());
    send(&live, "INT");
    assert_eq!(live.wait().unwrap().code(), Some(130));
    assert_eq!(d.status("s/a-seed1"), Status::Interrupted);
    let mut arm = d.start("arm", &["train", "--resume", "--out", "s/a-seed1", "--quiet"]);
    wait_for("the arm's resumption", || d.status("s/a-seed1") == Status::Running);
    // Held where it is: it would be complete by the time that the study has trained the other arm.
    send(&arm, "STOP");
    d.fails(1, &["a-seed1", "is being written by another process"], RESUME);
    send(&arm, "CONT");
    send(&arm, "INT");
    assert_eq!(arm.wait().unwrap().code(), Some(130));
}

#[test]
fn a_kill_before_run_json_does_not_stick() {
    let d = Dir::new();
    plan(&d, "6", TWO);
    d.ok(&["study", "plan.toml", "--out", "whole", "--quiet"]);
    for left in
        [&[][..], &["manifest.json"], &["manifest.json", ".run.json.77-0.tmp"], &[".manifest.json.77-0.tmp"]]
    {
        std::fs::create_dir_all(d.path("s/a-seed1")).unwrap();
        for file in left {
            std::fs::write(d.path("s/a-seed1").join(file), "{\"schema_version\": 2, \"parts\": []}").unwrap();
        }
        d.ok(RESUME);
        for arm in ["a-seed1", "b-seed1"] {
            d.same(&format!("whole/{arm}"), &format!("s/{arm}"), 6);
        }
        std::fs::remove_dir_all(d.path("s")).unwrap();
    }
}

#[test]
fn a_diverging_arm_neither_ends_a_resumed_study_nor_passes_for_a_result() {
    let d = Dir::new();
    let wild = "[[arms]]\nname = \"a\"\nflags = [\"--lr\", \"1e30\", \"--clip\", \"0\", \"--optimizer\", \"sgd\"]\n[[arms]]\nname = \"b\"\n";
    plan(&d, "40", wild);
    let check = |said: String| {
        let of_a = said.lines().find(|l| l.starts_with("a ")).unwrap().to_owned();
        assert!(of_a.contains("0 of 1") && of_a.contains(" - "), "{said}");
        assert!(
            said.contains("a seed 1: diverged after") && said.contains("no seed in which both finished"),
            "{said}"
        );
        assert_eq!((d.status("s/a-seed1"), d.status("s/b-seed1")), (Status::Diverged, Status::Complete));
        let page = std::fs::read_to_string(d.path("s/report.html")).unwrap();
        assert!(page.contains("a (diverged after"), "the report says nothing of it");
    };
    check(d.ok(&["study", "plan.toml", "--out", "s", "--quiet"]));
    // As if the process had died just before the step that diverges, and again before the other arm.
    d.forget_its_end("s/a-seed1");
    std::fs::remove_dir_all(d.path("s/b-seed1")).unwrap();
    check(d.ok(RESUME));
    check(d.ok(RESUME));
}
