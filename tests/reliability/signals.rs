//! Signals: what was done is kept, how to go on is said, and it goes on to the same bits.

use std::time::Instant;

use growthpath_trace::Status;

use crate::support::*;

#[test]
fn int_term_and_hup_leave_a_run_that_goes_on() {
    let d = Dir::new();
    let more = ["--probe-every", "50", "--intervene", "upper-qk", "--hold", "0.5"];
    d.ok(&train("whole", "400", &more));
    for (signal, code, name) in [("INT", 130, "SIGINT"), ("TERM", 143, "SIGTERM"), ("HUP", 129, "SIGHUP")] {
        let mut child = d.start(signal, &train(signal, "400", &more));
        wait_for("the run's beginning", || d.path(signal).join("tokens.safetensors").exists());
        std::thread::sleep(std::time::Duration::from_millis(300));
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let said = d.log(signal);
        assert!(
            said.contains(name) && said.contains(&format!("growthpath train --resume --out {signal}")),
            "{said}"
        );
        assert_eq!(d.status(signal), Status::Interrupted);
        assert!(d.ok(&["verify", signal]).contains("all checks hold"));
        assert_eq!(names(&d.path(signal).join("checkpoints")).len(), 1);
        d.ok(&["train", "--resume", "--out", signal, "--quiet"]);
        d.same("whole", signal, 400);
        assert_eq!(names(&d.path(signal).join("checkpoints")), ["step-400"]);
    }
}

#[test]
fn a_second_int_ends_at_once() {
    let d = Dir::new();
    // Steps of several seconds: the first INT is obeyed after one, the second before.
    let slow = ["train", "--out", "a", "--steps", "50", "--size", "mini", "--batch", "64", "--quiet"];
    let mut child = d.start("a", &slow);
    wait_for("the run's beginning", || d.path("a/tokens.safetensors").exists());
    let sent = Instant::now();
    send(&child, "INT");
    std::thread::sleep(std::time::Duration::from_millis(100));
    send(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(sent.elapsed().as_secs() < 5);
    assert_eq!(d.status("a"), Status::Running);
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let d = Dir::new();
    let program = assert_cmd::cargo::cargo_bin("growthpath");
    let mut nohup = std::process::Command::new("nohup");
    nohup.arg(program).current_dir(d.path("")).args(train("a", "200", &[]));
    nohup.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = nohup.spawn().unwrap();
    wait_for("the run's beginning", || d.path("a/tokens.safetensors").exists());
    send(&child, "HUP");
    assert!(child.wait().unwrap().success());
    assert_eq!(d.status("a"), Status::Complete);
}

#[test]
fn a_study_that_was_interrupted_goes_on() {
    let d = Dir::new();
    let plan = format!(
        "flags = {:?}\nseeds = [1]\n[[arms]]\nname = \"a\"\n[[arms]]\nname = \"b\"\nflags = [\"--preset\", \"llama\"]\n",
        [&SMALL[..SMALL.len() - 1], &["--steps", "300", "--probe-every", "50"]].concat()
    );
    std::fs::write(d.path("plan.toml"), plan).unwrap();
    d.ok(&["study", "plan.toml", "--out", "whole", "--quiet"]);
    let mut child = d.start("study", &["study", "plan.toml", "--out", "cut", "--quiet"]);
    wait_for("the first arm", || d.path("cut/a-seed1/tokens.safetensors").exists());
    send(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let said = d.log("study");
    assert!(said.contains("growthpath study plan.toml --out cut --resume"), "{said}");
    d.ok(&["study", "plan.toml", "--out", "cut", "--quiet", "--resume"]);
    for arm in ["a-seed1", "b-seed1"] {
        d.same(&format!("whole/{arm}"), &format!("cut/{arm}"), 300);
    }
}
