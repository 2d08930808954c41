//! The table of two arms compared over seeds.

use growthpath_analysis::compare::{SeedMetric, SeedSummary};
use growthpath_analysis::statistics::Sign;

use super::output::{number, table};

/// A row a number, then what the columns mean and what can be said of loss and tokens.
pub fn text(s: &SeedSummary) -> String {
    let percent = format!("{:.0} % interval", 100.0 * s.level);
    let head = ["", "seeds", "mean", "standard error", &percent, "sign-flip p", "least p", "reading"];
    // Differences that are rounding in every comparison are none.
    let differs = |m: &&SeedMetric| m.values.iter().any(|v| v.is_nan() || v.abs() > 1e-9);
    let mut out = table(&head, &s.metrics.iter().filter(differs).map(row).collect::<Vec<_>>());
    out += &format!(
        "\nover {} seeds, {} of them pairs of runs of the same seed. Intervals are Student's t; where one covers zero the\n\
         difference is noise as far as these seeds tell (undecided). One interval in {:.0} misses by chance: among {} differences, some may.\n",
        s.count,
        s.paired,
        1.0 / (1.0 - s.level),
        s.metrics.iter().filter(|m| m.sign.is_some()).count()
    );
    out += &format!(
        "sign-flip p: exact, two-sided; \"least p\" is the smallest that so many seeds can reach{}.\n",
        if s.count < 6 { " (2/2^n: below 0.05 from 6 seeds on)" } else { "" }
    );
    out += &s.get("log_token_ratio").map_or_else(String::new, tokens);
    out
}

fn row(m: &SeedMetric) -> Vec<String> {
    let reading = match m.sign {
        None => "-",
        Some(_) if m.estimate.count < 2 => "undecided (needs 2 seeds)",
        Some(Sign::Undecided) => "undecided",
        Some(Sign::Positive) => "B above A",
        Some(Sign::Negative) => "B below A",
    };
    let test = |of: fn(&growthpath_analysis::statistics::SignFlip) -> f64| {
        m.sign_flip.as_ref().map_or_else(|| "-".to_owned(), |t| number(of(t)))
    };
    vec![
        m.name.to_owned(),
        m.estimate.count.to_string(),
        number(m.estimate.mean),
        number(m.estimate.error),
        format!("{} .. {}", number(m.interval.low), number(m.interval.high)),
        test(|t| t.p),
        test(|t| t.smallest),
        reading.to_owned(),
    ]
}

/// The token ratio in words; nothing is claimed inside its interval.
fn tokens(m: &SeedMetric) -> String {
    let (ratio, i) = (m.estimate.mean.exp(), &m.interval);
    let range = format!("{:.3} .. {:.3}, {} seeds", i.low.exp(), i.high.exp(), m.estimate.count);
    match m.sign {
        Some(Sign::Negative | Sign::Positive) => {
            format!("B needs {ratio:.2}x A's tokens to the worse final loss (geometric mean; {range}).\n")
        }
        _ if m.estimate.count < 2 => {
            format!("tokens to the worse final loss: no claim from {} seeds.\n", m.estimate.count)
        }
        _ => format!("tokens to the worse final loss: B/A {ratio:.3}, noise ({range}, covers 1).\n"),
    }
}
