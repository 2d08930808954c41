//! Differences in loss and tokens to the same loss, by hand.

use growthpath_trace::{EvalLossRow, EvalRow};
use proptest::prelude::*;

use super::{Plan, close, compared, eval, plan};
use crate::compare::loss::{Evaluations, Losses, Pairing};

const PROBES: [u32; 4] = [0, 2, 4, 8];

fn arms() -> (Plan, Plan) {
    (plan(1, 2, 1, &PROBES), plan(2, 2, 1, &PROBES))
}

/// An evaluation with the losses of its sequences.
fn evaluate(plan: &mut Plan, step: u32, each: &[f64]) {
    let n = each.len() as f64;
    let loss = each.iter().sum::<f64>() / n;
    let variance = each.iter().map(|l| (l - loss).powi(2)).sum::<f64>() / (n - 1.0);
    let sequences = each.len() as u32;
    plan.evals.push(EvalRow { sequences, ..eval(step, loss, (variance / n).sqrt()) });
    plan.losses.extend((0..).zip(each).map(|(sequence, loss)| EvalLossRow { step, sequence, loss: *loss }));
}

#[test]
fn losses_and_tokens_without_sequences() {
    let (mut a, mut b) = arms();
    a.evals = vec![eval(0, 6.0, 0.3), eval(4, 4.0, 0.3), eval(8, 3.0, 0.3)];
    b.evals = vec![eval(0, 6.0, 0.4), eval(4, 3.5, 0.4), eval(8, 2.5, 0.4), eval(12, 2.0, 0.4)];
    let c = compared(&a, &b);
    let l = c.final_loss.unwrap();
    assert_eq!((l.step, l.val_loss_a, l.val_loss_b, l.difference), (8, 3.0, 2.5, -0.5));
    assert_eq!(l.pairing, Pairing::SequencesNotRecorded);
    assert!(l.pairing.obstacle().unwrap().contains("single sequences"));
    assert!(close(l.difference_stderr, 0.5, 0.0, 1e-15));
    // Welch: 1 / ((0.36^2 + 0.64^2) / 7) = 12.98 degrees of freedom; Student's quantile is between those of 12 and 13.
    let reach = l.difference_interval.high + 0.5;
    assert!(reach > 0.5 * 2.1604 && reach < 0.5 * 2.1789, "{reach}");
    assert!(close(l.perplexity_gap, 2.5_f64.exp() - 3.0_f64.exp(), 0.0, 1e-15));
    let t = c.token_efficiency.unwrap();
    // B is at 3.0 halfway between 3.5 at 4,000 tokens and 2.5 at 8,000; what it does after A's end is no matter.
    assert_eq!((t.tokens_a, t.tokens_b, t.target_loss), (8000.0, 6000.0, 3.0));
    assert_eq!(t.log_token_ratio, 0.75_f64.ln());
    assert!(t.log_token_ratio_stderr.is_nan() && t.log_token_ratio_interval.low.is_nan());
    // The other way round the worse loss is the same.
    let back = compared(&b, &a).token_efficiency.unwrap();
    assert!(back.target_loss == 3.0 && close(back.log_token_ratio, -(0.75_f64.ln()), 0.0, 1e-15));
}

#[test]
fn a_loss_reached_too_early_gives_no_ratio() {
    let (mut a, mut b) = arms();
    // A's first evaluation is already good enough: it counts at its own place.
    a.evals = vec![eval(2, 2.9, 0.4), eval(8, 3.2, 0.4)];
    b.evals = vec![eval(2, 3.6, 0.4), eval(8, 3.0, 0.4)];
    let t = compared(&a, &b).token_efficiency.unwrap();
    assert_eq!((t.target_loss, t.tokens_a), (3.2, 2000.0));
    assert!(close(t.tokens_b, 6000.0, 0.0, 1e-12) && close(t.log_token_ratio, 3.0_f64.ln(), 0.0, 1e-12));
    // B never gets below where it began: it reaches A's final loss before the first token.
    a.evals = vec![eval(0, 6.0, 0.4), eval(8, 7.0, 0.4)];
    b.evals = vec![eval(0, 6.0, 0.4), eval(8, 6.5, 0.4)];
    let t = compared(&a, &b).token_efficiency.unwrap();
    assert_eq!((t.tokens_a, t.tokens_b), (0.0, 0.0));
    assert!(t.log_token_ratio.is_nan() && t.token_ratio.is_nan());
    // No common evaluation.
    b.evals = vec![eval(3, 2.9, 0.4), eval(8, f64::NAN, 0.4)];
    let c = compared(&a, &b);
    assert!(c.final_loss.is_none() && c.token_efficiency.is_none());
}

#[test]
fn sequences_are_paired() {
    let (mut a, mut b) = arms();
    for (plan, losses) in [(&mut a, [2.0, 3.0, 5.0]), (&mut b, [2.1, 3.3, 5.2])] {
        evaluate(plan, 0, &[6.0, 6.5, 7.0]);
        evaluate(plan, 8, &losses);
    }
    let l = compared(&a, &b).final_loss.unwrap();
    assert_eq!((l.pairing, l.sequences), (Pairing::Paired, 3));
    assert!(close(l.difference, 0.2, 0.0, 1e-14));
    // Differences 0.1, 0.3, 0.2: deviation 0.1; Student's quantile at 2 degrees of freedom is 4.302653.
    let error = 0.1 / 3.0_f64.sqrt();
    assert!(close(l.difference_stderr, error, 0.0, 1e-13));
    assert!(close(l.difference_interval.high, 0.2 + 4.302_653 * error, 0.0, 1e-6));
    assert!(l.val_stderr_a > 10.0 * error);
    let t = compared(&a, &b).token_efficiency.unwrap();
    // From 6.5 to 10/3 in 8,000 tokens, at 10.6/3 of A's way: without sequence i the same with other numbers.
    assert!(close(t.log_token_ratio, -(1.0 - 0.2 / (6.5 - 10.0 / 3.0_f64)).ln(), 0.0, 1e-13));
    // The "half" of three sequences is one of them, each about equally often among 400 draws.
    let one = [(6.0_f64, 2.0, 2.1), (6.5, 3.0, 3.3), (7.0, 5.0, 5.2)]
        .map(|(start, a, b)| -(1.0 - (b - a) / (start - a)).ln() - t.log_token_ratio);
    let error = (0.5 * one.iter().map(|v| v.powi(2)).sum::<f64>() / 3.0).sqrt();
    assert!(close(t.log_token_ratio_stderr, error, 0.0, 0.14), "{} {error}", t.log_token_ratio_stderr);
}

#[test]
fn sequences_that_are_not_the_same_are_not_paired() {
    let (mut a, mut b) = arms();
    for plan in [&mut a, &mut b] {
        evaluate(plan, 0, &[6.0, 6.5]);
        evaluate(plan, 8, &[2.0, 3.0]);
    }
    let pairing = |a: &Plan, b: &Plan| compared(a, b).final_loss.unwrap().pairing;
    assert_eq!(pairing(&a, &b), Pairing::Paired);
    let (mut other, length) = arms();
    drop(length);
    evaluate(&mut other, 8, &[2.0, 3.0, 4.0]);
    assert_eq!(pairing(&a, &other), Pairing::DifferentCounts);
    b.info.config["model"]["context"] = 64.into();
    assert_eq!(pairing(&a, &b), Pairing::DifferentText);
    b.info.config["model"]["context"] = serde_json::Value::Null;
    b.losses.pop();
    assert_eq!(pairing(&a, &b), Pairing::SequencesNotRecorded);
    // Losses that are not those of the evaluation.
    b.losses.push(EvalLossRow { step: 8, sequence: 1, loss: 3.1 });
    assert_eq!(pairing(&a, &b), Pairing::SequencesNotRecorded);
    for plan in [&mut a, &mut b] {
        plan.info.data_blake3.clear();
    }
    assert_eq!(pairing(&a, &b), Pairing::TextNotRecorded);
    // A pair at the end and none on the way: the loss has an error, the tokens have none.
    let (mut a, mut b) = arms();
    for plan in [&mut a, &mut b] {
        plan.evals.push(eval(0, 6.0, 0.1));
        evaluate(plan, 8, &[2.0, 3.0]);
    }
    let c = compared(&a, &b);
    assert_eq!(
        (c.final_loss.unwrap().pairing, c.final_loss.unwrap().difference_stderr),
        (Pairing::Paired, 0.0)
    );
    assert!(c.token_efficiency.unwrap().log_token_ratio_stderr.is_nan());
}

fn curve(losses: &[f64]) -> Evaluations {
    let rows = (1..).zip(losses).map(|(step, loss)| eval(step, *loss, 0.1)).collect();
    Evaluations::new(rows, &[])
}

proptest! {
    #[test]
    fn exchanging_the_runs_changes_the_sign_of_the_ratio(
        losses in prop::collection::vec((2.0f64..6.0, 2.0f64..6.0), 1..12),
    ) {
        let (a, b): (Vec<f64>, Vec<f64>) = losses.into_iter().unzip();
        let of = |a: &[f64], b: &[f64]| {
            Losses::between(&curve(a), &curve(b), Pairing::Paired).unwrap().efficiency().unwrap()
        };
        let (one, other) = (of(&a, &b), of(&b, &a));
        prop_assert_eq!(one.target_loss, other.target_loss);
        prop_assert_eq!((one.tokens_a, one.tokens_b), (other.tokens_b, other.tokens_a));
        // The logarithm of a quotient and of its inverse are both rounded.
        prop_assert!((one.log_token_ratio + other.log_token_ratio).abs() < 1e-14);
        // Both reach it, no later than their last evaluation.
        prop_assert!(one.tokens_a > 0.0 && one.tokens_a <= 1000.0 * a.len() as f64);
        prop_assert_eq!(of(&a, &a).log_token_ratio, 0.0);
    }
}
