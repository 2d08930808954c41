//! What a study found, in sentences.

use growthpath_analysis::statistics::Sign;

use super::cells;
use crate::study::results::{Ended, PairResult, Results};

/// One sentence a pair, and one on runs that did not finish. Nothing is claimed of a difference whose interval covers zero.
pub fn sentences(r: &Results) -> Vec<String> {
    let mut out: Vec<String> = r.pairs.iter().map(pair).collect();
    let count = |e: Ended| r.runs.iter().filter(|run| run.ended == e).count();
    let kinds = [Ended::Diverged, Ended::Failed, Ended::Unfinished, Ended::Missing];
    let open: Vec<String> = kinds
        .into_iter()
        .map(|e| (count(e), e.word()))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    if !open.is_empty() {
        out.push(format!(
            "Of {} runs, {} complete; {}: means are over the complete ones.",
            r.runs.len(),
            count(Ended::Complete),
            open.join(", ")
        ));
    }
    out
}

fn pair(p: &PairResult) -> String {
    let n = p.loss.estimate.count;
    let names = format!("{} against {}", p.arm, p.reference);
    let loss = cells::difference(Some(&p.loss));
    let found = match (n, p.loss.sign) {
        (0, _) => return format!("{names}: no seed in which both finished."),
        (1, _) => format!("loss {loss} in one seed: no claim"),
        (_, Some(Sign::Negative)) => format!("lower loss by {}", apart(&loss, p)),
        (_, Some(Sign::Positive)) => format!("higher loss by {}", apart(&loss, p)),
        _ => format!("loss difference {loss}, noise over {n} seeds"),
    };
    let gap = cells::of(p.upper.as_ref(), "measured_gap").filter(|m| m.estimate.count > 1);
    let growth = gap.map_or_else(String::new, |m| {
        let value = cells::difference(Some(m));
        match m.sign {
            Some(Sign::Negative) => format!("; its upper half grew less, ln {value}"),
            Some(Sign::Positive) => format!("; its upper half grew more, ln {value}"),
            _ => format!("; growth of the upper half differs by ln {value}, noise"),
        }
    });
    format!("{names}: {found}{growth}.")
}

/// The difference with what the tests say of it.
fn apart(loss: &str, p: &PairResult) -> String {
    let holm = p.loss_p_holm;
    let many = match holm {
        h if h.is_nan() => String::new(),
        h if h <= 0.05 => format!(", p {} after adjusting for all pairs", with_equals(h)),
        h => format!(", but p {} after adjusting for all pairs: weak", with_equals(h)),
    };
    format!("{loss} nats over {} seeds{many}", p.loss.estimate.count)
}

fn with_equals(p: f64) -> String {
    let text = cells::p(p);
    if text.starts_with('<') { text } else { format!("= {text}") }
}
