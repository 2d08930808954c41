//! Each kind of problem is found, at its file, and nothing else is.

mod common;

use std::path::Path;

use common::*;
use growthpath_trace::*;

const MODEL: Model = Model { seed: 41, layers: 2, heads: 2, telemetry_every: 1, probe_every: 3, wild: false };

/// Records 7 steps with the rows of some tables changed on the way.
fn recorded(
    status: Status,
    steps: impl Fn(&mut Vec<StepRow>),
    heads: impl Fn(&mut Vec<HeadRow>),
    probe: impl Fn(&mut Vec<ProbeRow>),
) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create_with(dir.path(), &MODEL.info(7), patient()).unwrap();
    for step in 0..7 {
        let (mut s, mut h, mut p) = (MODEL.rows(step), MODEL.rows(step), MODEL.rows(step));
        steps(&mut s);
        heads(&mut h);
        probe(&mut p);
        writer.push(&p).unwrap();
        writer.push(&s).unwrap();
        writer.push(&h).unwrap();
        writer.push(&MODEL.rows::<WriteRow>(step)).unwrap();
    }
    writer.finish(status).unwrap();
    dir
}

fn problems(dir: &Path) -> Vec<(ProblemKind, String)> {
    let report = Run::open(dir).unwrap().check_integrity();
    report.problems.into_iter().map(|p| (p.kind, format!("{}: {}", p.file, p.message))).collect()
}

#[track_caller]
fn assert_only(dir: &Path, kind: ProblemKind, words: &[&str]) {
    let found = problems(dir);
    assert!(found.len() == 1 && found[0].0 == kind, "{found:?}");
    assert!(words.iter().all(|w| found[0].1.contains(w)), "{found:?}");
}

#[test]
fn a_sound_run_has_no_problems() {
    let dir = recorded(Status::Complete, |_| (), |_| (), |_| ());
    assert_eq!(problems(dir.path()), []);
    let report = Run::open(dir.path()).unwrap().check_integrity();
    assert_eq!((report.rows[&Table::Heads], report.rows[&Table::Writes]), (28, 28));
}

#[test]
fn a_missing_head() {
    let dir = recorded(Status::Complete, |_| (), |h| h.retain(|r| r.key()[..3] != [4, 1, 0]), |_| ());
    assert_only(dir.path(), ProblemKind::Gap, &["heads/part-000000.parquet", "step 4", "3 rows", "4"]);
}

#[test]
fn a_head_outside_the_model() {
    let wrong = |h: &mut Vec<HeadRow>| {
        h.iter_mut().filter(|r| r.step == 2 && r.layer == 1 && r.head == 1).for_each(|r| r.head = 9)
    };
    let dir = recorded(Status::Complete, |_| (), wrong, |_| ());
    assert_only(dir.path(), ProblemKind::OutOfRange, &["heads", "step=2 layer=1 head=9"]);
}

#[test]
fn a_missing_step() {
    let dir = recorded(Status::Complete, |s| s.retain(|r| r.step != 3), |_| (), |_| ());
    assert_only(dir.path(), ProblemKind::Gap, &["steps/part-000000.parquet", "step 4", "step 3"]);
}

#[test]
fn a_missing_first_and_last_step() {
    let dir = recorded(Status::Complete, |s| s.retain(|r| r.step != 0), |_| (), |_| ());
    assert_only(dir.path(), ProblemKind::Gap, &["steps", "step 1", "step 0"]);
    let dir = recorded(Status::Complete, |_| (), |h| h.retain(|r| r.step != 6), |_| ());
    assert_only(dir.path(), ProblemKind::Gap, &["manifest.json", "heads", "step 5", "step 6"]);
    let dir = recorded(Status::Complete, |_| (), Vec::clear, |_| ());
    assert_only(dir.path(), ProblemKind::Gap, &["heads", "before the first step", "step 6"]);
}

#[test]
fn a_complete_run_that_is_too_short() {
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &MODEL, 7, 3);
    RunInfo::rewrite(dir.path(), |i| i["steps_planned"] = 9.into()).unwrap();
    assert_only(dir.path(), ProblemKind::Gap, &["steps ends at step 6", "step 8"]);
    RunInfo::rewrite(dir.path(), |i| i["status"] = "interrupted".into()).unwrap();
    assert_eq!(problems(dir.path()), []);
}

#[test]
fn numbers_that_are_not_finite() {
    let nan = |h: &mut Vec<HeadRow>| h.iter_mut().filter(|r| r.step >= 5).for_each(|r| r.g_q2 = f32::NAN);
    let dir = recorded(Status::Complete, |_| (), nan, |_| ());
    assert_only(dir.path(), ProblemKind::NotFinite, &["heads", "g_q2", "8 rows"]);
    // Where NaN says "undefined here" it may be, infinity may not.
    let defined = |p: &mut Vec<ProbeRow>| p.iter_mut().for_each(|r| r.gamma = f64::NAN);
    assert_eq!(problems(recorded(Status::Complete, |_| (), |_| (), defined).path()), []);
    let infinite = |p: &mut Vec<ProbeRow>| p.iter_mut().for_each(|r| r.gamma = f64::INFINITY);
    let dir = recorded(Status::Complete, |_| (), |_| (), infinite);
    assert_only(dir.path(), ProblemKind::NotFinite, &["probe", "gamma", "infinite in 12 rows"]);
    // A run that says that it diverged may end in any number.
    assert_eq!(problems(recorded(Status::Diverged, |_| (), nan, infinite).path()), []);
}

#[test]
fn a_broken_chain_of_probes() {
    let wrong = |p: &mut Vec<ProbeRow>| p.iter_mut().filter(|r| r.step == 6).for_each(|r| r.prev_step = 1);
    let dir = recorded(Status::Complete, |_| (), |_| (), wrong);
    assert_only(dir.path(), ProblemKind::Gap, &["probe", "probe 6", "begins at 1"]);
    let wrong = |p: &mut Vec<ProbeRow>| p.iter_mut().filter(|r| r.step == 0).for_each(|r| r.prev_step = 5);
    let dir = recorded(Status::Complete, |_| (), |_| (), wrong);
    assert_only(dir.path(), ProblemKind::Gap, &["probe 0", "begins at 5"]);
}

/// Two parts of heads within one step, as flushes in its middle would make them.
fn split_in_a_step() -> (tempfile::TempDir, [PartEntry; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create_with(dir.path(), &MODEL.info(1), patient()).unwrap();
    writer.push(&MODEL.rows::<StepRow>(0)).unwrap();
    writer.push(&MODEL.rows::<WriteRow>(0)).unwrap();
    for half in MODEL.rows::<HeadRow>(0).chunks(2) {
        writer.heads(half).unwrap();
        writer.flush().unwrap();
    }
    writer.finish(Status::Complete).unwrap();
    assert_eq!(problems(dir.path()), []);
    let parts = Run::open(dir.path())
        .unwrap()
        .parts()
        .iter()
        .filter(|p| p.table == Table::Heads)
        .cloned()
        .collect::<Vec<_>>();
    (dir, parts.try_into().unwrap())
}

#[test]
fn parts_that_come_twice_or_in_the_wrong_order() {
    let (dir, [a, b]) = split_in_a_step();
    let [first, second] = [&a, &b].map(|p| std::fs::read(p.path(dir.path())).unwrap());
    forge(dir.path(), &a, &second);
    forge(dir.path(), &b, &first);
    assert_only(dir.path(), ProblemKind::Unsorted, &["heads/part-000001.parquet", "layer=0 head=0"]);
    // The second part in both places: layer 1 twice, the second time from its start.
    forge(dir.path(), &b, &second);
    assert_only(dir.path(), ProblemKind::Unsorted, &["heads/part-000001.parquet", "layer=1 head=0"]);
}

#[test]
fn rows_that_come_twice() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::new(43, 1, 1);
    record(dir.path(), &model, 2, 1);
    let parts = Run::open(dir.path()).unwrap().parts().to_vec();
    let steps = parts.iter().rfind(|p| p.table == Table::Steps).unwrap();
    std::fs::copy(steps.path(dir.path()), dir.path().join("steps/part-000002.parquet")).unwrap();
    edit_manifest(dir.path(), |parts| {
        let mut again =
            parts.iter().find(|p| p["table"] == "steps" && p["file"] == steps.file.as_str()).unwrap().clone();
        again["file"] = "part-000002.parquet".into();
        parts.push(again);
    });
    let found = problems(dir.path());
    assert!(
        found.iter().any(|(kind, text)| *kind == ProblemKind::Duplicate && text.contains("step=1")),
        "{found:?}"
    );
}

#[test]
fn telemetry_cadence() {
    for every in [0, 2, 3] {
        let model = Model { telemetry_every: every, ..MODEL };
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), &model, 8, 3);
        assert_eq!(problems(dir.path()), [], "every {every}");
        // The same record under a cadence of every step, which it does not keep.
        RunInfo::rewrite(dir.path(), |i| i["telemetry_every"] = 1.into()).unwrap();
        let found = problems(dir.path());
        assert!(!found.is_empty() && found.iter().all(|p| p.0 == ProblemKind::Gap), "{found:?}");
    }
    // Rows where run.json says that there are none.
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &MODEL, 2, 2);
    RunInfo::rewrite(dir.path(), |i| i["telemetry_every"] = 0.into()).unwrap();
    assert!(problems(dir.path()).iter().all(|p| p.0 == ProblemKind::OutOfRange));
    assert!(!problems(dir.path()).is_empty());
}

#[test]
fn a_flood_of_problems_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::new(44, 1, 1);
    let mut writer = RunWriter::create_with(dir.path(), &model.info(400), patient()).unwrap();
    for step in (0..400).step_by(2) {
        writer.push(&model.rows::<StepRow>(step)).unwrap();
    }
    writer.finish(Status::Running).unwrap();
    let report = Run::open(dir.path()).unwrap().check_integrity();
    // 199 gaps: 50 told, the rest in one line.
    assert_eq!(report.problems.len(), 51);
    let last = report.problems.last().unwrap();
    assert_eq!(last.kind, ProblemKind::More);
    assert!(last.message.contains("149"), "{}", last.message);
    assert!(serde_json::to_string(&report).unwrap().contains("\"steps\":200"));
}
