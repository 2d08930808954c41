//! The answer in sentences: one an arm, one a pair, one about looking back.

use growthpath_analysis::compare::{Comparison, GroupComparison};
use growthpath_analysis::diagnosis::{Diagnosis, Verdict};
use growthpath_analysis::read::LayerSplit;
use growthpath_analysis::statistics::Sign;
use growthpath_figures::{Material, RunMaterial};

use crate::tables::{number, plural};

/// Two decimals and a sign.
pub fn signed(v: f64) -> String {
    match v {
        v if !v.is_finite() => "undefined".to_owned(),
        v => growthpath_trace::signed(v, 2).replace('-', "−"),
    }
}

/// Mean of a layer's number over one half; NaN without probe intervals.
pub fn half(run: &RunMaterial, upper: bool, of: fn(&LayerSplit) -> f64) -> f64 {
    let accounting = &run.analysis.accounting;
    let layers = &accounting.layers;
    let middle = layers.len() / 2;
    let chosen = if upper { &layers[middle..] } else { &layers[..middle] };
    if accounting.intervals == 0 {
        return f64::NAN;
    }
    chosen.iter().map(of).sum::<f64>() / chosen.len() as f64
}

/// Whether the model normalizes queries and keys.
fn qk_norm(run: &RunMaterial) -> bool {
    run.config.pointer("/model/qk_norm").and_then(|v| v.as_bool()) == Some(true)
}

/// The verdict in a few words.
pub fn verdict(run: &RunMaterial) -> String {
    if run.diverged.is_some() {
        return "diverged".into();
    }
    let short = if run.diagnosis.as_ref().is_some_and(|d| d.short) { " (too few steps to say)" } else { "" };
    match run.diagnosis.as_ref().map(|d| d.verdict) {
        Some(Verdict::Premature) => format!("premature{short}"),
        Some(Verdict::NotPremature) => format!("not premature{short}"),
        Some(Verdict::Undecided) => "undecided".into(),
        None if qk_norm(run) => "no verdict (queries and keys are normalized)".into(),
        None => "no verdict (not probed)".into(),
    }
}

/// What happened in a run.
pub fn lines(run: &RunMaterial) -> Vec<String> {
    let mut lines = Vec::new();
    let a = &run.analysis;
    if let Some(step) = run.diverged {
        lines.push(format!("It diverged after {}: its last numbers are no results.", plural(step, "step")));
    }
    if let Some(d) = &run.diagnosis {
        let mut sentence = d.sentence.clone();
        if let Some(first) = sentence.get(..1).map(str::to_uppercase) {
            sentence.replace_range(..1, &first);
        }
        let short = if d.short { " So few steps are too few to say." } else { "" };
        lines.push(sentence + "." + short + &robustness(d));
    } else if qk_norm(run) {
        lines.push("Its logits are not bilinear in W_Q and W_K: no probes are taken.".into());
    }
    let growth = half(run, true, |l| l.growth);
    if growth.is_finite() {
        lines.push(format!(
            "The upper half’s attention grew ×{} (ln {}, measured): query weights {}, key weights {}, features {}.",
            number(growth.exp()),
            signed(growth),
            signed(half(run, true, |l| l.query)),
            signed(half(run, true, |l| l.key)),
            signed(half(run, true, |l| l.features)),
        ));
    }
    if a.val_loss.is_finite() && run.diverged.is_none() {
        let error = match a.val_loss_stderr.is_finite() {
            true => format!(" ± {:.4} (standard error over its windows)", a.val_loss_stderr),
            false => String::new(),
        };
        let what = match a.val_step < a.window.end {
            true => format!("Validation loss at step {}, the last measured", a.val_step),
            false => "Final validation loss".to_owned(),
        };
        lines.push(format!("{what}: {:.4}{error} nat/token.", a.val_loss));
    }
    lines
}

/// How many of the neighbouring thresholds and lags say the same, where not all do.
fn robustness(d: &Diagnosis) -> String {
    let (all, same) = (d.sensitivity.len(), d.sensitivity.iter().filter(|s| s.verdict == d.verdict).count());
    match same < all {
        true => format!(" With thresholds and lag halved or doubled, {same} of {all} settings say the same."),
        false => String::new(),
    }
}

/// What would have held each run's upper half back.
pub fn changes(m: &Material) -> Vec<String> {
    let of = |r: &RunMaterial| {
        let recommendation = r.diagnosis.as_ref()?.recommendation.as_ref()?;
        Some(format!("{}: {}.", r.name, recommendation.sentence))
    };
    m.runs.iter().filter_map(of).collect()
}

/// What a measured gap in growth, in ln, is called.
pub fn than(gap: f64) -> &'static str {
    match gap {
        g if g.abs() < 0.005 => "as much as",
        g if g < 0.0 => "less than",
        _ => "more than",
    }
}

/// How one arm's growth and loss differ from another's.
pub fn gap(from: &str, to: &str, c: &Comparison) -> String {
    let g = &c.groups.upper;
    let mut out = match g.measured_gap {
        gap if !gap.is_finite() => format!("{to} against {from}: the gap in growth is undefined."),
        gap => {
            let way = than(gap);
            format!(
                "{to} against {from}: its upper half grew {way} that of {from}, by ln {} measured ({} predicted{}).",
                signed(gap),
                signed(g.predicted_gap),
                levers(g, c.split_is_trusted),
            )
        }
    };
    if let Some(l) = &c.final_loss {
        let i = &l.difference_interval;
        let shown = |v: f64| growthpath_trace::fixed(v, 4).replacen('-', "−", 1);
        let interval =
            |low: f64, high: f64| format!("95 % interval {} to {} over sequences", shown(low), shown(high));
        out += &if !l.difference_stderr.is_finite() {
            format!(" Its loss differs by {}, error unknown: no claim.", loss_difference(l.difference))
        } else if i.sign() == Sign::Undecided {
            let interval = interval(i.low, i.high);
            format!(" The difference in loss, {}, is noise ({interval}).", loss_difference(l.difference))
        } else {
            // The interval of the amount that is named, not of its negative.
            let (way, interval) = match l.difference < 0.0 {
                true => ("lower", interval(-i.high, -i.low)),
                false => ("higher", interval(i.low, i.high)),
            };
            let of = "how far seeds scatter is not in it";
            format!(" Its loss is {way} by {:.4} ({interval}; {of}).", l.difference.abs())
        };
    }
    out
}

fn loss_difference(v: f64) -> String {
    growthpath_trace::signed(v, 4).replacen('-', "−", 1)
}

fn levers(g: &GroupComparison, trusted: bool) -> String {
    if !trusted {
        return "; the levers are interpolated too much to be named".into();
    }
    match g.shapley.levers()[0] {
        (name, part) if part.abs() >= 0.005 => format!(", most by {name} {}", signed(part)),
        _ => String::new(),
    }
}

/// Whether the models do better than anybody could without looking back.
pub fn looking_back(m: &Material) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(bound) = m.blind.filter(|b| b.is_finite()) {
        let (mut below, mut above) = (Vec::new(), Vec::new());
        for r in m
            .runs
            .iter()
            .filter(|r| r.diverged.is_none() && r.analysis.val_step > 0 && r.analysis.val_loss.is_finite())
        {
            let gap = bound - r.analysis.val_loss;
            if gap > 0.0 { below.push(format!("{} by {gap:.3}", r.name)) } else { above.push(r.name.clone()) }
        }
        let mut text = format!(
            "Nobody who sees only the present token can have a loss below {bound:.4} nat/token on these validation windows."
        );
        if !below.is_empty() {
            text += &format!(" Attention pays: below it are {}.", below.join(", "));
        }
        if !above.is_empty() {
            text += &format!(" Not below it, so attention is not shown to pay: {}.", above.join(", "));
        }
        lines.push(text);
    }
    if let Some(floor) = m.floor {
        lines.push(format!(
            "Entropy rate of the built-in language, the floor of every loss: {floor:.4} nat/byte."
        ));
    }
    lines
}

/// The page's title: the verdicts in one line.
pub fn title(m: &Material) -> String {
    let of = |wanted: Verdict| -> Vec<&str> {
        let is = |r: &&RunMaterial| {
            r.diverged.is_none() && r.diagnosis.as_ref().is_some_and(|d| d.verdict == wanted)
        };
        m.runs.iter().filter(is).map(|r| r.name.as_str()).collect()
    };
    let (yes, no, open) = (of(Verdict::Premature), of(Verdict::NotPremature), of(Verdict::Undecided));
    let said = [("premature in", yes), ("not in", no), ("undecided in", open)];
    let parts: Vec<String> =
        said.iter().filter(|s| !s.1.is_empty()).map(|(w, n)| format!("{w} {}", n.join(", "))).collect();
    match parts.is_empty() {
        true => "How attention grew".into(),
        false => format!("Upper-half commitment: {}", parts.join("; ")),
    }
}
