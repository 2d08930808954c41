//! Summary statistics against values worked out by hand or by other formulas.

mod common;

use common::close;
use growthpath_analysis::statistics::{
    ConfidenceInterval, MOST_SIGNS, Sign, estimate, half_sample_error, independent_difference, mean_interval,
    median, pearson, power_law, quantile, sign_flip, student_quantile,
};
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

#[test]
fn an_interval_decides_only_what_it_excludes() {
    let sign = |low: f64, high: f64| ConfidenceInterval { low, high }.sign();
    assert_eq!(
        (sign(0.1, 0.2), sign(-0.2, -0.1), sign(-0.1, 0.2)),
        (Sign::Positive, Sign::Negative, Sign::Undecided)
    );
    assert_eq!(
        (sign(0.0, 0.0), sign(NAN, NAN), sign(0.0, 1.0)),
        (Sign::Undecided, Sign::Undecided, Sign::Undecided)
    );
    let i = ConfidenceInterval { low: -1.0, high: 2.0 };
    assert!(i.covers(-1.0) && i.covers(2.0) && !i.covers(2.1) && !i.covers(NAN));
    assert!(!ConfidenceInterval { low: NAN, high: NAN }.covers(0.0));
}

#[test]
fn student_quantiles_match_the_tables() {
    for (freedom, quantile) in [(1.0, 12.706_204_736), (4.0, 2.776_445_105), (30.0, 2.042_272_456)] {
        close("t", student_quantile(0.95, freedom).unwrap(), quantile, 1e-9);
    }
    assert!(student_quantile(0.95, 0.0).unwrap().is_nan() && student_quantile(0.95, NAN).unwrap().is_nan());
    assert!(student_quantile(1.0, 3.0).is_err());
}

#[test]
fn independent_means_have_the_interval_of_welch() {
    // Variances of the means 1/3 and 4/3: error sqrt(5/3), freedom (5/3)^2 / ((1/9 + 16/9) / 2) = 50/17.
    let (a, b) = (estimate(&[1.0, 2.0, 3.0]), estimate(&[1.0, 3.0, 5.0]));
    let (error, i) = independent_difference(&a, &b, 0.95).unwrap();
    close("error", error, (5.0f64 / 3.0).sqrt(), 1e-15);
    let reach = student_quantile(0.95, 50.0 / 17.0).unwrap() * error;
    close("high", i.high, 1.0 + reach, 1e-12);
    close("low", i.low, 1.0 - reach, 1e-12);
    let same = estimate(&[2.0, 2.0]);
    assert_eq!(independent_difference(&same, &same, 0.95).unwrap().0, 0.0);
    assert!(independent_difference(&estimate(&[1.0]), &b, 0.95).unwrap().1.low.is_nan());
}

#[test]
fn sign_flips_by_hand() {
    let p = |v: &[f64]| sign_flip(v).unwrap().p;
    assert_eq!((p(&[1.0, 2.0, 3.0, 4.0, 5.0]), p(&[-1.0, -2.0]), p(&[7.0])), (2.0 / 32.0, 0.5, 1.0));
    // 0.1 + 0.2 and 0.3 differ by rounding only: the sums of 0.1, 0.2, -0.3 are 0 and everything is at least 0.
    assert_eq!(p(&[0.1, 0.2, -0.3]), 1.0);
    // Of the sums of +-1 +-1 +-1 +-1, eight have absolute value 2 and two have 4.
    assert_eq!(p(&[1.0, 1.0, 1.0, -1.0]), 10.0 / 16.0);
    let t = sign_flip(&[1.0, NAN, 0.0, 2.0]).unwrap();
    assert_eq!((t.count, t.smallest, t.p), (2, 0.5, 0.5));
    let none = sign_flip(&[]).unwrap();
    assert_eq!((none.count, none.smallest, none.p), (0, 1.0, 1.0));
    // As many as it takes: all of one sign reach the smallest p.
    let many: Vec<f64> = (1..=MOST_SIGNS).map(|v| 1.0 + 1.0 / v as f64).collect();
    assert_eq!(p(&many), 2.0 / 2f64.powi(MOST_SIGNS as i32));
    assert!(sign_flip(&[1.0; MOST_SIGNS + 1]).unwrap_err().to_string().contains("at most 40"));
    assert!(sign_flip(&[1.0, f64::INFINITY]).unwrap_err().to_string().contains("finite"));
}

#[test]
fn half_samples_need_two_observations() {
    assert!(half_sample_error(1, 1.0, |_| 1.0).is_nan());
    assert!(half_sample_error(3, 1.0, |i| if i == [1] { NAN } else { 1.0 }).is_nan());
    assert_eq!(half_sample_error(3, 1.0, |_| 1.0), 0.0);
}

proptest! {
    #[test]
    fn sign_flips_agree_with_all_sign_changes(values in prop::collection::vec(-10i32..10, 1..11)) {
        // Whole numbers: sums are exact, ties are many.
        let signed = |signs: usize| -> i32 {
            values.iter().enumerate().map(|(i, v)| if signs >> i & 1 == 1 { -v } else { *v }).sum()
        };
        let all = 1 << values.len();
        let above = (0..all).filter(|s| signed(*s).abs() >= signed(0).abs()).count();
        let t = sign_flip(&values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(t.p, above as f64 / all as f64);
        prop_assert!(t.p >= t.smallest);
    }

    #[test]
    fn the_sign_flip_test_keeps_its_level_exactly(sizes in prop::collection::vec(0.01f64..10.0, 1..9)) {
        // Under exchangeable arms all sign changes of the sizes are equally likely: p <= level for at most that fraction.
        let all = 1 << sizes.len();
        let mut found: Vec<f64> = (0..all).map(|signs: usize| {
            let values: Vec<f64> =
                sizes.iter().enumerate().map(|(i, v)| if signs >> i & 1 == 1 { -v } else { *v }).collect();
            sign_flip(&values).unwrap().p
        }).collect();
        found.sort_by(f64::total_cmp);
        for (i, p) in found.iter().enumerate() {
            prop_assert!((i + 1) as f64 / all as f64 <= *p || found.get(i + 1) == Some(p), "{found:?}");
        }
        prop_assert_eq!(found[0], (2.0 / all as f64).min(1.0));
    }

    #[test]
    fn half_samples_of_the_mean_scatter_by_its_standard_error(
        values in prop::collection::vec(-10.0f64..10.0, 2..40), factor in 0.1f64..10.0,
    ) {
        let e = estimate(&values);
        let mean = |v: &[usize]| v.iter().map(|i| values[*i]).sum::<f64>() / v.len() as f64;
        let error = half_sample_error(values.len(), e.mean, mean);
        // A mean of 400 squares, whose kurtosis is at most a normal variate's: 3.5 %, six times.
        prop_assert!((error / e.error - 1.0).abs() < 0.21, "{error} {}", e.error);
        let scaled = half_sample_error(values.len(), factor * e.mean, |i| factor * mean(i));
        prop_assert!((scaled - factor * error).abs() < 1e-12 * (1.0 + factor * error) * 10.0);
    }

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
