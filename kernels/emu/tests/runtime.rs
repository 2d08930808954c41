//! The emulator itself: it refuses what a GPU hangs on, and shows what it leaves undefined.

use growthpath_emu::{Arg, Launch, Schedule, kernels};

fn run(kernel: &str, schedule: Schedule, args: &[Arg<'_>]) -> Result<(), String> {
    let launch = Launch { grid: [1, 1, 1], block: [64, 1, 1], shared: 0, schedule };
    // SAFETY: the fixtures touch 64 elements of each array.
    unsafe { launch.run(kernel, args) }.map_err(|e| e.to_string())
}

fn rotate(kernel: &str, schedule: Schedule) -> Vec<f32> {
    let input: Vec<f32> = (0..64u8).map(f32::from).collect();
    let mut out = vec![-1.0f32; 64];
    run(kernel, schedule, &[(&input).into(), (&mut out).into()]).expect(kernel);
    out
}

#[test]
fn a_missing_barrier_shows_in_some_schedule_and_never_with_the_barrier() {
    let want: Vec<f32> = (0..64u8).map(|i| f32::from((i + 1) % 64)).collect();
    for schedule in Schedule::ALL {
        assert_eq!(rotate("fault_none", schedule), want, "{schedule:?}");
    }
    // Forward, a thread reads before its successor wrote: NaN. Reverse, all but the last thread look right.
    assert!(rotate("fault_missing_barrier", Schedule::Forward)[0].is_nan());
    assert_eq!(rotate("fault_missing_barrier", Schedule::Reverse)[0], 1.0);
    assert!(rotate("fault_missing_barrier", Schedule::Reverse)[63].is_nan());
}

#[test]
fn faults_are_refused_by_name() {
    for (kernel, says) in [
        ("fault_divergent_barrier", "not reached by every thread"),
        ("fault_two_barriers", "different __syncthreads"),
        ("fault_incomplete_mask", "not reached by all lanes"),
        ("fault_lane_outside_mask", "takes no part"),
    ] {
        for schedule in Schedule::ALL {
            let mut out = vec![0f32; 64];
            let error = run(kernel, schedule, &[(&mut out).into()]).expect_err(kernel);
            assert!(error.contains(says), "{kernel}, {schedule:?}: {error}");
        }
    }
}

#[test]
fn shared_memory_starts_as_nan() {
    let mut out = vec![0f32; 64];
    run("fault_unwritten_shared", Schedule::Forward, &[(&mut out).into()]).expect("runs");
    assert!(out[63].is_nan() && out[..63].iter().all(|v| *v == 1.0));
}

#[test]
fn wrong_launches_are_refused() {
    let mut out = vec![0f32; 64];
    let unknown = run("no_such_kernel", Schedule::Forward, &[]).expect_err("unknown");
    assert!(unknown.contains("no such kernel"), "{unknown}");
    let few = run("fault_none", Schedule::Forward, &[(&mut out).into()]).expect_err("too few");
    assert!(few.contains("takes 2 arguments, not 1"), "{few}");
    let size = run("fault_none", Schedule::Forward, &[(&mut out).into(), 3i32.into()]).expect_err("size");
    assert!(size.contains("wrong size"), "{size}");
    let launch = Launch { grid: [1, 1, 1], block: [1025, 1, 1], shared: 0, schedule: Schedule::Forward };
    // SAFETY: refused before a thread runs.
    let wide = unsafe { launch.run("fault_divergent_barrier", &[(&mut out).into()]) }.expect_err("wide");
    assert!(wide.message.contains("1 to 1024 threads"), "{wide}");
}

#[test]
fn every_export_is_registered() {
    let names = kernels();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../cuda");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("kernels/cuda").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a kernel file");
        // A kernel is written out, or a macro whose lines are continued makes it.
        let written = |l: &&str| l.contains("extern \"C\" __global__") && !l.trim_end().ends_with('\\');
        let uses = text.lines().filter(|l| l.starts_with("EXPORT_")).count();
        count += text.lines().filter(written).count() + uses;
    }
    let ours = names.iter().filter(|n| !n.starts_with("fault_") && !n.starts_with("instruction_")).count();
    assert_eq!(ours, count, "{names:?}");
    assert!(names.iter().all(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')));
}

/// Only under the sanitizer, in a process of its own: it has to end there.
#[cfg(feature = "sanitize")]
#[test]
fn the_sanitizer_sees_the_end_of_shared_and_global_memory() {
    if let Ok(kernel) = std::env::var("EMU_OVERFLOW") {
        let mut out = vec![0f32; 64];
        let _ = run(&kernel, Schedule::Forward, &[(&mut out).into()]);
        return;
    }
    for kernel in ["fault_shared_overflow", "fault_global_overflow"] {
        let me = std::env::current_exe().expect("the test's own path");
        let child = std::process::Command::new(me)
            .args(["the_sanitizer_sees_the_end_of_shared_and_global_memory", "--nocapture"])
            .env("EMU_OVERFLOW", kernel)
            .output()
            .expect("the test runs itself");
        let text = String::from_utf8_lossy(&child.stderr);
        assert!(!child.status.success() && text.contains("heap-buffer-overflow"), "{kernel}: {text}");
    }
}
