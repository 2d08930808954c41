use super::*;
use crate::train::lags::Lags;
use growthpath_analysis::maturity;

use crate::train::cadence::Cadence;
use crate::train::config::ProbeTimes;

fn config(steps: u32, lag: f64) -> TrainConfig {
    let mut c = crate::train::cadence::tests::config(steps, 0.1);
    c.probe.times = ProbeTimes::Every { steps: 1 };
    c.probe.maturity_lag = lag;
    c
}

fn keeper(steps: u32, lag: f64) -> Keeper {
    let c = config(steps, lag);
    Keeper::new(&c, Cadence::new(&c).plan())
}

/// A symmetric 3 x 3 matrix that turns with the step.
fn matrix(step: u32) -> Mat<f64> {
    let v = [1.0, 0.1 * f64::from(step), (0.3 * f64::from(step)).sin()];
    Mat::from_fn(3, 3, |i, j| v[i] * v[j] + if i == j { 0.5 } else { 0.0 })
}

fn moment(step: u32) -> KeyMoments {
    KeyMoments::pack(step, [matrix(step), matrix(step + 1)].iter())
}

#[test]
fn packed_cosines_are_the_matrices() {
    for (a, b) in [(0, 0), (1, 2), (3, 40)] {
        let packed = moment(a).cosine(&moment(b));
        for (l, c) in packed.iter().enumerate() {
            let l = l as u32;
            let exact = maturity(&matrix(a + l), &matrix(b + l)).unwrap();
            // Entries are rounded to float32: 6e-8 each, relative.
            assert!((c - exact).abs() < 5e-7, "{c} {exact}");
        }
    }
    let zero = KeyMoments::pack(0, [Mat::zeros(3, 3)].iter());
    assert!(zero.cosine(&zero)[0].is_nan());
}

/// Run `keeper` with probes where `probe` says so; the rows, and the most moments kept at once.
fn drive(keeper: &mut Keeper, steps: u32, probe: impl Fn(u32) -> bool) -> (Vec<MaturityRow>, usize) {
    let (mut rows, mut most) = (Vec::new(), 0);
    for done in 0..=steps {
        if probe(done) || keeper.due(done) {
            rows.extend(keeper.take(moment(done), probe(done), |_| true));
        }
        most = most.max(keeper.moments().count());
    }
    (rows, most)
}

#[test]
fn sparse_probes_are_compared_after_exactly_every_lag() {
    let mut k = keeper(200, 0.05);
    let (rows, _) = drive(&mut k, 200, |t| [0, 50, 100, 200].contains(&t));
    let from_probe = |r: &&MaturityRow| [0, 50, 100].contains(&(r.step - r.lag)) || r.step == 200;
    let of_layer_0 = rows.iter().filter(|r| r.layer == 0).filter(from_probe);
    let layer0: Vec<(u32, u32)> = of_layer_0.map(|r| (r.step, r.lag)).collect();
    let mut expected = Vec::new();
    for s in [0, 50, 100] {
        expected.extend([(s + 5, 5), (s + 10, 10), (s + 20, 20)]);
    }
    expected.extend([(200, 5), (200, 10), (200, 20)]);
    assert_eq!(layer0, expected);
    for r in &rows {
        let l = u32::from(r.layer);
        let exact = maturity(&matrix(r.step - r.lag + l), &matrix(r.step + l)).unwrap();
        assert!((r.maturity - exact).abs() < 5e-7, "{r:?} {exact}");
    }
    // In the long gap a moment that is kept for the end starts comparisons, too.
    assert!(rows.iter().any(|r| r.step - r.lag == 150));
    assert!(rows.windows(2).all(|w| (w[0].step, w[0].layer, w[0].lag) < (w[1].step, w[1].layer, w[1].lag)));
}

#[test]
fn what_is_kept_stays_bounded_however_dense_the_probes() {
    let mut k = keeper(2000, 0.1);
    let (rows, most) = drive(&mut k, 2000, |_| true);
    // 16 within two lags and the one that starts, 16 for the end, three before the end.
    assert!(most <= 17 + 16 + 3, "{most}");
    assert!(rows.len() > 2 * 3 * 60, "{}", rows.len());
    assert_eq!(k.state().starts, [0; 0], "nothing waits at the end");
}

#[test]
fn lags_are_distinct_and_at_least_one_step() {
    assert_eq!(Lags::new(&config(10, 0.0)).all, [1, 2]);
    assert_eq!(Lags::new(&config(300, 0.02)).all, [3, 6, 12]);
}

#[test]
fn settling_compares_with_the_last_moment() {
    let mut k = keeper(100, 0.02);
    drive(&mut k, 100, |t| t == 0 || t == 100);
    let rows = k.settle(&moment(100));
    let steps: Vec<u32> = rows.iter().filter(|r| r.layer == 1).map(|r| r.step).collect();
    assert_eq!(steps, [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 25, 30, 40, 50, 60, 75]);
    let exact = maturity(&matrix(41), &matrix(101)).unwrap();
    let row = rows.iter().find(|r| (r.step, r.layer) == (40, 1)).unwrap();
    assert!((row.final_cosine - exact).abs() < 5e-7);
}

#[test]
fn a_restored_keeper_goes_on_as_if_never_stopped() {
    let probe = |t: u32| t.is_multiple_of(7) || t == 120;
    let (mut whole, mut cut) = (keeper(120, 0.05), keeper(120, 0.05));
    let (expected, _) = drive(&mut whole, 120, probe);
    let mut rows = Vec::new();
    for done in 0..=120 {
        if done == 33 {
            let kept: Vec<KeyMoments> = cut.moments().cloned().collect();
            let json = serde_json::to_string(&cut.state()).unwrap();
            let mut fresh = keeper(120, 0.05);
            let find = |s: u32| kept.iter().find(|m| m.step == s).cloned().ok_or(s);
            fresh.restore(serde_json::from_str(&json).unwrap(), find).unwrap();
            cut = fresh;
        }
        if probe(done) || cut.due(done) {
            rows.extend(cut.take(moment(done), probe(done), |_| true));
        }
    }
    assert_eq!(rows, expected);
    assert_eq!(cut.settle(&moment(120)), whole.settle(&moment(120)));
}

#[test]
fn the_lower_half_is_averaged_over_one_lag() {
    let row = |layer, lag, maturity| MaturityRow { step: 9, layer, lag, maturity };
    let rows = [row(0, 2, 0.5), row(0, 4, 0.9), row(1, 4, 0.7), row(2, 4, 0.1)];
    assert_eq!(lower_maturity(&rows, 4, 2), Some(0.8));
    assert_eq!(lower_maturity(&rows, 8, 2), None);
    assert_eq!(lower_maturity(&rows, 2, 0), Some(0.5));
}

#[test]
fn what_is_planned_ahead_of_the_values_is_compared_alike() {
    let probe = |t: u32| t.is_multiple_of(7) || t == 120;
    let (mut at_once, mut later) = (keeper(120, 0.05), keeper(120, 0.05));
    let (expected, _) = drive(&mut at_once, 120, probe);
    let (mut rows, mut under_way) = (Vec::new(), None);
    for done in 0..=120 {
        if !(probe(done) || later.due(done)) {
            continue;
        }
        // The one before becomes known only now.
        if let Some((at, planned)) = under_way.take() {
            rows.extend(later.compare(moment(at), &planned));
        }
        let planned = later.plan(done, probe(done), |_| true);
        assert_eq!(planned.over(6), expected.iter().any(|r| (r.step, r.lag) == (done, 6)), "{done}");
        under_way = Some((done, planned));
    }
    let (at, planned) = under_way.unwrap();
    rows.extend(later.compare(moment(at), &planned));
    assert_eq!(rows, expected);
    assert_eq!((later.state(), later.settle(&moment(120))), (at_once.state(), at_once.settle(&moment(120))));
}
