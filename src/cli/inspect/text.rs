//! What `growthpath inspect` prints for people.

use growthpath_analysis::spectral::HeadSpectrum;

use super::super::output::{number, table};
use super::inspection::{Inspection, Layer};

/// The heading of one checkpoint.
fn heading(i: &Inspection) -> String {
    let step = i.step.map_or(String::new(), |s| format!(" (step {s})"));
    let positions = match (i.rope, i.layers.iter().all(|l| l.rope)) {
        (false, _) => "",
        (true, true) => ", rotary positions",
        (true, false) => ", rotary positions in some layers",
    };
    format!(
        "{}{step}: {}, {} layers, {} heads ({} for keys) of width {}{positions}\n",
        i.checkpoint.display(),
        i.model_type,
        i.layers.len(),
        i.heads,
        i.kv_heads,
        i.head_dim,
    )
}

/// The text for all checkpoints.
pub(super) fn text(all: &[Inspection], by_head: bool) -> String {
    let mut out = String::new();
    for i in all {
        out += &heading(i);
        if let Some(why) = &i.not_bilinear {
            out += &format!("NOT BILINEAR: {why}; no growth is printed\n");
        }
        for n in &i.notes {
            out += &format!("note: {n}\n");
        }
        let dead = i.layers.iter().flat_map(|l| &l.heads).filter(|h| h.spectral_norm == 0.0).count();
        if dead > 0 {
            out += &format!("note: {dead} heads have M = 0; means of ranks and of growth leave them out\n");
        }
        out += &rows(i, by_head);
    }
    out + &footer(all, by_head)
}

fn rows(i: &Inspection, by_head: bool) -> String {
    let biased = i.layers.iter().any(|l| l.augmented.is_some());
    let mut rows = Vec::new();
    for l in &i.layers {
        let balance =
            l.balance.as_ref().map_or(f64::NAN, |b| b.iter().map(|b| b.relative).fold(0.0, f64::max));
        if by_head {
            for h in 0..l.heads.len() {
                rows.push(row(l, format!("{}.{h}", l.layer), h..h + 1, balance, biased));
            }
        } else {
            rows.push(row(l, l.layer.to_string(), 0..l.heads.len(), balance, biased));
        }
    }
    let mut head = vec![
        if by_head { "layer.head" } else { "layer" },
        "|M|_2",
        "|M|_F",
        "stable rank",
        "entropy rank",
        "participation",
        "ln growth",
    ];
    if biased {
        head.extend(["|M~|_2", "M~ stable rank", "M~ ln growth"]);
    }
    head.push("balance drift");
    table(&head, &rows)
}

/// Mean of what is defined.
fn mean(values: impl Iterator<Item = f64>) -> String {
    let (mut sum, mut n) = (0.0, 0.0);
    for v in values.filter(|v| v.is_finite()) {
        sum += v;
        n += 1.0;
    }
    number(sum / n)
}

fn row(l: &Layer, name: String, heads: std::ops::Range<usize>, balance: f64, biased: bool) -> Vec<String> {
    let of = |s: &[HeadSpectrum], f: fn(&HeadSpectrum) -> f64| mean(s[heads.clone()].iter().map(f));
    let grown = |g: &Option<Vec<f64>>| {
        g.as_ref().map_or_else(|| number(f64::NAN), |g| mean(g[heads.clone()].iter().copied()))
    };
    let mut out = vec![
        name,
        of(&l.heads, |h| h.spectral_norm),
        of(&l.heads, |h| h.frobenius_norm),
        of(&l.heads, |h| h.stable_rank),
        of(&l.heads, |h| h.entropy_rank),
        of(&l.heads, |h| h.participation_rank),
        grown(&l.spectral_growth),
    ];
    if biased {
        let augmented = l.augmented.as_deref().unwrap_or(&l.heads);
        out.push(of(augmented, |h| h.spectral_norm));
        out.push(of(augmented, |h| h.stable_rank));
        out.push(grown(&l.augmented_growth));
    }
    out.push(number(balance));
    out
}

/// What the numbers are.
fn footer(all: &[Inspection], by_head: bool) -> String {
    let usual = |i: &Inspection, s: f64| (s * (i.head_dim as f64).sqrt() - 1.0).abs() < 1e-12;
    let mut other: Vec<f64> = all
        .iter()
        .flat_map(|i| i.layers.iter().map(|l| l.attention_scale).filter(|s| !usual(i, *s)))
        .collect();
    other.sort_by(f64::total_cmp);
    other.dedup();
    let scale = match other.as_slice() {
        [] => "W_Q W_K^T / sqrt(d_h)".to_string(),
        [one] => format!("{} W_Q W_K^T (the configuration's attention scale)", number(*one)),
        [low, .., high] => {
            format!(
                "s W_Q W_K^T with the configuration's attention scale s, {} to {}",
                number(*low),
                number(*high)
            )
        }
    };
    let mut out = format!(
        "M = {scale} per head, of the weights alone{}.\n",
        if by_head { "" } else { "; means over heads" }
    );
    if all.iter().any(|i| i.rope) {
        out += "With rotary positions M is the matrix of logits at distance 0.\n";
    }
    if all.iter().any(|i| i.layers.iter().any(|l| l.augmented.is_some())) {
        out += "M~ = the same of [W; b], biases as a last row; without rotary positions the key's bias is left out, softmax forgets it.\n";
    }
    let folded = all.iter().any(|i| i.norms_folded);
    out += if folded {
        "The gain (in M~ also the bias) of the norm before attention is folded in: M acts on the normalized stream.\n"
    } else {
        "M acts on the norm's output: its gain is not folded in (--fold-norms folds it), so a change of gain alone is not seen.\n"
    };
    out
}
