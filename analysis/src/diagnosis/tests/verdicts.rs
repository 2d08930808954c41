//! Times, verdicts, mends and sentences.

use growthpath_trace::RunInfo;

use super::{Beside, diagnose, diagnose_with, info, point, write_with};
use crate::diagnosis::{Bracket, Interval, Thresholds, Verdict, diagnosis};

const NAN: f64 = f64::NAN;
/// Relied upon at every probe of the test.
const RELIED: &[super::Reliance] = &[(10, 1.0, 0.1), (20, 1.0, 0.1), (38, 1.0, 0.1)];

fn within(low: u32, high: u32) -> Option<Bracket> {
    Some(Bracket { low, high })
}

#[test]
fn premature() {
    let points = [
        point(0, 0.0, NAN),
        point(30, 0.01, 0.4),
        point(38, 0.06, 0.4),
        point(100, 0.2, 0.95),
        point(150, 0.3, 0.85),
        point(210, 0.3, 0.93),
        point(400, 0.3, 0.98),
        point(1000, 0.3, 0.99),
    ];
    let d = diagnose(&points, RELIED, 1000);
    assert_eq!((d.verdict, d.sharpness_step), (Verdict::Premature, Some(38)));
    // Settled at 100 only to be unsettled again at 150.
    assert_eq!((d.commitment, d.maturity), (within(30, 38), within(150, 210)));
    // From (151 - 38) to (210 - 31) of 1000 steps.
    assert_eq!(d.prematurity, Some(Interval { low: 0.113, high: 0.179 }));
    assert_eq!(
        d.sentence,
        "upper half commits in steps 30..38, lower half settles in steps 150..210: premature by 11 % to 18 % of training"
    );
    assert_eq!(d.mend, None);
    assert!(d.notes.iter().all(|n| !n.contains("ends at step")), "{:?}", d.notes);
    let curve = &d.curves.sharpness;
    assert_eq!(curve.steps, [0, 30, 38, 100, 150, 210, 400, 1000]);
    for (i, p) in points.iter().enumerate() {
        // Means over four heads and two layers of values below 1.
        assert!((curve.upper[i] - p.upper_sharpness).abs() < 1e-15);
        assert!((curve.lower[i] - 0.3).abs() < 1e-15);
        if i > 0 {
            assert!((d.curves.maturity.lower[i - 1] - p.lower_maturity).abs() < 1e-15);
            assert_eq!(d.curves.maturity.upper[i - 1], 0.5);
        }
    }
    assert_eq!((d.curves.reliance.delta[2], d.curves.reliance.sequences[2]), (1.0, 16));
}

/// Where so long a stretch was not measured, the lower half may have been unsettled in it.
#[test]
fn a_long_gap_says_nothing_of_what_lies_within() {
    let points = [point(0, 0.0, NAN), point(2, 0.0, 0.95), point(100, 0.3, 0.99)];
    assert_eq!(diagnose(&points, RELIED, 100).maturity, within(0, 100));
    let dips = [0.95, 0.99, 0.91, 0.99, 0.94, 0.96, 0.99];
    let points: Vec<_> =
        [(0, NAN)].into_iter().chain((10..).step_by(5).zip(dips)).map(|(s, m)| point(s, 0.0, m)).collect();
    // It fell by 0.08 once, at 20: what stays less than that above 0.9 does not speak for its neighbours.
    assert_eq!(diagnose(&points, RELIED, 40).maturity, within(0, 40));
}

/// What was not measured after the first values, of the warm-up, may be anything.
#[test]
fn what_was_not_measured_is_not_settled() {
    let flat = |s: u32| point(s, 0.0, 0.99);
    // Step by step from the start it is known; with one step left out, from after it.
    let every: Vec<_> = [point(0, 0.0, NAN)].into_iter().chain((1..=9).map(flat)).collect();
    assert_eq!(diagnose(&every, RELIED, 9).maturity, within(0, 1));
    let without: Vec<_> = every.iter().filter(|p| p.step != 5).cloned().collect();
    let d = diagnose(&without, RELIED, 9);
    assert_eq!(d.maturity, within(0, 6));
    assert!(d.notes.iter().all(|n| !n.contains("was not seen")), "{:?}", d.notes);
    // Once it has been seen unsettled and settled, gaps may grow with training; the reader is told how wide they are.
    let points = [point(0, 0.0, NAN), point(9, 0.0, 0.5), point(10, 0.0, 0.95), point(30, 0.0, 0.95)];
    let d = diagnose(&points, RELIED, 30);
    assert_eq!(d.maturity, within(9, 10));
    assert!(
        d.notes
            .iter()
            .any(|n| n.starts_with("from step 10 on") && n.contains("up to 20 steps apart, over 1 each")),
        "{:?}",
        d.notes
    );
}

/// Student's t with 15 degrees of freedom: 2.131 standard errors.
#[test]
fn commitment_waits_for_reliance() {
    let points = [
        point(0, 0.0, NAN),
        point(4, 0.0, 0.5),
        point(9, 0.0, 0.95),
        point(10, 0.3, 0.95),
        point(30, 0.3, 0.95),
    ];
    // 0.21 is above two standard errors of 0.1, but not above what sixteen sequences ask for.
    let d = diagnose(&points, &[(0, 0.0, 0.1), (10, 0.21, 0.1), (20, 0.214, 0.1)], 30);
    // Values at 9 and 10 follow one another: sharpness is known to the step.
    assert_eq!((d.sharpness_step, d.commitment, d.maturity), (Some(10), within(9, 20), within(4, 9)));
    assert_eq!(d.verdict, Verdict::NotPremature);
    let p = d.prematurity.unwrap();
    assert!((p.low + 15.0 / 30.0).abs() < 1e-15 && (p.high + 1.0 / 30.0).abs() < 1e-15, "{p:?}");
    assert_eq!(
        d.sentence,
        "lower half settles in steps 4..9, upper half commits in steps 9..20: not premature, the lower half leads by 3 % to 50 % of training"
    );
    assert!(d.recommendation.is_none());
}

#[test]
fn both_at_one_step_is_not_premature() {
    let points = [point(0, 0.0, NAN), point(9, 0.0, 0.5), point(10, 0.3, 0.95)];
    let d = diagnose(&points, RELIED, 10);
    assert_eq!((d.commitment, d.maturity), (within(9, 10), within(9, 10)));
    assert_eq!((d.verdict, d.prematurity), (Verdict::NotPremature, Some(Interval { low: 0.0, high: 0.0 })));
    assert!(d.sentence.ends_with("not premature (both at the same step)"), "{}", d.sentence);
}

#[test]
fn one_interval_for_both_is_undecided() {
    let later = [60, 150, 200].map(|s| point(s, 0.3, 0.95));
    let points =
        [vec![point(0, 0.0, NAN), point(1, 0.0, 0.5), point(20, 0.3, 0.95)], later.to_vec()].concat();
    let d = diagnose(&points, RELIED, 200);
    assert_eq!((d.verdict, d.commitment, d.maturity), (Verdict::Undecided, within(1, 20), within(1, 20)));
    // A tenth of nineteen steps.
    assert_eq!(d.mend.as_deref(), Some("probe every <= 1 step between 1 and 20"));
    assert!(d.sentence.ends_with("undecided: probe every <= 1 step between 1 and 20"), "{}", d.sentence);
    assert!(d.recommendation.is_none());
}

#[test]
fn few_sequences_are_undecided() {
    let points = [point(0, 0.0, NAN), point(10, 0.3, 0.5), point(60, 0.3, 0.5), point(100, 0.3, 0.95)];
    let d = diagnose(&points, &[(10, 0.2, 0.1), (60, 0.1, 0.1)], 100);
    assert_eq!((d.verdict, d.commitment, d.maturity), (Verdict::Undecided, None, within(60, 100)));
    // With 17 sequences of the same scatter 0.2 exceeds 2.12 times 0.1 sqrt(16/17) no more than 16 did; 18 do not
    // either: 2.11 x 0.0943 = 0.199 < 0.2, so 18 it is.
    let mend = d.mend.unwrap();
    assert!(mend.ends_with("or use >= 18 reliance sequences (--reliance-sequences 18)"), "{mend}");
    assert!(d.sentence.contains("reliance never exceeds zero at 97.5 % confidence"), "{}", d.sentence);
}

#[test]
fn never_sharp_is_not_premature() {
    let d = diagnose(&[point(0, 0.0, NAN), point(9, 0.0, 0.0), point(10, 0.05, 0.95)], RELIED, 10);
    assert_eq!((d.verdict, d.commitment), (Verdict::NotPremature, None));
    assert_eq!(
        d.sentence,
        "upper half never commits (its sharpness never passes 0.05), lower half settles at step 10: not premature"
    );
    let d = diagnose(&[point(0, 0.0, NAN), point(10, 0.0, NAN)], RELIED, 10);
    assert_eq!((d.verdict, d.prematurity), (Verdict::NotPremature, None));
    assert!(d.sentence.contains("lower half never settles for good: not premature"), "{}", d.sentence);
    // No threshold between half and double changes that.
    assert!(d.notes.iter().all(|n| !n.contains("depends on the thresholds")), "{:?}", d.notes);
}

/// Where sharpness itself comes after the lower half has settled, reliance is not needed.
#[test]
fn late_sharpness_decides_without_reliance() {
    let settled = [10, 25, 50].map(|s| point(s, 0.01, 0.95));
    let points =
        [vec![point(0, 0.0, NAN), point(5, 0.01, 0.5)], settled.to_vec(), vec![point(60, 0.3, 0.95)]]
            .concat();
    let d = diagnose(&points, &[], 60);
    assert_eq!((d.verdict, d.commitment), (Verdict::NotPremature, None));
    assert!(d.sentence.contains("leads by at least 68 %"), "{}", d.sentence);
}

#[test]
fn never_settles() {
    let points = [point(0, 0.0, NAN), point(9, 0.0, 0.4), point(10, 0.5, 0.95), point(100, 0.5, 0.9)];
    let d = diagnose(&points, RELIED, 100);
    assert_eq!((d.verdict, d.maturity), (Verdict::Premature, None));
    let p = d.prematurity.unwrap();
    assert_eq!((p.low, p.high), (0.91, f64::INFINITY));
    assert_eq!(
        d.sentence,
        "upper half commits at step 10, lower half never settles for good: premature by at least 91 % of training"
    );
    let json = serde_json::to_value(&d).unwrap();
    assert!(json["prematurity"]["high"].is_null() && json["maturity"].is_null());
}

#[test]
fn reliance_not_measured() {
    let points = [point(0, 0.0, NAN), point(10, 0.5, 0.5), point(20, 0.5, 0.95)];
    // One sequence gives no standard error: nothing to judge by.
    let never = "reliance was never measured: give it sequences and budget (--reliance-sequences 16 --probe-budget 0.3, or --probe-every)";
    let several = "measure reliance on several sequences (--reliance-sequences 16)";
    for (reliance, mend) in [(&[][..], never), (&[(0, 1.0, NAN)][..], several)] {
        let d = diagnose(&points, reliance, 20);
        assert_eq!((d.verdict, d.commitment, d.maturity), (Verdict::Undecided, None, within(10, 20)));
        assert_eq!(d.mend.as_deref(), Some(mend));
        assert!(d.sentence.contains("(its sharpness passes 0.05 in steps 0..10;"), "{}", d.sentence);
    }
}

/// Attention that harms shows nothing about the steps before it.
#[test]
fn reliance_that_comes_and_goes_excludes_only_its_own_steps() {
    let points: Vec<_> =
        [0, 10, 11, 12, 20, 30].map(|s| point(s, if s < 10 { 0.0 } else { 0.3 }, 0.5)).to_vec();
    let harms = [(10, -1.0, 0.1), (11, -1.0, 0.1), (20, -1.0, 0.1), (30, 1.0, 0.1)];
    assert_eq!(diagnose(&points, &harms, 30).commitment, within(0, 30));
    // Known to be sharp at step 10 and not before.
    let mut points = points;
    points.insert(1, point(9, 0.0, 0.5));
    assert_eq!(diagnose(&points, &harms, 30).commitment, within(11, 30));
}

#[test]
fn an_unfinished_run_can_be_premature_but_not_the_contrary() {
    let early = [point(0, 0.0, NAN), point(10, 0.3, 0.5), point(50, 0.3, 0.5), point(60, 0.3, 0.95)];
    let d = diagnose(&early, RELIED, 1000);
    assert_eq!(d.verdict, Verdict::Premature);
    assert!(d.notes.iter().any(|n| n.contains("ends at step 60 of 1000")), "{:?}", d.notes);
    let late = [point(0, 0.0, NAN), point(5, 0.0, 0.5), point(9, 0.0, 0.95), point(20, 0.3, 0.95)];
    let d = diagnose(&late, RELIED, 1000);
    assert_eq!(d.verdict, Verdict::Undecided);
    assert_eq!(d.mend.as_deref(), Some("resume the run to its end (the record stops at step 20 of 1000)"));
    assert_eq!(diagnose(&late, RELIED, 20).verdict, Verdict::NotPremature);
}

#[test]
fn sensitivity_surrounds_the_thresholds_and_the_lag() {
    let points = [
        point(0, 0.0, NAN),
        point(10, 0.03, 0.86),
        point(20, 0.07, 0.93),
        point(30, 0.2, 0.97),
        point(60, 0.2, 0.97),
        point(100, 0.2, 0.97),
    ];
    let reliance: Vec<_> = [10, 20, 30].map(|s| (s, 1.0, 0.1)).to_vec();
    let lags: Vec<_> = [5, 60, 100].map(|s| (s, 2, if s < 60 { 0.1 } else { 0.97 })).to_vec();
    // A lag that is no double of the run's says nothing here.
    let other: Vec<_> = [(100, 9, 0.99)].to_vec();
    let mut config = info(100);
    config.config = serde_json::json!({"intervention": null, "probe": {"maturity_lag": 0.01}});
    let lags = [lags, other].concat();
    let d = diagnose_with(config, &points, &Beside { reliance: &reliance, lags: &lags, settling: &[] });
    assert_eq!((d.sensitivity.len(), d.curves.maturity_lag), (54, Some(1)));
    let find = |sharpness: f64, maturity: f64, lag: u32| {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        *d.sensitivity
            .iter()
            .find(|s| {
                let t = s.thresholds;
                near(t.sharpness, sharpness)
                    && near(t.maturity, maturity)
                    && (t.confidence, s.lag) == (0.975, Some(lag))
            })
            .unwrap()
    };
    for (sharpness, commits) in [(0.025, within(0, 10)), (0.05, within(10, 20)), (0.1, within(20, 30))] {
        // Above 0.8 it was whenever measured, ten steps apart: what it did in between is not known.
        for (maturity, settles) in [(0.8, within(0, 100)), (0.9, within(10, 20)), (0.95, within(20, 30))] {
            let s = find(sharpness, maturity, 1);
            assert_eq!((s.commitment, s.maturity), (commits, settles));
        }
        assert_eq!(find(sharpness, 0.9, 2).maturity, within(5, 60));
    }
    let middle = find(0.05, 0.9, 1);
    assert_eq!((middle.thresholds, middle.verdict, middle.maturity), (d.thresholds, d.verdict, d.maturity));
    assert_eq!(d.verdict, Verdict::Undecided);
    let confidences: Vec<f64> = d.sensitivity.iter().map(|s| s.thresholds.confidence).collect();
    assert!(confidences.iter().any(|c| (c - 0.9875).abs() < 1e-12));
    assert!(confidences.iter().any(|c| (c - 0.95).abs() < 1e-12));
    let note = d.notes.iter().find(|n| n.contains("depends on the thresholds and the lag")).unwrap();
    assert!(note.contains("of 54 settings"), "{note}");
}

#[test]
fn hindsight_dates_the_settling() {
    let points = [point(0, 0.0, NAN), point(10, 0.3, 0.95)];
    let settling = [(1, 0.2), (2, 0.92), (4, 0.85), (7, 0.95)];
    let d = diagnose_with(info(10), &points, &Beside { settling: &settling, ..Default::default() });
    let s = d.settling.unwrap();
    assert_eq!((s.step, s.bracket), (7, Bracket { low: 4, high: 7 }));
    assert!(s.sentence.ends_with("at every kept step from 7 on, not yet at step 4"), "{}", s.sentence);
    // No kept step: only at the end.
    let d = diagnose_with(info(10), &points, &Beside { settling: &settling[..1], ..Default::default() });
    let s = d.settling.unwrap();
    assert_eq!(s.bracket, Bracket { low: 1, high: 10 });
    assert!(s.sentence.ends_with("at step 1, the last that was kept"), "{}", s.sentence);
    assert_eq!(diagnose(&points, RELIED, 10).settling, None);
}

#[test]
fn thresholds_and_shapes_are_checked() {
    let none = Beside::default();
    let (_dir, run) = write_with(info(10), &[point(0, 0.0, NAN)], &none);
    let refuse = |t: Thresholds| diagnosis(&run, &t).unwrap_err().to_string();
    let base = Thresholds::default();
    assert!(refuse(Thresholds { sharpness: 0.0, ..base }).contains("sharpness is 0"));
    assert!(refuse(Thresholds { maturity: 1.0, ..base }).contains("maturity is 1"));
    assert!(refuse(Thresholds { maturity: NAN, ..base }).contains("maturity is NaN"));
    assert!(refuse(Thresholds { confidence: 0.4, ..base }).contains("confidence is 0.4"));
    assert!(refuse(Thresholds { confidence: 1.0, ..base }).contains("confidence is 1"));
    let (_dir, empty) = write_with(info(10), &[], &none);
    assert!(diagnosis(&empty, &base).unwrap_err().to_string().contains("no probe rows"));
    let shallow = RunInfo::new(serde_json::Value::Null, 10, 1, 2);
    let (_dir, run) = write_with(shallow, &[point(0, 0.0, NAN)], &none);
    assert!(diagnosis(&run, &base).unwrap_err().to_string().contains("no two halves"));
}

#[test]
fn a_slowed_run_says_so() {
    let config = serde_json::json!({"intervention": {"target": "upper-qk", "multiplier": 0.25}});
    let points = [point(0, 0.0, NAN), point(10, 0.0, 0.99)];
    let d = diagnose_with(RunInfo::new(config, 10, 4, 2), &points, &Beside::default());
    assert!(d.notes.iter().any(|n| n.contains("upper-qk")), "{:?}", d.notes);
}

#[test]
fn json_has_the_fields() {
    let d = diagnose(&[point(0, 0.0, NAN), point(10, 0.5, 0.5), point(20, 0.5, 0.95)], RELIED, 200);
    let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&d).unwrap()).unwrap();
    assert_eq!((&json["commitment"]["low"], &json["commitment"]["high"]), (&0.into(), &10.into()));
    assert_eq!((&json["maturity"]["low"], &json["maturity"]["high"]), (&10.into(), &20.into()));
    assert_eq!((&json["prematurity"]["low"], &json["prematurity"]["high"]), (&0.005.into(), &0.1.into()));
    assert_eq!((&json["verdict"], &json["sharpness_step"]), (&"premature".into(), &10.into()));
    assert_eq!(json["thresholds"]["confidence"], 0.975);
    assert_eq!((&json["mend"], &json["settling"]), (&().into(), &().into()));
    assert_eq!(json["curves"]["sharpness_source"], "probe");
    assert_eq!(json["sensitivity"][0]["lag"], 1);
    let not = diagnose(&[point(0, 0.0, NAN), point(10, 0.0, 0.5)], RELIED, 10);
    assert_eq!(serde_json::to_value(not.verdict).unwrap(), "not premature");
    assert_eq!(serde_json::to_value(Verdict::Undecided).unwrap(), "undecided");
}
