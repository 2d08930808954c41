//! How sure a mean over few sequences is.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Sequences beyond which a measurement is no longer proposed.
const MOST: u32 = 1 << 20;

/// One-sided quantile of Student's t for a mean over `sequences` values: what the mean over its standard error exceeds
/// by chance with probability `1 - level` when the true mean is zero. NaN below two values.
pub(crate) fn quantile(level: f64, sequences: u32) -> f64 {
    // Beyond, it is the normal quantile to six digits, and the inversion does not end for counts of a hostile trace.
    let freedom = f64::from(sequences.min(MOST)) - 1.0;
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |t| t.inverse_cdf(level))
}

/// Fewest sequences at which a mean of `delta`, with the deviation between sequences that gave `stderr` over
/// `sequences`, would exceed zero at this level; `None` where no affordable number does.
pub(super) fn needed(level: f64, delta: f64, stderr: f64, sequences: u32) -> Option<u32> {
    let deviation = stderr * f64::from(sequences).sqrt();
    let enough = |n: u32| delta > quantile(level, n) * deviation / f64::from(n).sqrt();
    let mut high = 2;
    while !enough(high) {
        high *= 2;
        if high > MOST {
            return None;
        }
    }
    // Both the quantile and the error fall with n.
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // n = 2: a Cauchy variable, tan(pi (p - 1/2)). The others to the four figures of printed tables.
        let cauchy = (std::f64::consts::PI * 0.475).tan();
        assert!((quantile(0.975, 2) - cauchy).abs() < 1e-6 * cauchy, "{}", quantile(0.975, 2));
        for (level, n, value) in [(0.975, 16, 2.1314), (0.95, 5, 2.1318), (0.99, 31, 2.4573)] {
            assert!((quantile(level, n) - value).abs() < 6e-5, "{level} {n}: {}", quantile(level, n));
        }
        assert!(quantile(0.975, 1).is_nan() && quantile(0.975, 0).is_nan());
    }

    /// Normal deviate (Box-Muller).
    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Of means over two sequences of no true reliance, the asked fraction passes: over N draws it scatters by
    /// `sqrt(p (1 - p) / N)`, here 3.5e-4, and five of these are crossed once in 2e6 seeds. Two standard errors, the
    /// usual rule of thumb, pass six times as often.
    #[test]
    fn two_sequences_give_false_alarms_at_the_level() {
        const DRAWS: u32 = 200_000;
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let bar = quantile(0.975, 2);
        let (mut alarms, mut thumb) = (0, 0);
        for _ in 0..DRAWS {
            let (a, b) = (normal(&mut rng), normal(&mut rng));
            let (delta, stderr) = (0.5 * (a + b), 0.5 * (a - b).abs());
            alarms += u32::from(delta > bar * stderr);
            thumb += u32::from(delta > 2.0 * stderr);
        }
        let rate = |count: u32| f64::from(count) / f64::from(DRAWS);
        assert!((rate(alarms) - 0.025).abs() < 5.0 * 3.5e-4, "{}", rate(alarms));
        assert!(rate(thumb) > 0.14, "{}", rate(thumb));
    }

    #[test]
    fn needed_sequences_are_just_enough() {
        for (delta, stderr, n) in [(0.01, 0.01, 16), (0.001, 0.02, 8), (0.5, 0.1, 4)] {
            let m = needed(0.975, delta, stderr, n).unwrap();
            let shows =
                |m: u32| delta > quantile(0.975, m) * stderr * f64::from(n).sqrt() / f64::from(m).sqrt();
            assert!(shows(m) && (m == 2 || !shows(m - 1)), "{m}");
        }
        assert_eq!(needed(0.975, 0.0, 0.01, 16), None);
        assert_eq!(needed(0.975, -1.0, 0.01, 16), None);
        assert_eq!(needed(0.975, 1e-9, 1.0, 16), None);
    }
}
