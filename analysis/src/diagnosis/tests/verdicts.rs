//! Times, verdicts and sentences.

use growthpath_trace::RunInfo;

use super::{diagnose, point, write, write_with};
use crate::diagnosis::{Thresholds, Verdict, diagnosis};

const NAN: f64 = f64::NAN;
/// Relied upon at every probe.
const RELIED: &[(u32, f64, f64)] = &[(0, 1.0, 0.1)];

#[test]
fn premature() {
    let points = [
        point(0, 0.0, NAN),
        point(38, 0.06, 0.4),
        point(100, 0.2, 0.95),
        point(150, 0.3, 0.85),
        point(210, 0.3, 0.92),
        point(1000, 0.3, 0.99),
    ];
    let d = diagnose(&points, RELIED, 1000);
    assert_eq!((d.verdict, d.sharpness_step), (Verdict::Premature, Some(38)));
    // Settled at 100 only to be unsettled again at 150.
    assert_eq!((d.commitment_step, d.maturity_step), (Some(38), Some(210)));
    assert_eq!(d.prematurity, Some(0.172));
    assert_eq!(
        d.sentence,
        "upper half commits at step 38, lower half settles at step 210: premature by 17 % of training"
    );
    assert!(d.notes.iter().all(|n| !n.contains("ends at step")), "{:?}", d.notes);
    // Sharpness 0.1 and maturity 0.8 both come at step 100, whatever the sigmas.
    assert!(d.notes.iter().any(|n| n.contains("in 24 of 27 settings")), "{:?}", d.notes);
    assert_eq!(d.curves.steps, [0, 38, 100, 150, 210, 1000]);
    for (i, p) in points.iter().enumerate() {
        // Means over four heads and two layers of values below 1.
        assert!((d.curves.upper_sharpness[i] - p.upper_sharpness).abs() < 1e-15);
        assert!((d.curves.lower_sharpness[i] - 0.3).abs() < 1e-15);
        let m = d.curves.lower_maturity[i];
        assert!(m.is_nan() && p.lower_maturity.is_nan() || (m - p.lower_maturity).abs() < 1e-15);
        assert_eq!((d.curves.upper_maturity[i], d.curves.upper_reliance[i]), (0.5, 1.0));
    }
}

#[test]
fn commitment_waits_for_reliance() {
    let points = [point(0, 0.0, NAN), point(10, 0.3, 0.95), point(20, 0.3, 0.95), point(30, 0.3, 0.95)];
    // 0.19 is below two standard errors of 0.1, 0.21 above.
    let d = diagnose(&points, &[(0, 0.0, 0.1), (10, 0.19, 0.1), (20, 0.21, 0.1)], 30);
    assert_eq!((d.sharpness_step, d.commitment_step, d.maturity_step), (Some(10), Some(20), Some(10)));
    assert_eq!(d.verdict, Verdict::SettlesFirst);
    assert!((d.prematurity.unwrap() + 1.0 / 3.0).abs() < 1e-15);
    assert_eq!(
        d.sentence,
        "lower half settles at step 10, upper half commits at step 20: not premature, the lower half leads by 33 % of training"
    );
    assert!(d.recommendation.is_none());
}

#[test]
fn both_at_one_probe_is_not_premature() {
    let d = diagnose(&[point(0, 0.0, NAN), point(10, 0.3, 0.95)], RELIED, 10);
    assert_eq!((d.verdict, d.prematurity), (Verdict::SettlesFirst, Some(0.0)));
    assert!(d.sentence.contains("at the same probe, step 10: not premature"), "{}", d.sentence);
}

#[test]
fn never_commits() {
    let d = diagnose(&[point(0, 0.0, NAN), point(10, 0.05, 0.95)], RELIED, 10);
    assert_eq!((d.verdict, d.commitment_step, d.prematurity), (Verdict::NeverCommits, None, None));
    assert_eq!(
        d.sentence,
        "upper half never commits (its sharpness never passes 0.05), lower half settles at step 10: not premature"
    );
    let d = diagnose(&[point(0, 0.0, NAN), point(10, 0.5, 0.95)], &[(0, -1.0, 0.1)], 10);
    assert_eq!((d.verdict, d.sharpness_step), (Verdict::NeverCommits, Some(10)));
    assert!(
        d.sentence.contains(
            "passes 0.05 at step 10, but never while its reliance exceeds zero by 2 standard errors"
        ),
        "{}",
        d.sentence
    );
    assert!(d.recommendation.is_none());
}

#[test]
fn never_settles() {
    let d = diagnose(&[point(0, 0.0, NAN), point(10, 0.5, 0.95), point(100, 0.5, 0.9)], RELIED, 100);
    assert_eq!((d.verdict, d.maturity_step, d.prematurity), (Verdict::NeverSettles, None, None));
    assert_eq!(
        d.sentence,
        "upper half commits at step 10, lower half never settles: premature by at least 90 % of training"
    );
}

#[test]
fn neither() {
    let d = diagnose(&[point(0, 0.0, NAN), point(10, 0.0, NAN)], RELIED, 10);
    assert_eq!(d.verdict, Verdict::Neither);
    assert!(d.sentence.ends_with("lower half never settles: prematurity is undefined"), "{}", d.sentence);
    assert!(d.notes.iter().any(|n| n.contains("maturity is nowhere defined")), "{:?}", d.notes);
    // No threshold between half and double changes that.
    assert!(d.notes.iter().all(|n| !n.contains("depends on the thresholds")), "{:?}", d.notes);
}

#[test]
fn reliance_not_measured() {
    let points = [point(0, 0.0, NAN), point(10, 0.5, 0.5), point(20, 0.5, 0.95)];
    // One sequence gives no standard error: nothing to judge by.
    for reliance in [&[][..], &[(0, 1.0, NAN)][..]] {
        let d = diagnose(&points, reliance, 20);
        assert_eq!(
            (d.verdict, d.commitment_step, d.maturity_step),
            (Verdict::RelianceNotMeasured, None, Some(20))
        );
        assert!(
            d.sentence.contains(
                "cannot be dated (its sharpness passes 0.05 at step 10); lower half settles at step 20"
            ),
            "{}",
            d.sentence
        );
        assert!(d.recommendation.is_none());
    }
}

#[test]
fn the_nearest_reliance_counts() {
    let points: Vec<_> = [0, 10, 20, 30, 40].map(|s| point(s, 0.3, 0.5)).to_vec();
    let d = diagnose(&points, &[(2, 2.0, 0.2), (8, 8.0, 0.8), (13, 13.0, 1.3), (45, 45.0, 4.5)], 40);
    // 0: nothing before, 2 comes before the next probe. 10: 8 is nearer than 13. 20: 13, nothing before 30.
    // 30: still 13. 40: 45 is nearer than 13.
    assert_eq!(d.curves.upper_reliance, [2.0, 8.0, 13.0, 13.0, 45.0]);
    assert_eq!(d.curves.upper_reliance_stderr, [0.2, 0.8, 1.3, 1.3, 4.5]);
    let d = diagnose(&points, &[(8, 8.0, 0.8), (12, 12.0, 1.2), (25, 25.0, 2.5)], 40);
    // 0: 8 comes before the next probe. 10: a tie goes to the earlier. 20: 25 is nearer than 12.
    assert_eq!(d.curves.upper_reliance, [8.0, 8.0, 25.0, 25.0, 25.0]);
    let d = diagnose(&points, &[(15, 15.0, 1.5)], 40);
    assert!(d.curves.upper_reliance[0].is_nan());
    assert_eq!(d.curves.upper_reliance[1..], [15.0; 4]);
}

#[test]
fn sensitivity_surrounds_the_thresholds() {
    let points = [point(0, 0.0, NAN), point(10, 0.03, 0.82), point(20, 0.07, 0.91), point(30, 0.2, 0.97)];
    let d = diagnose(&points, RELIED, 100);
    assert_eq!(d.sensitivity.len(), 27);
    let find = |sharpness: f64, maturity: f64| {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        *d.sensitivity
            .iter()
            .find(|s| {
                near(s.thresholds.sharpness, sharpness)
                    && near(s.thresholds.maturity, maturity)
                    && s.thresholds.reliance_sigmas == 2.0
            })
            .unwrap()
    };
    for (sharpness, commits) in [(0.025, 10), (0.05, 20), (0.1, 30)] {
        for (maturity, settles) in [(0.8, 10), (0.9, 20), (0.95, 30)] {
            let s = find(sharpness, maturity);
            assert_eq!((s.commitment_step, s.maturity_step), (Some(commits), Some(settles)));
            assert!(
                (s.prematurity.unwrap() - (f64::from(settles) - f64::from(commits)) / 100.0).abs() < 1e-15
            );
        }
    }
    // Premature in 3 of 9 pairs of thresholds, at a tie or the other way round in the others; three sigmas each.
    let note = d.notes.iter().find(|n| n.contains("depends on the thresholds")).unwrap();
    assert!(note.contains("the same one in 18 of 27") && note.ends_with("in 9"), "{note}");
    let middle = find(0.05, 0.9);
    assert_eq!((middle.thresholds, middle.verdict), (d.thresholds, d.verdict));
}

#[test]
fn thresholds_and_shapes_are_checked() {
    let (_dir, run) = write(&[point(0, 0.0, NAN)], RELIED, 10);
    let refuse = |t: Thresholds| diagnosis(&run, &t).unwrap_err().to_string();
    let base = Thresholds::default();
    assert!(refuse(Thresholds { sharpness: 0.0, ..base }).contains("sharpness is 0"));
    assert!(refuse(Thresholds { maturity: 1.0, ..base }).contains("maturity is 1"));
    assert!(refuse(Thresholds { maturity: NAN, ..base }).contains("maturity is NaN"));
    assert!(refuse(Thresholds { reliance_sigmas: -1.0, ..base }).contains("reliance_sigmas is -1"));
    let (_dir, empty) = write(&[], &[], 10);
    assert!(diagnosis(&empty, &base).unwrap_err().to_string().contains("no probe rows"));
    let shallow = RunInfo::new(serde_json::Value::Null, 10, 1, 2);
    let (_dir, run) = write_with(shallow, &[point(0, 0.0, NAN)], RELIED);
    assert!(diagnosis(&run, &base).unwrap_err().to_string().contains("no two halves"));
}

#[test]
fn an_unfinished_or_slowed_run_says_so() {
    let config = serde_json::json!({"intervention": {"target": "upper-qk", "multiplier": 0.25}});
    let (_dir, run) =
        write_with(RunInfo::new(config, 100, 4, 2), &[point(0, 0.0, NAN), point(10, 0.0, 0.99)], RELIED);
    let d = diagnosis(&run, &Thresholds::default()).unwrap();
    assert!(d.notes.iter().any(|n| n.contains("ends at step 10 of 100")), "{:?}", d.notes);
    assert!(d.notes.iter().any(|n| n.contains("upper-qk")), "{:?}", d.notes);
}

#[test]
fn json_has_the_fields_and_null_for_undefined() {
    let d = diagnose(&[point(0, 0.0, NAN), point(10, 0.5, 0.5), point(20, 0.5, 0.95)], RELIED, 200);
    let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&d).unwrap()).unwrap();
    assert_eq!((&json["commitment_step"], &json["maturity_step"]), (&10.into(), &20.into()));
    assert_eq!(json["prematurity"], 0.05);
    assert_eq!(json["verdict"], "premature");
    assert_eq!(json["thresholds"]["maturity"], 0.9);
    assert!(json["curves"]["lower_maturity"][0].is_null());
    assert!(json["sentence"].as_str().unwrap().contains("premature by 5 %"));
}
