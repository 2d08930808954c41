//! Processes that die while they write.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::*;
use growthpath_trace::*;

const CHILD: &str = "GROWTHPATH_TRACE_TEST_CHILD";
const MODEL: Model = Model { seed: 21, layers: 2, heads: 2, telemetry_every: 1, probe_every: 3, wild: false };

/// Not a test of its own: what the child process does. Records 7 steps, flushes 5 of them, and waits to be killed.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let mut writer = RunWriter::create_with(&dir, &MODEL.info(9), patient()).unwrap();
    for step in 0..7 {
        MODEL.push_step(&mut writer, step).unwrap();
        if step == 1 || step == 4 {
            writer.flush().unwrap();
        }
    }
    println!("\nready");
    std::thread::sleep(std::time::Duration::from_secs(600));
}

fn spawn(dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"), "the child ended early");
    child
}

#[test]
fn a_killed_process_loses_only_what_was_not_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = spawn(dir.path());
    // While it lives, nobody else may write, and everybody may read.
    assert!(matches!(RunWriter::resume(dir.path(), 3).unwrap_err(), Error::InUse { .. }));
    assert_holds(dir.path(), &MODEL, 5);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_holds(dir.path(), &MODEL, 5);
    let run = Run::open(dir.path()).unwrap();
    assert_eq!(run.info().status, Status::Running);
    assert!(run.check_integrity().is_ok());

    let mut writer = RunWriter::resume(dir.path(), 4).unwrap();
    for step in 4..9 {
        MODEL.push_step(&mut writer, step).unwrap();
    }
    writer.finish(Status::Complete).unwrap();
    assert_holds(dir.path(), &MODEL, 9);
    assert!(Run::open(dir.path()).unwrap().check_integrity().is_ok());
}

#[test]
fn a_leaked_writer_and_leftover_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create_with(dir.path(), &MODEL.info(8), patient()).unwrap();
    for step in 0..6 {
        MODEL.push_step(&mut writer, step).unwrap();
        if step == 3 {
            writer.flush().unwrap();
        }
    }
    std::mem::forget(writer);
    // A flush cut short: one table's part in place, another's half written, the manifest half written.
    let heads = dir.path().join("heads");
    std::fs::copy(heads.join("part-000000.parquet"), heads.join("part-000001.parquet")).unwrap();
    std::fs::write(dir.path().join("writes/.part-000001.parquet.1-0.tmp"), b"PAR1 and so on").unwrap();
    std::fs::write(dir.path().join(".manifest.json.1-0.tmp"), b"{").unwrap();

    assert_holds(dir.path(), &MODEL, 4);
    let report = Run::open(dir.path()).unwrap().check_integrity();
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(report.strays.len(), 3, "{report:?}");

    let mut writer = RunWriter::resume(dir.path(), 4).unwrap();
    for step in 4..8 {
        MODEL.push_step(&mut writer, step).unwrap();
    }
    writer.finish(Status::Complete).unwrap();
    assert_holds(dir.path(), &MODEL, 8);
    let report = Run::open(dir.path()).unwrap().check_integrity();
    assert!(report.is_ok() && report.strays.is_empty(), "{report:?}");
    // The leaked writer still holds its lock, and locks out nobody in this process, however often they come.
    drop(RunWriter::resume(dir.path(), 8).unwrap());
}

#[test]
fn a_dropped_writer_still_writes() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create_with(dir.path(), &MODEL.info(8), patient()).unwrap();
    for step in 0..5 {
        MODEL.push_step(&mut writer, step).unwrap();
    }
    drop(writer);
    assert_holds(dir.path(), &MODEL, 5);
    assert_eq!(Run::open(dir.path()).unwrap().info().status, Status::Running);
}

#[test]
fn a_creation_cut_short_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("manifest.json"), b"{\"schema_version\": 1, \"parts\": []}").unwrap();
    std::fs::write(dir.path().join(".run.json.1-0.tmp"), b"{").unwrap();
    record(dir.path(), &MODEL, 3, 1);
    assert_holds(dir.path(), &MODEL, 3);
}

#[test]
fn parts_end_with_whole_steps_when_the_budget_is_spent() {
    let dir = tempfile::tempdir().unwrap();
    let options = WriterOptions { flush_rows: 20, ..patient() };
    let mut writer = RunWriter::create_with(dir.path(), &MODEL.info(40), options).unwrap();
    for step in 0..40 {
        MODEL.push_step(&mut writer, step).unwrap();
    }
    writer.flush().unwrap();
    let run = Run::open(dir.path()).unwrap();
    let heads: Vec<_> = run.parts().iter().filter(|p| p.table == Table::Heads).collect();
    assert!(heads.len() > 5, "{}", heads.len());
    for part in heads {
        assert_eq!(part.rows, u64::from(part.last_step - part.first_step + 1) * 4);
    }
}

/// Followers take a run for stopped whose files have not changed for long.
#[test]
fn a_run_that_holds_its_rows_shows_life() {
    let dir = tempfile::tempdir().unwrap();
    let options = WriterOptions { flush_interval: std::time::Duration::ZERO, ..patient() };
    let mut writer = RunWriter::create_with(dir.path(), &MODEL.info(40), options).unwrap();
    writer.hold();
    let manifest = dir.path().join("manifest.json");
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    std::fs::File::options().append(true).open(&manifest).unwrap().set_modified(long_ago).unwrap();
    MODEL.push_step(&mut writer, 0).unwrap();
    assert!(std::fs::metadata(&manifest).unwrap().modified().unwrap() > long_ago);
    assert_eq!(Run::open(dir.path()).unwrap().parts().len(), 0);
    writer.finish(Status::Interrupted).unwrap();
}

#[test]
fn rows_that_are_held_stay_off_the_disk_until_they_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let options = WriterOptions { flush_rows: 1, ..patient() };
    let mut writer = RunWriter::create_with(dir.path(), &MODEL.info(40), options).unwrap();
    writer.hold();
    for step in 0..30 {
        MODEL.push_step(&mut writer, step).unwrap();
    }
    // Long enough for the background thread, if it had anything.
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(Run::open(dir.path()).unwrap().parts().len(), 0);
    writer.release().unwrap();
    // Handed over without another push.
    let waited = std::time::Instant::now();
    while Run::open(dir.path()).unwrap().parts().is_empty() {
        assert!(waited.elapsed().as_secs() < 60, "released rows are not written");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_holds(dir.path(), &MODEL, 30);
    MODEL.push_step(&mut writer, 30).unwrap();
    writer.hold();
    // A flush that is asked for is done.
    writer.flush().unwrap();
    assert_holds(dir.path(), &MODEL, 31);
    writer.finish(Status::Complete).unwrap();
}
