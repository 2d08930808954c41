//! Tick positions and their labels.

use crate::scale::{LARGEST, Range, SMALLEST, Scale};

/// Major ticks with labels, and unlabelled minor ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticks {
    /// Labelled tick values, ascending, inside the range.
    pub major: Vec<f64>,
    /// One label a major tick.
    pub labels: Vec<String>,
    /// Unlabelled ticks, ascending, inside the range.
    pub minor: Vec<f64>,
}

/// At most `n` ticks for `range` on `scale`, at round values: 1, 2 or 5 times a power of ten on a linear axis, powers
/// of ten (with 2 and 5 between where there is room) on a logarithmic one.
pub fn ticks(range: Range, scale: Scale, n: usize) -> Ticks {
    if n == 0 || range.low.is_nan() || range.high.is_nan() || range.low >= range.high {
        return Ticks { major: Vec::new(), labels: Vec::new(), minor: Vec::new() };
    }
    match scale {
        Scale::Linear => linear(range, n),
        Scale::Log | Scale::SymLog { .. } => logarithmic(range, scale, n),
    }
}

fn linear(range: Range, n: usize) -> Ticks {
    let (major, step) = linear_values(range, n);
    let labels = linear_labels(&major, step);
    Ticks { major, labels, minor: Vec::new() }
}

fn linear_values(range: Range, n: usize) -> (Vec<f64>, f64) {
    let span = range.high - range.low;
    let start = ((span / n as f64).log10().floor() as i32).max(-307);
    // Three decades of steps are enough, unless float64 cannot count steps off around the range.
    for exponent in start..308 {
        for m in [1.0, 2.0, 5.0] {
            let step = m * 10f64.powi(exponent);
            let (first, last) = ((range.low / step).ceil(), (range.high / step).floor());
            // A step below the spacing of float64 around the range cannot be counted off.
            if step.is_normal() && last.abs().max(first.abs()) < 1e14 && last - first < n as f64 {
                let count = (last - first).max(-1.0) as i64;
                let values = (0..=count)
                    .map(|i| round_to(first + i as f64, m, exponent))
                    .filter(|&v| v >= range.low && v <= range.high)
                    .collect();
                return (values, step);
            }
        }
    }
    (Vec::new(), span)
}

/// `index * m * 10^exponent`, by division for negative exponents so that 3 * 0.1 reads 0.3.
fn round_to(index: f64, m: f64, exponent: i32) -> f64 {
    let v = if exponent < 0 && exponent > -300 {
        index * m / 10f64.powi(-exponent)
    } else {
        index * m * 10f64.powi(exponent)
    };
    v + 0.0 // turns -0 into 0
}

/// A signed (sign, multiple, exponent) tick of a logarithmic axis.
type LogTick = (f64, f64, i32);

fn logarithmic(range: Range, scale: Scale, n: usize) -> Ticks {
    let (largest, smallest) = match scale {
        Scale::SymLog { linear } => (range.low.abs().max(range.high.abs()), linear.max(f64::MIN_POSITIVE)),
        _ => (range.high, range.low),
    };
    let bottom = (smallest.max(SMALLEST).log10() - 1e-9).floor() as i32;
    let top = (largest.clamp(SMALLEST, LARGEST).log10() + 1e-9).floor() as i32;
    let symmetric = matches!(scale, Scale::SymLog { .. });
    let candidates = |multiples: &[f64], stride: i32| -> Vec<LogTick> {
        let mut out: Vec<LogTick> = Vec::new();
        if symmetric {
            out.push((0.0, 0.0, 0));
        }
        for k in bottom..=top {
            if k.rem_euclid(stride) != 0 {
                continue;
            }
            for &m in multiples {
                out.push((1.0, m, k));
                if symmetric {
                    out.push((-1.0, m, k));
                }
            }
        }
        out.retain(|&t| {
            let v = log_value(t);
            // Below the linear threshold multiples crowd at zero.
            v >= range.low && v <= range.high && (v == 0.0 || !symmetric || v.abs() >= smallest * 0.999)
        });
        out.sort_by(|a, b| log_value(*a).total_cmp(&log_value(*b)));
        out
    };
    let mut chosen = candidates(&[1.0, 2.0, 5.0], 1);
    let mut stride = 1;
    if chosen.len() > n {
        chosen = candidates(&[1.0], 1);
    }
    while chosen.len() > n && stride < 1000 {
        stride += 1;
        chosen = candidates(&[1.0], stride);
    }
    if chosen.len() > n || chosen.len() < 2 {
        return linear(range, n);
    }
    let plain =
        chosen.iter().all(|&(s, _, k)| s == 0.0 || (-3..=3).contains(&k)) && (symmetric || top - bottom <= 4);
    let labels = chosen
        .iter()
        .map(|&(s, m, k)| match s {
            0.0 => "0".to_string(),
            s if s < 0.0 => format!("−{}", power_label(m, i64::from(k), plain)),
            _ => power_label(m, i64::from(k), plain),
        })
        .collect();
    let minor = if top - bottom > 12 {
        Vec::new()
    } else {
        candidates(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 1)
            .into_iter()
            .filter(|t| !chosen.contains(t))
            .map(log_value)
            .collect()
    };
    Ticks { major: chosen.into_iter().map(log_value).collect(), labels, minor }
}

fn log_value((sign, m, k): LogTick) -> f64 {
    sign * round_to(1.0, m, k)
}

fn power_label(m: f64, k: i64, plain: bool) -> String {
    if plain {
        // Only called with -3 <= k <= 3.
        return if k >= 0 {
            format!("{}", m * 10f64.powi(k as i32))
        } else {
            format!("{}", m / 10f64.powi(-k as i32))
        };
    }
    let power = format!("10{}", superscript(k));
    if m == 1.0 { power } else { format!("{m}×{power}") }
}

/// Unicode superscript of a whole number.
pub fn superscript(k: i64) -> String {
    k.to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '4' => '⁴',
            '5' => '⁵',
            '6' => '⁶',
            '7' => '⁷',
            '8' => '⁸',
            '9' => '⁹',
            _ => '⁰',
        })
        .collect()
}

fn linear_labels(values: &[f64], step: f64) -> Vec<String> {
    let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    if largest == 0.0 {
        return values.iter().map(|_| "0".to_string()).collect();
    }
    // The step is m * 10^k with m in 1, 2, 5, so k is its last digit.
    let last_digit = (step.log10() + 1e-9).floor() as i32;
    let suffix = [(1e6, "M"), (1e3, "k")]
        .into_iter()
        .find(|(unit, _)| largest >= 10.0 * unit && largest < 1e9 && step >= unit / 10.0);
    if let Some((unit, letter)) = suffix {
        let decimals = usize::from(step < unit);
        return values
            .iter()
            .map(|v| if *v == 0.0 { "0".into() } else { fixed(v / unit, decimals) + letter })
            .collect();
    }
    if largest < 1e5 && last_digit >= -4 {
        return values.iter().map(|v| fixed(*v, (-last_digit).max(0) as usize)).collect();
    }
    let exponent = largest.log10().floor() as i32;
    let decimals = (exponent - last_digit).clamp(0, 15) as usize;
    // Two steps, as 10^-exponent alone overflows at the ends of float64.
    let scaled = |v: f64| v / 10f64.powi(exponent / 2) / 10f64.powi(exponent - exponent / 2);
    values
        .iter()
        .map(|v| {
            if *v == 0.0 {
                "0".into()
            } else {
                format!("{}×10{}", fixed(scaled(*v), decimals), superscript(exponent.into()))
            }
        })
        .collect()
}

fn fixed(v: f64, decimals: usize) -> String {
    growthpath_trace::fixed(v, decimals).replace('-', "−")
}

/// A number for prose: three significant digits, powers of ten outside [0.001, 10,000).
pub fn number(v: f64) -> String {
    if v.is_nan() {
        return "n/a".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "∞".into() } else { "−∞".into() };
    }
    if v == 0.0 {
        return "0".into();
    }
    let exponent = v.abs().log10().floor() as i32;
    if (-3..4).contains(&exponent) {
        return fixed(v, (2 - exponent).max(0) as usize);
    }
    let scaled = v / 10f64.powi(exponent / 2) / 10f64.powi(exponent - exponent / 2);
    format!("{}×10{}", fixed(scaled, 1), superscript(exponent.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(range: Range, scale: Scale, n: usize) -> Result<(), TestCaseError> {
        let t = ticks(range, scale, n);
        prop_assert!(t.major.len() <= n, "{:?}", t);
        prop_assert_eq!(t.major.len(), t.labels.len());
        for list in [&t.major, &t.minor] {
            prop_assert!(list.windows(2).all(|w| w[0] < w[1]), "sorted: {:?}", list);
            prop_assert!(
                list.iter().all(|v| *v >= range.low && *v <= range.high),
                "inside {:?}: {:?}",
                range,
                list
            );
        }
        let mut labels = t.labels.clone();
        labels.sort();
        labels.dedup();
        prop_assert_eq!(labels.len(), t.labels.len(), "labels differ: {:?}", t);
        Ok(())
    }

    proptest! {
        #[test]
        fn linear_ticks_are_sorted_inside_and_few(low in -1e9..1e9f64, e in -4.0..12.0f64, n in 1usize..12) {
            check(Range { low, high: low + 10f64.powf(e) }, Scale::Linear, n)?;
        }

        #[test]
        fn log_ticks_are_sorted_inside_and_few(a in -290.0..290.0f64, e in -2.0..2.5f64, n in 1usize..12) {
            let high = (a + 10f64.powf(e)).min(299.0);
            let range = Range { low: 10f64.powf(a), high: 10f64.powf(high) };
            if range.low < range.high {
                check(range, Scale::Log, n)?;
            }
        }

        #[test]
        fn symlog_ticks_are_sorted_inside_and_few(low in -1e7..1e7f64, e in -3.0..9.0f64, c in -6.0..4.0f64, n in 1usize..12) {
            check(Range { low, high: low + 10f64.powf(e) }, Scale::SymLog { linear: 10f64.powf(c) }, n)?;
        }

        #[test]
        fn a_wide_linear_range_has_at_least_a_third_of_the_ticks(low in -1e6..1e6f64, e in -2.0..6.0f64, n in 6usize..12) {
            // Steps grow by at most 2.5, so at least (n - 1) / 2.5 - 1 intervals remain.
            let t = ticks(Range { low, high: low + 10f64.powf(e) }, Scale::Linear, n);
            prop_assert!(t.major.len() + 1 >= n / 3, "{:?}", t);
        }
    }

    #[test]
    fn labels_read_well() {
        let at = |low, high, scale, n| ticks(Range { low, high }, scale, n).labels;
        assert_eq!(at(0.0, 1.0, Scale::Linear, 6), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(at(0.0, 1000.0, Scale::Linear, 6), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!(at(0.0, 60_000.0, Scale::Linear, 4), ["0", "20k", "40k", "60k"]);
        assert_eq!(at(-0.02, 0.02, Scale::Linear, 5), ["−0.02", "−0.01", "0.00", "0.01", "0.02"]);
        assert_eq!(at(0.0, 4e-6, Scale::Linear, 5), ["0", "1×10⁻⁶", "2×10⁻⁶", "3×10⁻⁶", "4×10⁻⁶"]);
        assert_eq!(at(0.05, 150.0, Scale::Log, 6), ["0.1", "1", "10", "100"]);
        assert_eq!(at(1e-8, 1.0, Scale::Log, 5), ["10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "10⁰"]);
        assert_eq!(at(0.0, 1000.0, Scale::SymLog { linear: 10.0 }, 5), ["0", "10", "100", "1000"]);
    }

    #[test]
    fn extreme_ranges_end() {
        for (low, high) in
            [(-1e300, 1e300), (1e-300, 2e-300), (0.0, 1e-299), (1.0, 1.0 + 4e-9), (1e299, 1e300)]
        {
            for scale in [Scale::Linear, Scale::Log, Scale::SymLog { linear: 1e-12 }] {
                let t = ticks(Range { low, high }, scale, 6);
                assert!(t.major.len() <= 6, "{scale:?} {t:?}");
                assert!(t.major.windows(2).all(|w| w[0] < w[1]));
                assert!(t.major.iter().all(|v| *v >= low && *v <= high));
            }
        }
    }

    #[test]
    fn numbers_in_prose() {
        assert_eq!(number(0.98321), "0.983");
        assert_eq!(number(-12.34), "−12.3");
        assert_eq!(number(1234.0), "1234");
        assert_eq!(number(3.2e-7), "3.2×10⁻⁷");
        assert_eq!(number(f64::NAN), "n/a");
        assert_eq!(number(0.0), "0");
    }
}
