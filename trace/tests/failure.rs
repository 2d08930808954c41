//! Misuse and failing disks: one clear error, and what was flushed stays.

mod common;

use common::*;
use growthpath_trace::*;

const CHILD: &str = "GROWTHPATH_TRACE_TEST_CHILD";
const MODEL: Model = Model { seed: 31, layers: 2, heads: 2, telemetry_every: 1, probe_every: 3, wild: false };

/// A writer with the steps below 3 flushed.
fn started() -> (tempfile::TempDir, RunWriter) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create_with(dir.path().join("run"), &MODEL.info(9), patient()).unwrap();
    for step in 0..3 {
        MODEL.push_step(&mut writer, step).unwrap();
    }
    writer.flush().unwrap();
    (dir, writer)
}

#[test]
fn occupied_directories_are_refused() {
    let (dir, writer) = started();
    writer.finish(Status::Interrupted).unwrap();
    let run = dir.path().join("run");
    let error = RunWriter::create(&run, &MODEL.info(9)).unwrap_err();
    assert!(matches!(error, Error::AlreadyARun { .. }), "{error:?}");
    let error = RunWriter::create(dir.path(), &MODEL.info(9)).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }), "{error:?}");
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let error = RunWriter::create(dir.path().join("file"), &MODEL.info(9)).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_holds(&run, &MODEL, 3);
}

#[test]
fn rows_out_of_order_are_refused_and_do_no_harm() {
    let (dir, mut writer) = started();
    let again = MODEL.rows::<StepRow>(2);
    let error = writer.push(&again).unwrap_err();
    assert!(matches!(error, Error::OutOfOrder { table: Table::Steps, .. }), "{error:?}");
    assert!(error.to_string().contains("step=2"), "{error}");
    let mut swapped = MODEL.rows::<HeadRow>(3);
    swapped.swap(1, 2);
    let error = writer.heads(&swapped).unwrap_err();
    assert!(error.to_string().contains("layer=0 head=1"), "{error}");
    // Nothing of the refused rows was taken, and recording goes on.
    MODEL.push_step(&mut writer, 3).unwrap();
    writer.finish(Status::Interrupted).unwrap();
    assert_holds(&dir.path().join("run"), &MODEL, 4);
}

#[test]
fn a_removed_directory_gives_one_clear_error() {
    let (dir, mut writer) = started();
    std::fs::remove_dir_all(dir.path().join("run")).unwrap();
    MODEL.push_step(&mut writer, 3).unwrap();
    let error = writer.flush().unwrap_err();
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("run"), "{error:?}");
    let first = error.to_string();
    // From here on the first reason is repeated, whatever is tried.
    for error in [MODEL.push_step(&mut writer, 4).unwrap_err(), writer.flush().unwrap_err()] {
        assert!(matches!(&error, Error::WriterStopped { reason } if *reason == first), "{error:?}");
    }
    assert!(writer.finish(Status::Complete).is_err());
    assert!(!dir.path().join("run").exists());
}

/// Not a test of its own: what the child process with a small limit on the size of files does.
#[test]
fn child_with_small_files() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let mut writer = RunWriter::resume(&dir, 3).unwrap();
    // Many rows of one step, so that one part outgrows the limit.
    let losses: Vec<EvalLossRow> = (10..40_000_u32)
        .map(|sequence| EvalLossRow { step: 3, sequence, loss: f64::from_bits(mix(sequence.into()) >> 2) })
        .collect();
    MODEL.push_step(&mut writer, 3).unwrap();
    writer.eval_losses(&losses).unwrap();
    let error = writer.flush().unwrap_err();
    let Error::Io { path, source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::FileTooLarge);
    assert!(path.ends_with("eval_losses/part-000001.parquet"), "{error}");
}

/// A limit on the size of files stands for a full disk: the write itself fails, in the middle.
#[test]
#[cfg(target_os = "linux")]
fn a_write_that_fails_gives_one_clear_error_and_leaves_the_parts() {
    let (dir, writer) = started();
    writer.finish(Status::Interrupted).unwrap();
    let run = dir.path().join("run");
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" child_with_small_files --exact"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, &run)
        // The limit holds for a log that this test prints into as well.
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    // Step 3 is lost as a whole: the parts already renamed are not in the manifest, and nothing half written is left.
    assert_holds(&run, &MODEL, 3);
    let report = Run::open(&run).unwrap().check_integrity();
    assert!(report.is_ok() && !report.strays.iter().any(|s| s.ends_with(".tmp")), "{report:?}");
    let mut writer = RunWriter::resume(&run, 3).unwrap();
    for step in 3..9 {
        MODEL.push_step(&mut writer, step).unwrap();
    }
    writer.finish(Status::Complete).unwrap();
    assert_holds(&run, &MODEL, 9);
}

/// Nobody goes on with a complete run, so what could not be removed on the way is removed at its end.
#[test]
fn temporary_files_do_not_outlive_the_run() {
    let (dir, writer) = started();
    let run = dir.path().join("run");
    let files = [
        ".manifest.json.1-0.tmp",
        "checkpoints/.step-2.1-1.tmp/part",
        "heads/.part-000000.parquet.1-2.tmp/x",
    ];
    for file in files {
        std::fs::create_dir_all(run.join(file).parent().unwrap()).unwrap();
        std::fs::write(run.join(file), "cut short").unwrap();
    }
    assert_eq!(Run::open(&run).unwrap().check_integrity().strays.len(), 3);
    writer.finish(Status::Complete).unwrap();
    assert!(Run::open(&run).unwrap().check_integrity().strays.is_empty());
    assert_holds(&run, &MODEL, 3);
}

#[test]
fn a_directory_that_was_replaced_is_left_alone() {
    let (dir, mut writer) = started();
    let run = dir.path().join("run");
    std::fs::remove_dir_all(&run).unwrap();
    let other = RunWriter::create_with(&run, &MODEL.info(9), patient()).unwrap();
    MODEL.push_step(&mut writer, 3).unwrap();
    assert!(matches!(writer.flush().unwrap_err(), Error::Replaced { .. }));
    assert!(matches!(writer.update_info(|_| ()).unwrap_err(), Error::Replaced { .. }));
    other.finish(Status::Interrupted).unwrap();
    assert_eq!(Run::open(&run).unwrap().parts().len(), 0);
}

#[test]
fn an_error_in_the_background_surfaces_without_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let options = WriterOptions { flush_rows: 1, ..patient() };
    let mut writer = RunWriter::create_with(dir.path().join("run"), &MODEL.info(9), options).unwrap();
    std::fs::remove_dir_all(dir.path().join("run")).unwrap();
    // Each push hands over; the channel holds two buffers, so the error shows within a few pushes or the third blocks
    // until it has happened.
    let failed = (0..1000).find_map(|step| writer.steps(MODEL.rows::<StepRow>(step)[0]).err());
    assert!(matches!(failed, Some(Error::Io { .. })), "{failed:?}");
}

#[test]
fn run_json_is_changed_as_a_whole() {
    let (dir, mut writer) = started();
    writer
        .update_info(|info| {
            info.label = "gpt".to_owned();
            info.schema_version = 99;
        })
        .unwrap();
    let info = Run::open(dir.path().join("run")).unwrap().info().clone();
    assert_eq!((info.label.as_str(), info.schema_version), ("gpt", SCHEMA_VERSION));
    assert_eq!(&info, writer.info());
    assert!(Run::open(dir.path().join("run")).unwrap().check_integrity().strays.is_empty());
}

#[test]
fn a_bad_compression_level_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let options = WriterOptions { zstd_level: 99, ..patient() };
    let mut writer = RunWriter::create_with(dir.path(), &MODEL.info(9), options).unwrap();
    MODEL.push_step(&mut writer, 0).unwrap();
    assert!(matches!(writer.flush().unwrap_err(), Error::Encode { .. }));
}
