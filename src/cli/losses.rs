//! Sentences about a difference in validation loss, and about tokens to the same loss, between two runs.

use growthpath_analysis::compare::{Comparison, LossGap, TokenEfficiency};
use growthpath_analysis::statistics::{ConfidenceInterval, Sign};
use growthpath_trace::signed;

use super::output::number;

/// What two runs' losses say; empty without a common evaluation. Nothing is claimed of a difference whose interval
/// covers zero.
pub fn text(c: &Comparison) -> String {
    let Some(l) = &c.final_loss else { return String::new() };
    let mut out = loss(l);
    if let Some(t) = &c.token_efficiency {
        out += &tokens(t);
    }
    if let Some(why) = l.pairing.obstacle() {
        out += &format!(
            "errors over sequences are not those of paired differences: {why}; the two losses are taken as independent\n"
        );
    }
    out + "these intervals are over evaluation sequences, of one pair of runs: how far seeds scatter, `growthpath study` tells\n"
}

fn interval(i: &ConfidenceInterval) -> String {
    format!("{} .. {}", number(i.low), number(i.high))
}

fn loss(l: &LossGap) -> String {
    let over = match l.pairing.obstacle() {
        None => format!("{} paired sequences", l.sequences),
        Some(_) => "sequences".to_owned(),
    };
    let claim = if !l.difference_stderr.is_finite() {
        "error unknown: no claim".to_owned()
    } else {
        let noise = if l.difference_interval.sign() == Sign::Undecided { ": noise, it covers 0" } else { "" };
        format!(
            "standard error {}, 95 % interval {} over {over}{noise}",
            number(l.difference_stderr),
            interval(&l.difference_interval)
        )
    };
    format!(
        "validation loss at step {}: A {:.4}, B {:.4}: B - A = {} ({claim}), perplexity {}\n",
        l.step,
        l.val_loss_a,
        l.val_loss_b,
        signed(l.difference, 4),
        signed(l.perplexity_gap, 3)
    )
}

fn tokens(t: &TokenEfficiency) -> String {
    let target = format!("the worse final loss, {:.4}", t.target_loss);
    if t.log_token_ratio.is_nan() {
        return format!("tokens to {target}: no ratio, a run had that loss before it was trained\n");
    }
    let what =
        format!("tokens to {target}: A {:.0}, B {:.0}, B/A {:.3}", t.tokens_a, t.tokens_b, t.token_ratio);
    if !t.log_token_ratio_stderr.is_finite() {
        return format!("{what}: its error is unknown, no claim\n");
    }
    let i = &t.log_token_ratio_interval;
    let range = format!("95 % interval {:.3} .. {:.3}", i.low.exp(), i.high.exp());
    match i.sign() {
        Sign::Undecided => format!("{what}: noise, its {range} covers 1\n"),
        Sign::Negative | Sign::Positive => {
            format!("B needs {:.2}x A's tokens to {target} ({range})\n", t.token_ratio)
        }
    }
}
