//! The table of `growthpath analyze --signals`.

use growthpath_analysis::read::{LEAD_LAGS, Lead, RankCorrelation};

use super::output::table;
use super::words::glossary;

/// Rank correlations of every signal with the growth that follows, over time and over heads.
pub fn text(leads: &[Lead]) -> String {
    let mut out = String::from(
        "\nDo early signals lead growth? Rank correlation with ln a(t + k) - ln a(t);\n\
         in brackets, given the growth over the k steps before\n",
    );
    type Pick = fn(&Lead) -> &RankCorrelation;
    let kinds: [(&str, &str, Pick); 2] = [
        ("when", "when a head grows: over its steps, median over heads", |l| &l.over_time),
        ("which", "which head grows: over the heads at a step, mean over steps", |l| &l.over_heads),
    ];
    for (kind, about, pick) in kinds {
        let rows: Vec<Vec<String>> = leads
            .chunks(LEAD_LAGS.len())
            .map(|of_signal| {
                let name = of_signal.first().map_or("", |l| l.signal).to_owned();
                std::iter::once(name).chain(of_signal.iter().map(|l| cell(pick(l)))).collect()
            })
            .collect();
        let lags = LEAD_LAGS.map(|k| format!("k = {k}"));
        let header: Vec<&str> = std::iter::once(kind).chain(lags.iter().map(String::as_str)).collect();
        out += &format!("\n{about}\n{}", table(&header, &rows));
    }
    out + &glossary(&[
        (
            "pressure",
            "-<W, G>: how fast the loss falls as logits are scaled up (2.1); normalized: as a cosine",
        ),
        ("dm_f, dm_top, dm_entropy", "size, largest singular value and spectral entropy of the update of M"),
    ])
}

fn cell(r: &RankCorrelation) -> String {
    let show = |v: f64| if v.is_nan() { "-".to_owned() } else { growthpath_trace::signed(v, 2) };
    format!("{} ({})", show(r.plain), show(r.given_past))
}
