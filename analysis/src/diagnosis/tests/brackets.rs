//! Brackets hold the true time, however sparsely a curve is sampled; two records of one curve never contradict.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::diagnosis::curves::{HalfCurve, RelianceCurve};
use crate::diagnosis::record::Record;
use crate::diagnosis::thresholds::Thresholds;
use crate::diagnosis::times::Times;
use crate::diagnosis::verdict::Verdict;
use crate::source::AttentionSource;

const STEPS: usize = 80;
const LAG: u32 = 2;

/// What happened at every step, measured or not.
#[derive(Debug, Clone)]
struct Truth {
    /// Sharpness of the upper half: anywhere up to just below the margin under the threshold, then anywhere above that
    /// margin, and sharp at the end or never near it.
    sharpness: Vec<f64>,
    /// Maturity of the lower half: anywhere up to the margin above the threshold, then anywhere above the threshold.
    maturity: Vec<f64>,
    /// Whether the half is relied upon: in any order.
    reliance: Vec<i8>,
}

fn truth() -> impl Strategy<Value = Truth> {
    let unit = || vec(0.0_f64..1.0, STEPS + 1);
    (unit(), unit(), vec(-1_i8..=1, STEPS + 1), 2..=STEPS + 1, 0..=STEPS).prop_map(
        |(s, m, reliance, near, clear)| {
            // Thresholds 0.05 and 0.9: margins at 0.0375, 0.0625 and 0.925.
            let mut sharpness: Vec<f64> = s
                .iter()
                .enumerate()
                .map(|(i, v)| if i < near { 0.0375 * v } else { 0.0376 + 0.0248 * v })
                .collect();
            if near <= STEPS {
                sharpness[STEPS] = 0.06;
            }
            let maturity = m
                .iter()
                .enumerate()
                .map(|(i, v)| match i.cmp(&clear) {
                    std::cmp::Ordering::Less => 0.8 + 0.1249 * v,
                    std::cmp::Ordering::Equal => 0.95,
                    std::cmp::Ordering::Greater => 0.9001 + 0.09 * v,
                })
                .collect();
            Truth { sharpness, maturity, reliance }
        },
    )
}

/// Which steps a record measures; the last one always, but for maturity: a run whose budget is spent captures no more.
fn measured() -> impl Strategy<Value = [Vec<bool>; 3]> {
    let one = |last: bool| {
        (vec(any::<bool>(), STEPS + 1), vec(any::<bool>(), STEPS + 1), 0..4_u8).prop_map(
            move |(a, b, dense)| {
                // Every step, half of them or a quarter of them.
                let take = |i: usize| (last && i == STEPS) || dense == 0 || (a[i] && (dense < 3 || b[i]));
                (0..=STEPS).map(take).collect::<Vec<bool>>()
            },
        )
    };
    (one(true), one(false), one(true)).prop_map(|(a, b, c)| [a, b, c])
}

impl Truth {
    fn record(&self, [sharp, mature, relied]: &[Vec<bool>; 3]) -> Record {
        let curve = |values: &[f64], taken: &[bool], from: usize| {
            let mut curve = HalfCurve::default();
            for i in (from..=STEPS).filter(|i| taken[*i]) {
                curve.push(i as u32, values[i], values[i]);
            }
            curve
        };
        let mut reliance = RelianceCurve::default();
        for i in (0..=STEPS).filter(|i| relied[*i]) {
            reliance.steps.push(i as u32);
            reliance.delta.push(f64::from(self.reliance[i]));
            reliance.stderr.push(0.1);
            reliance.sequences.push(16);
        }
        Record {
            sharpness: curve(&self.sharpness, sharp, 0),
            sharpness_source: AttentionSource::Probe,
            maturity: [(LAG, curve(&self.maturity, mature, LAG as usize))].into(),
            lag: Some(LAG),
            reliance,
            total: STEPS as u32,
            last: STEPS as u32,
            ..Record::default()
        }
    }

    /// The first step that is sharp and relied upon; the first from which maturity stays above.
    fn times(&self) -> (Option<u32>, Option<u32>) {
        let committed = (0..=STEPS).find(|i| self.sharpness[*i] > 0.05 && self.reliance[*i] > 0);
        let below = (0..=STEPS).rev().find(|i| self.maturity[*i] <= 0.9);
        let settled = below.map_or(0, |i| i + 1).max(LAG as usize);
        (committed.map(|i| i as u32), Some(settled as u32).filter(|s| *s <= STEPS as u32))
    }
}

fn read(truth: &Truth, measured: &[Vec<bool>; 3]) -> Times {
    Times::new(&truth.record(measured), &Thresholds::default(), Some(LAG))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn brackets_hold_the_true_times(truth in truth(), measured in measured()) {
        let times = read(&truth, &measured);
        let (committed, settled) = truth.times();
        for (time, true_time) in [(times.commitment, committed), (times.maturity, settled)] {
            match true_time {
                // A bracket's low end may be the start itself.
                Some(t) => {
                    prop_assert!(t >= time.earliest(), "{} in {:?}", t, time);
                    prop_assert!(time.high.is_none_or(|h| t <= h), "{} in {:?}", t, time);
                }
                None => prop_assert!(time.high.is_none(), "never in {:?}", time),
            }
        }
    }

    #[test]
    fn two_records_of_one_curve_never_contradict(truth in truth(), a in measured(), b in measured()) {
        let (a, b) = (read(&truth, &a), read(&truth, &b));
        for (x, y) in [(a.commitment, b.commitment), (a.maturity, b.maturity)] {
            if let Some((x, y)) = x.bracket().zip(y.bracket()) {
                prop_assert!(x.overlaps(&y), "{} and {}", x, y);
            }
        }
        let said = [a.verdict(), b.verdict()];
        prop_assert!(
            !(said.contains(&Verdict::Premature) && said.contains(&Verdict::NotPremature)),
            "{:?} and {:?}", a, b
        );
    }

    /// Measured at every step, both times are exact and the verdict is their order.
    #[test]
    fn every_step_decides(truth in truth()) {
        let every = std::array::from_fn(|_| vec![true; STEPS + 1]);
        let times = read(&truth, &every);
        if let (Some(c), Some(m)) = truth.times() {
            // Reliance that shows nothing leaves its own step open.
            let open = (0..c as usize).any(|i| truth.sharpness[i] > 0.05 && truth.reliance[i] == 0);
            prop_assert_eq!(times.maturity.high, Some(m));
            prop_assert!(times.maturity.bracket().is_some_and(|b| b.is_exact()) || m <= LAG);
            if !open {
                prop_assert_eq!(times.commitment.bracket().map(|b| (b.is_exact(), b.high)), Some((true, c)));
                let expected = if m > c { Verdict::Premature } else { Verdict::NotPremature };
                prop_assert_eq!(times.verdict(), expected);
            }
        }
    }
}

/// One noisy batch over the threshold is no commitment: the telemetry must stay there.
#[test]
fn the_telemetry_needs_patience() {
    let mut record =
        Record { sharpness_source: AttentionSource::Telemetry, total: 30, last: 30, ..Record::default() };
    for step in 0..30 {
        let flicker = if step == 8 || step == 11 { 0.055 } else { 0.01 };
        let value = if step < 20 { flicker } else { 0.06 };
        record.sharpness.push(step, 0.0, value);
    }
    let times = Times::new(&record, &Thresholds::default(), None);
    assert_eq!(times.sharp.bracket().map(|b| (b.low, b.high)), Some((19, 20)));
}

/// Captures that end long before the record does, as where a budget is spent, leave open what followed.
#[test]
fn captures_that_end_early_say_nothing_of_the_end() {
    let settled = |values: &[(u32, f64)]| {
        let mut curve = HalfCurve::default();
        values.iter().for_each(|(step, v)| curve.push(*step, *v, *v));
        let record = Record {
            maturity: [(LAG, curve)].into(),
            lag: Some(LAG),
            total: 60,
            last: 60,
            ..Record::default()
        };
        Times::new(&record, &Thresholds::default(), Some(LAG)).maturity.bracket().map(|b| (b.low, b.high))
    };
    assert_eq!(settled(&[(2, 0.99)]), None);
    assert_eq!(settled(&[(2, 0.99), (60, 0.99)]), Some((1, 60)));
    assert_eq!(settled(&[(2, 0.5), (4, 0.99), (12, 0.99)]), None);
    // Three times twelve and a lag are 38, three times twenty and a lag 62.
    assert_eq!(settled(&[(2, 0.5), (4, 0.99), (12, 0.99), (20, 0.99)]), Some((2, 4)));
}
