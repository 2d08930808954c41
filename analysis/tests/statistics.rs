//! Summary statistics against values worked out by hand or by other formulas.

mod common;

use common::close;
use growthpath_analysis::statistics::{estimate, mean_interval, median, pearson, power_law, quantile};
use proptest::prelude::*;

const NAN: f64 = f64::NAN;

#[test]
fn estimates_leave_missing_values_out() {
    let e = estimate(&[2.0, NAN, 4.0, 9.0]);
    assert_eq!((e.count, e.mean), (3, 5.0));
    // Squared deviations 9 + 1 + 16 over n - 1.
    close("deviation", e.deviation, 13f64.sqrt(), 1e-15);
    close("error", e.error, (13.0f64 / 3.0).sqrt(), 1e-15);
    let one = estimate(&[3.0, NAN]);
    assert!(one.mean == 3.0 && one.deviation.is_nan() && one.error.is_nan());
    assert!(estimate(&[NAN]).mean.is_nan() && estimate(&[]).count == 0);
}

#[test]
fn intervals_use_the_t_distribution() {
    // t(0.975; 2) = 4.302652729911275, t(0.975; 1) = 12.706204736432095 (tables).
    let i = mean_interval(&[1.0, 2.0, 3.0], 0.95).unwrap();
    close("low", i.low, 2.0 - 4.302652729911275 / 3f64.sqrt(), 1e-9);
    close("high", i.high, 2.0 + 4.302652729911275 / 3f64.sqrt(), 1e-9);
    let i = mean_interval(&[0.0, 2.0], 0.95).unwrap();
    close("two seeds", i.high, 1.0 + 12.706204736432095, 1e-8);
    assert!(mean_interval(&[1.0], 0.95).unwrap().low.is_nan());
    assert!(mean_interval(&[1.0, 2.0], 1.0).is_err() && mean_interval(&[1.0, 2.0], NAN).is_err());
}

#[test]
fn quantiles_interpolate() {
    let v = [4.0, NAN, 1.0, 3.0, 2.0];
    assert_eq!(median(&v), 2.5);
    assert_eq!(quantile(&v, 0.0).unwrap(), 1.0);
    assert_eq!(quantile(&v, 1.0).unwrap(), 4.0);
    close("third", quantile(&v, 1.0 / 3.0).unwrap(), 2.0, 1e-15);
    assert_eq!(median(&[f64::INFINITY, f64::INFINITY]), f64::INFINITY);
    assert!(median(&[]).is_nan() && quantile(&v, 1.5).is_err() && quantile(&v, NAN).is_err());
}

#[test]
fn correlation_of_known_lists() {
    close("up", pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]).unwrap(), 1.0, 1e-15);
    close("down", pearson(&[1.0, 2.0, NAN, 3.0], &[3.0, 2.0, 0.0, 1.0]).unwrap(), -1.0, 1e-15);
    // By hand: covariance 1, variances 2 and 2.
    close("half", pearson(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]).unwrap(), 0.5, 1e-15);
    assert!(pearson(&[1.0, 1.0], &[1.0, 2.0]).unwrap().is_nan() && pearson(&[1.0], &[1.0]).unwrap().is_nan());
    assert!(pearson(&[1.0], &[]).is_err());
}

#[test]
fn power_laws_are_recovered() {
    let x = [1.0, 2.0, 4.0, 8.0, 16.0, -1.0, 3.0];
    let y: Vec<f64> = x.iter().map(|x: &f64| if *x > 0.0 { 3.0 * x.powf(-0.7) } else { 1.0 }).collect();
    let fit = power_law(&x, &y, 0.95).unwrap();
    close("slope", fit.slope, -0.7, 1e-13);
    close("prefactor", fit.intercept.exp(), 3.0, 1e-13);
    close("r2", fit.r_squared, 1.0, 1e-13);
    assert_eq!(fit.count, 6);
    assert!(fit.interval.high - fit.interval.low < 1e-12);
}

#[test]
fn slope_interval_matches_the_textbook_formula() {
    // Points (0,0), (1,1), (2,1) in logarithms: slope 1/2, residual sum 1/6, S_xx 2, one degree of
    // freedom, so the error is sqrt(1/12).
    let e = std::f64::consts::E;
    let fit = power_law(&[1.0, e, e * e], &[1.0, e, e], 0.95).unwrap();
    close("slope", fit.slope, 0.5, 1e-14);
    close("reach", fit.interval.high - fit.slope, 12.706204736432095 * (1.0f64 / 12.0).sqrt(), 1e-8);
    close("r2", fit.r_squared, 0.75, 1e-13);
    // Two points fix a slope and leave nothing to judge it by.
    let fit = power_law(&[1.0, 2.0], &[1.0, 4.0], 0.95).unwrap();
    close("two points", fit.slope, 2.0, 1e-14);
    assert!(fit.interval.low.is_nan());
}

#[test]
fn hopeless_fits_are_refused() {
    assert!(power_law(&[1.0, -2.0], &[1.0, 1.0], 0.95).is_err());
    assert!(power_law(&[7.0, 7.0, 7.0], &[1.0, 2.0, 3.0], 0.95).is_err());
    assert!(power_law(&[1.0, 2.0, 3.0], &[1.0, NAN, NAN], 0.95).is_err());
    assert!(power_law(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0], 0.0).is_err());
}

proptest! {
    #[test]
    fn correlation_ignores_scale_and_shift(
        points in prop::collection::vec((-1e3f64..1e3, -1e3f64..1e3), 3..40), scale in 0.1f64..10.0, shift in -1e3f64..1e3,
    ) {
        let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
        let moved: Vec<f64> = x.iter().map(|x| scale * x + shift).collect();
        let (a, b) = (pearson(&x, &y).unwrap(), pearson(&moved, &y).unwrap());
        prop_assert!((-1.0..=1.0).contains(&a));
        // Shifts cost digits in proportion to shift over spread.
        prop_assert!((a - b).abs() < 1e-8, "{a} {b}");
    }

    #[test]
    fn quantiles_rise(values in prop::collection::vec(-1e3f64..1e3, 1..30), p in 0.0f64..1.0, q in 0.0f64..1.0) {
        let (low, high) = (quantile(&values, p.min(q)).unwrap(), quantile(&values, p.max(q)).unwrap());
        prop_assert!(low <= high + 1e-12);
    }
}
