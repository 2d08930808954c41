//! A random choice among strings, with the ideal code length of every byte.
//!
//! The reader of the text sees bytes, not choices. While the alternatives share a prefix nothing has been
//! revealed; the byte that separates them carries the information. With `m(s)` the total probability of the
//! alternatives that begin with `s`, byte `b` after prefix `s` costs `-ln(m(sb)/m(s))` nats. The costs of a
//! string add up to `-ln p(string)`, because the alternatives are prefix-free: at the end only one is left.

/// One alternative.
#[derive(Debug, Clone)]
pub(super) struct Alternative {
    /// The bytes written when it is chosen.
    pub text: String,
    /// Its probability.
    pub p: f64,
    /// Ideal code length of each byte, nats.
    pub nats: Vec<f32>,
}

/// A prefix-free set of weighted strings.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    alternatives: Vec<Alternative>,
}

impl Choice {
    /// Builds the code of `weighted`: (string, probability) pairs that add up to 1, none a prefix of another.
    pub fn new(weighted: Vec<(String, f64)>) -> Self {
        let mass = |prefix: &[u8]| -> f64 {
            weighted.iter().filter(|(s, _)| s.as_bytes().starts_with(prefix)).map(|(_, p)| p).sum()
        };
        let alternatives = weighted
            .iter()
            .map(|(text, p)| {
                let bytes = text.as_bytes();
                let nats = (0..bytes.len())
                    .map(|i| {
                        let (before, after) = (mass(&bytes[..i]), mass(&bytes[..=i]));
                        // The masses are equal when the byte is forced; say exactly 0, not -0.
                        if before == after { 0.0 } else { (before / after).ln() as f32 }
                    })
                    .collect();
                Alternative { text: text.clone(), p: *p, nats }
            })
            .collect();
        Self { alternatives }
    }

    /// The alternative that `u`, uniform on [0, 1), falls on, and its index.
    pub fn pick(&self, u: f64) -> (usize, &Alternative) {
        let mut below = 0.0;
        let last = self.alternatives.len() - 1;
        for (i, a) in self.alternatives.iter().enumerate() {
            below += a.p;
            // The last one also takes what rounding leaves of the unit interval.
            if u < below || i == last {
                return (i, a);
            }
        }
        unreachable!("a choice has at least one alternative, and the loop returns at the last")
    }

    /// Entropy of the choice, nats.
    pub fn entropy(&self) -> f64 {
        self.alternatives.iter().map(|a| -a.p * a.p.ln()).sum()
    }

    /// Expected length in bytes.
    pub fn mean_bytes(&self) -> f64 {
        self.alternatives.iter().map(|a| a.p * a.text.len() as f64).sum()
    }

    /// Expected length in bytes of the alternatives from `first` on, given that one of them is chosen.
    pub fn mean_bytes_from(&self, first: usize) -> f64 {
        let tail = &self.alternatives[first..];
        let mass: f64 = tail.iter().map(|a| a.p).sum();
        tail.iter().map(|a| a.p * a.text.len() as f64).sum::<f64>() / mass
    }

    /// The alternatives.
    #[cfg(test)]
    pub fn alternatives(&self) -> &[Alternative] {
        &self.alternatives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice() -> Choice {
        Choice::new(vec![
            ("set k".into(), 0.1),
            ("some old ".into(), 0.2),
            ("some red ".into(), 0.3),
            ("the ".into(), 0.4),
        ])
    }

    #[test]
    fn byte_costs_add_up_to_the_strings_information() {
        for a in choice().alternatives() {
            let total: f64 = a.nats.iter().map(|&n| f64::from(n)).sum();
            // Each cost is rounded to f32 once: at most 2^-24 relative, over fewer than 16 bytes.
            assert!((total + a.p.ln()).abs() < 1e-6, "{}: {total}", a.text);
        }
    }

    #[test]
    fn forced_bytes_cost_nothing_and_deciding_bytes_cost_their_surprise() {
        let c = choice();
        let some = &c.alternatives()[1];
        assert_eq!(some.text, "some old ");
        // 's' against 't', then 'o' against 'e', then 'o' against 'r'; all else is forced.
        let want = [1.0 / 0.6, 0.6 / 0.5, 1.0, 1.0, 1.0, 0.5 / 0.2, 1.0, 1.0, 1.0].map(|r: f64| r.ln());
        for (got, want) in some.nats.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6);
        }
    }

    #[test]
    fn picks_follow_the_cumulative_probabilities() {
        let c = choice();
        let at = |u| c.pick(u).0;
        assert_eq!(
            [at(0.0), at(0.099), at(0.101), at(0.59), at(0.61), at(0.999_999_999)],
            [0, 0, 1, 2, 3, 3]
        );
        assert!((c.entropy() - 1.279_854_225_833_667_6).abs() < 1e-12);
        assert!((c.mean_bytes() - (0.5 + 0.5 * 9.0 + 0.4 * 4.0)).abs() < 1e-12);
        assert!((c.mean_bytes_from(2) - (0.3 * 9.0 + 0.4 * 4.0) / 0.7).abs() < 1e-12);
    }
}
