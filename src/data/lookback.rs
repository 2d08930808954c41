//! What can be had without looking back: the best loss of any reader who sees one token and no other.

use std::collections::HashMap;

use super::batch::Batch;

/// A lower bound on the loss (nats/token) over these very windows of every model that predicts from the present token
/// alone, whatever it was trained on: the conditional entropy of the next token in the windows' own counts, which a
/// table made after the fact attains. A model below it has looked back.
///
/// The table knows the windows, so the bound is too low by about half the number of different pairs over the number of
/// tokens: tight for bytes, of no use for thousands of tokens on few windows. NaN without tokens.
pub fn bigram_bound(windows: &Batch) -> f64 {
    let mut pairs: HashMap<(u32, u32), u32> = HashMap::new();
    let mut firsts: HashMap<u32, u32> = HashMap::new();
    for (&now, &next) in windows.inputs.iter().zip(&windows.targets) {
        *pairs.entry((now, next)).or_default() += 1;
        *firsts.entry(now).or_default() += 1;
    }
    // Sorted, so that the sum is the same on every run.
    let mut counts: Vec<(u32, u32)> = pairs.iter().map(|((now, _), n)| (*n, firsts[now])).collect();
    counts.sort_unstable();
    let nats = |&(n, of): &(u32, u32)| f64::from(n) * (f64::from(of) / f64::from(n)).ln();
    counts.iter().map(nats).sum::<f64>() / windows.targets.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(tokens: &[u32]) -> Batch {
        let n = tokens.len() - 1;
        Batch { inputs: tokens[..n].to_vec(), targets: tokens[1..].to_vec(), rows: 1, context: n }
    }

    #[test]
    fn what_follows_surely_costs_nothing() {
        assert_eq!(bigram_bound(&batch(&[1, 2, 1, 2, 1, 2, 1])), 0.0);
        assert!(bigram_bound(&Batch { inputs: vec![], targets: vec![], rows: 0, context: 1 }).is_nan());
    }

    #[test]
    fn a_fair_coin_costs_its_entropy_and_no_table_does_better() {
        // After 0 follow 0, 1, 1; after 1 follow 1, 0, 1 and 1, 0: worked by hand.
        let tokens = [0, 0, 1, 1, 0, 1, 1, 1, 0];
        let h = |k: f64, n: f64| -(k * (k / n).ln() + (n - k) * ((n - k) / n).ln());
        let bound = bigram_bound(&batch(&tokens));
        assert!((bound - (h(1.0, 3.0) + h(2.0, 5.0)) / 8.0).abs() < 1e-12, "{bound}");
        for p in [0.2, 0.5, 0.7] {
            for q in [0.3, 0.4, 0.8] {
                let cost = |a: u32, b: u32| {
                    let one: f64 = if a == 0 { p } else { q };
                    -(if b == 1 { one } else { 1.0 - one }).ln()
                };
                let loss = tokens.windows(2).map(|w| cost(w[0], w[1])).sum::<f64>() / 8.0;
                assert!(loss >= bound - 1e-12);
            }
        }
    }
}
