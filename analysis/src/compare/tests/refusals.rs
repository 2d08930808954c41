//! Runs that cannot be compared, and what the messages say.

use growthpath_trace::{ProbeRow, RunWriter};

use super::{Plan, plan};
use crate::compare::{Layers, compare};
use crate::error::AnalysisError;

fn refusal(a: &Plan, b: &Plan) -> String {
    let ((_a, run_a), (_b, run_b)) = (a.write(), b.write());
    compare(&run_a, &run_b, Layers::All, ..).unwrap_err().to_string()
}

fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn shapes_data_and_tokenizer_must_agree() {
    let probes = [0, 4, 8];
    let base = plan(1, 2, 2, &probes);
    says(&refusal(&base, &plan(2, 3, 2, &probes)), &["layers", "is 2 in arm-1", "3 in arm-2"]);
    says(&refusal(&base, &plan(2, 2, 1, &probes)), &["heads", "is 2 in arm-1", "1 in arm-2"]);
    let mut other = plan(2, 2, 2, &probes);
    other.info.data_blake3.insert("streams".into(), "d2".into());
    says(&refusal(&base, &other), &["data", "streams d1 in arm-1", "streams d2 in arm-2", "same text"]);
    other.info.data_blake3.clear();
    says(&refusal(&base, &other), &["streams d1", "not recorded"]);
    let mut other = plan(2, 2, 2, &probes);
    other.info.tokenizer_blake3 = Some("t2".into());
    says(&refusal(&base, &other), &["tokenizer", "t1 in arm-1", "t2 in arm-2"]);
    other.info.tokenizer_blake3 = None;
    says(&refusal(&base, &other), &["t1", "not recorded"]);
}

#[test]
fn two_probe_steps_must_be_shared() {
    let a = plan(1, 2, 1, &[0, 2, 4, 8]);
    let share = ["arm-1 beside", "share no two probe steps", "--probe-like"];
    says(&refusal(&a, &plan(3, 2, 1, &[1, 3, 5])), &share);
    // One is not enough: there is no interval between it and itself.
    says(&refusal(&a, &plan(3, 2, 1, &[0, 3, 5])), &share);
    says(&refusal(&plan(3, 2, 1, &[1, 3, 8]), &a), &["arm-3 beside arm-1", "share no two probe steps"]);

    let b = plan(2, 2, 1, &[0, 2, 3, 6, 8]);
    let ((_a, run_a), (_b, run_b)) = (a.write(), b.write());
    let steps = |window: std::ops::Range<u32>| {
        let window = compare(&run_a, &run_b, Layers::All, window).map(|c| c.window);
        window.map(|w| (w.first, w.last, w.intervals, w.interpolated)).map_err(|e| e.to_string())
    };
    // 0..2 in both; 2..3, 3..4, 4..6 and 6..8 are pieces of one run's interval or of the other's.
    assert_eq!(steps(0..8), Ok((0, 8, 5, 4)));
    assert_eq!(steps(0..4), Ok((0, 2, 1, 0)));
    assert_eq!(steps(1..9), Ok((2, 8, 4, 4)));
    says(&steps(3..9).unwrap_err(), &["share no two probe steps in the window"]);
}

#[test]
fn intervals_that_do_not_join_are_damage() {
    let (a, mut b) = (plan(1, 2, 1, &[0, 2, 4, 8]), plan(2, 2, 1, &[0, 2, 4, 8]));
    b.rows.iter_mut().filter(|r| r.step == 8).for_each(|r| r.prev_step = 5);
    says(&refusal(&a, &b), &["arm-2", "do not join at step 4", "verify it"]);
}

#[test]
fn there_must_be_something_to_compare() {
    let (a, mut b) = (plan(1, 2, 1, &[0, 2, 4]), plan(2, 2, 1, &[0, 2, 4]));
    let ((_a, run_a), (_b, run_b)) = (a.write(), b.write());
    let refuse = |window: std::ops::Range<u32>| compare(&run_a, &run_b, Layers::All, window).unwrap_err();
    assert!(matches!(refuse(3..3), AnalysisError::EmptyWindow { start: 3, end: 3 }));
    says(&refuse(3..5).to_string(), &["arm-1", "share no two probe steps in the window"]);
    b.rows.clear();
    says(&refusal(&a, &b), &["arm-2", "no probe rows", "train it with probes"]);
    // One probe alone has no interval.
    says(&refusal(&plan(1, 2, 1, &[0]), &plan(2, 2, 1, &[0])), &["share no two probe steps"]);
    let ((_a, run_a), (_b, run_b)) = (plan(1, 1, 1, &[0, 2]).write(), plan(2, 1, 1, &[0, 2]).write());
    says(&compare(&run_a, &run_b, Layers::Lower, ..).unwrap_err().to_string(), &["no lower half"]);
    assert!(compare(&run_a, &run_b, Layers::Upper, ..).unwrap().groups.lower.is_none());
}

#[test]
fn a_probe_that_lacks_rows_is_named() {
    let a = plan(1, 2, 2, &[0, 2, 4]);
    let broken = |change: fn(&mut Vec<ProbeRow>)| {
        let mut b = plan(2, 2, 2, &[0, 2, 4]);
        change(&mut b.rows);
        refusal(&a, &b)
    };
    // Missing in the middle, at the end, and a probe that disagrees about its interval.
    for (message, step) in [
        (broken(|rows| rows.retain(|r| (r.step, r.layer, r.head) != (2, 0, 1))), 2),
        (broken(|rows| rows.truncate(11)), 4),
        (broken(|rows| rows[6].prev_step = 1), 2),
        (broken(|rows| rows[4..8].iter_mut().for_each(|r| r.prev_step = 3)), 2),
    ] {
        says(&message, &["arm-2", &format!("step {step} "), "2 layers and 2 heads"]);
    }
}

#[test]
fn a_damaged_trace_is_the_trace_crates_error() {
    let (_dir, run_a) = plan(1, 1, 1, &[0, 2]).write();
    let (_dir, run_b) = plan(2, 1, 1, &[0, 2]).write();
    let part = run_b.parts().iter().find(|p| p.table == growthpath_trace::Table::Probe).unwrap();
    std::fs::write(part.path(run_b.dir()), b"nothing").unwrap();
    let error = compare(&run_a, &run_b, Layers::All, ..).unwrap_err();
    assert!(matches!(error, AnalysisError::Trace(_)), "{error}");
}

#[test]
fn groups_have_names() {
    for layers in [Layers::Upper, Layers::Lower, Layers::All] {
        assert_eq!(layers.name().parse::<Layers>().unwrap(), layers);
    }
    says(&"middle".parse::<Layers>().unwrap_err().to_string(), &["middle", "upper, lower or all"]);
}

#[test]
fn a_run_without_a_label_goes_by_its_directory() {
    let mut a = plan(1, 2, 1, &[0, 2]);
    a.info.label.clear();
    let (_a, run_a) = a.write();
    let dir = tempfile::tempdir().unwrap();
    drop(RunWriter::create(dir.path().join("empty"), &a.info).unwrap());
    let run_b = growthpath_trace::Run::open(dir.path().join("empty")).unwrap();
    let message = compare(&run_a, &run_b, Layers::All, ..).unwrap_err().to_string();
    says(&message, &[&run_b.dir().display().to_string(), "no probe rows"]);
}
