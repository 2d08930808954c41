//! Tables of one row an arm.

use growthpath_analysis::diagnosis::Bracket;

use super::cells;
use super::table::Table;
use crate::study::results::{ArmResult, Ended, Results, RunResult};
use crate::tables::number;

/// What arms came to: loss, verdict, times.
pub fn losses(r: &Results) -> Table {
    let head = [
        "arm",
        "seeds",
        "validation loss [95 %]",
        "perplexity",
        "verdict (seeds)",
        "upper commits",
        "lower settles",
        "not complete",
    ];
    let mut t = Table::new("arms", "Final validation loss, nats a token, and what attention did", &head);
    for a in &r.arms {
        let runs: Vec<&RunResult> = r.of(&a.arm).collect();
        let loss = a.summary.get("val_loss");
        t.rows.push(vec![
            a.arm.clone(),
            format!("{} of {}", a.summary.complete, runs.len()),
            cells::metric(loss),
            loss.map_or_else(|| "-".to_owned(), |m| number(m.mean.exp())),
            verdicts(a),
            times(&runs, |s| s.commitment),
            times(&runs, |s| s.maturity),
            incomplete(&runs),
        ]);
    }
    t.notes.push(
        "Means over seeds with Student's 95 % interval. Times are steps, over the seeds in which they were seen (their \
         number in brackets where not in all), each known to lie after the first and no later than the second. \
         Premature: the upper half committed before the lower half had settled."
            .to_owned(),
    );
    t
}

/// The same in fewer columns, for a terminal.
pub fn short(r: &Results) -> Table {
    let wide = losses(r);
    // Arm, seeds, loss, perplexity, verdict.
    let cut = |row: &Vec<String>| row[..5].to_vec();
    let mut t = Table { head: cut(&wide.head), rows: wide.rows.iter().map(cut).collect(), ..wide };
    t.notes.clear();
    for run in r.runs.iter().filter(|run| run.ended != Ended::Complete) {
        t.notes.push(format!("{} seed {}: {}", run.arm, run.seed, run.state()));
    }
    t
}

fn verdicts(a: &ArmResult) -> String {
    let v = &a.summary.verdicts;
    let named = [
        ("premature", v.premature),
        ("not premature", v.not_premature),
        ("undecided", v.undecided),
        ("no probes", v.unmeasured),
    ];
    let told: Vec<String> =
        named.iter().filter(|(_, n)| *n > 0).map(|(word, n)| format!("{word} {n}")).collect();
    if told.is_empty() { "-".to_owned() } else { told.join(", ") }
}

/// The bracket that holds every seed's.
fn times(runs: &[&RunResult], of: fn(&growthpath_analysis::arms::RunSummary) -> Option<Bracket>) -> String {
    let complete: Vec<_> = runs.iter().filter_map(|r| r.complete()).collect();
    let seen: Vec<Bracket> = complete.iter().filter_map(|s| of(s)).collect();
    let (Some(low), Some(high)) = (seen.iter().map(|b| b.low).min(), seen.iter().map(|b| b.high).max())
    else {
        return if complete.is_empty() { "-".to_owned() } else { "not seen".to_owned() };
    };
    let all = if seen.len() == complete.len() { String::new() } else { format!(" ({})", seen.len()) };
    cells::bracket(Some(Bracket { low, high })) + &all
}

fn incomplete(runs: &[&RunResult]) -> String {
    let told: Vec<String> = runs
        .iter()
        .filter(|r| r.ended != Ended::Complete)
        .map(|r| format!("{}: {}", r.seed, r.state()))
        .collect();
    told.join("; ")
}

/// Where growth came from, both halves.
pub fn growth(r: &Results) -> Table {
    let head = ["arm", "half", "ln growth", "query weights", "key weights", "features", "spread at the end"];
    let mut t =
        Table::new("growth", "Growth of the attention logits' spread and what made it (3.1), in ln", &head);
    for (a, half) in halves(r) {
        let cell = |part: &str| cells::metric(a.summary.get(&format!("growth.{half}{part}")));
        t.rows.push(vec![
            a.arm.clone(),
            half.to_owned(),
            cell(""),
            cell(".query"),
            cell(".key"),
            cell(".features"),
            cells::metric(a.summary.get(&format!("spread.{half}"))),
        ]);
    }
    t.notes.push(
        "Means over layers, heads and seeds with 95 % intervals over seeds; the three parts add up to the growth. Spread: \
         geometric mean."
            .to_owned(),
    );
    t
}

/// The factors of (5.1), both halves.
pub fn factors(r: &Results) -> Table {
    let head = ["arm", "half", "step size eta u", "residual energy e", "coherence c0"];
    let mut t = Table::new("factors", "What the growth of the weights' part is made of (5.1)", &head);
    for (a, half) in halves(r) {
        let cell = |name: &str| cells::metric(a.summary.get(&format!("{name}.{half}")));
        t.rows.push(vec![
            a.arm.clone(),
            half.to_owned(),
            cell("step_term"),
            cell("residual_energy"),
            cell("coherence"),
        ]);
    }
    t.notes.push("Step size and energy: geometric means over seeds with 95 % intervals.".to_owned());
    t
}

fn halves(r: &Results) -> impl Iterator<Item = (&ArmResult, &'static str)> {
    let complete = r.arms.iter().filter(|a| a.summary.complete > 0);
    complete.flat_map(|a| ["upper", "lower"].map(|half| (a, half)))
}

/// What the FFN writes, and extremes.
pub fn writes(r: &Results) -> Table {
    let head = [
        "arm",
        "FFN write at the start",
        "over the stream",
        "FFN write at the end",
        "largest logit",
        "largest gradient",
    ];
    let mut t = Table::new("writes", "Energy of the FFN writes, and extremes over the run", &head);
    for a in r.arms.iter().filter(|a| a.summary.complete > 0) {
        let cell = |name: &str| cells::metric(a.summary.get(name));
        let names =
            ["ffn_energy.first", "ffn_ratio.first", "ffn_energy.last", "largest_logit", "largest_gradient"];
        t.rows.push(std::iter::once(a.arm.clone()).chain(names.map(cell)).collect());
    }
    t.notes.push(
        "Geometric means over layers and seeds with 95 % intervals over seeds; gradient norms before clipping.".to_owned(),
    );
    t
}
