//! Tests of paired differences, and of many of them at once.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Estimate, estimate};

/// Two-sided p of the paired t test that differences have mean zero, NaN entries left out. 1 when all are zero, 0 when
/// they are all the same other number; NaN below two values.
pub fn paired_t(differences: &[f64]) -> f64 {
    let Estimate { count, mean, error, .. } = estimate(differences);
    if count < 2 {
        return f64::NAN;
    }
    if error == 0.0 {
        return if mean == 0.0 { 1.0 } else { 0.0 };
    }
    let t = (mean / error).abs();
    StudentsT::new(0.0, 1.0, count as f64 - 1.0).map_or(f64::NAN, |s| 2.0 * s.sf(t))
}

/// Holm's adjustment of several p values: reject where the adjusted one is at most the level, and the chance that any
/// true null is rejected is at most the level, whatever ties the tests together. NaN entries are no tests and stay NaN.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|i| !p[*i].is_nan()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![f64::NAN; p.len()];
    let mut least: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        least = least.max((p[i] * (order.len() - rank) as f64).min(1.0));
        adjusted[i] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::mean_interval;

    #[test]
    fn the_t_test_agrees_with_tables_and_with_the_interval() {
        // t = 2.776 with 4 degrees of freedom is p = 0.05 (tables); differences 1 +- s scaled to reach it.
        let around = [-2.0, -1.0, 0.0, 1.0, 2.0];
        let error = (10.0_f64 / 4.0 / 5.0).sqrt();
        let values = around.map(|v| v + 2.776_445_105 * error);
        assert!((paired_t(&values) - 0.05).abs() < 1e-8);
        // The 95 % interval ends at zero exactly there.
        assert!(mean_interval(&values, 0.95).unwrap().low.abs() < 1e-8);
        assert_eq!(paired_t(&[0.0, 0.0]), 1.0);
        assert_eq!(paired_t(&[2.0, 2.0, f64::NAN]), 0.0);
        assert!(paired_t(&[1.0]).is_nan() && paired_t(&[]).is_nan());
        let flipped = values.map(|v| -v);
        assert_eq!(paired_t(&values), paired_t(&flipped));
    }

    #[test]
    fn holm_steps_down() {
        // By hand: 0.01 x 3; max(0.03, 0.02 x 2) = 0.04; max(0.04, 0.5 x 1).
        let got = holm(&[0.5, f64::NAN, 0.01, 0.02]);
        let want = [0.5, f64::NAN, 0.03, 0.04];
        for (g, w) in got.iter().zip(want) {
            assert!((g.is_nan() && w.is_nan()) || (g - w).abs() < 1e-15, "{got:?}");
        }
        assert_eq!(holm(&[0.9, 0.8]), vec![1.0, 1.0]);
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }
}
