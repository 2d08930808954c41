//! The eight corners of an interval and the growth law that they give (3.1).
//!
//! Between two probe times three things may change: the features x, the query weights q and the key weights k.
//! A corner is a choice of old or new for each; its value is the log spread of the logits made from that choice,
//! measured or predicted. The split of the log growth averages over every order in which the three could have
//! moved, features against weights first, then queries against keys (the Owen value): it adds up exactly, changes
//! sign when time is reversed, and hardly depends on how often one looks.

use serde::{Deserialize, Serialize};

/// Old (0) or new (1): an index into corners.
pub(crate) const OLD: usize = 0;
/// See [`OLD`].
pub(crate) const NEW: usize = 1;

/// The parts of a log growth, in units of ln; they add up to it (3.1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GrowthParts {
    /// Part of the query weights, `Gamma_Q`.
    pub query: f64,
    /// Part of the key weights, `Gamma_K`.
    pub key: f64,
    /// Part of the features, `Gamma_F`.
    pub features: f64,
}

impl GrowthParts {
    /// Part of all weights, `Gamma_W = Gamma_Q + Gamma_K`.
    pub fn weights(&self) -> f64 {
        self.query + self.key
    }

    /// The growth that the parts add up to.
    pub fn total(&self) -> f64 {
        self.query + self.key + self.features
    }
}

/// Log spreads of the eight corners, indexed `[features][query weights][key weights]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Corners(pub [[[f64; 2]; 2]; 2]);

impl Corners {
    /// Corners from squared spreads. A spread of zero has no logarithm and makes every part undefined.
    pub(crate) fn from_squares(squares: impl Fn(usize, usize, usize) -> f64) -> Self {
        let log = |x, q, k| 0.5 * squares(x, q, k).ln();
        Self(std::array::from_fn(|x| std::array::from_fn(|q| std::array::from_fn(|k| log(x, q, k)))))
    }

    /// The log spread at the interval's start.
    pub(crate) fn start(&self) -> f64 {
        self.0[OLD][OLD][OLD]
    }

    /// The log spread at the interval's end.
    pub(crate) fn end(&self) -> f64 {
        self.0[NEW][NEW][NEW]
    }

    /// Log growth that the weights make at the interval's first features.
    pub(crate) fn weights_at_start(&self) -> f64 {
        self.0[OLD][NEW][NEW] - self.0[OLD][OLD][OLD]
    }

    /// Log growth that the features make under the interval's last weights.
    pub(crate) fn features_at_end(&self) -> f64 {
        self.0[NEW][NEW][NEW] - self.0[OLD][NEW][NEW]
    }

    /// The parts (3.1); all NaN where a corner's spread is zero.
    pub(crate) fn parts(&self) -> GrowthParts {
        let v = &self.0;
        if v.as_flattened().as_flattened().iter().any(|v| !v.is_finite()) {
            return GrowthParts { query: f64::NAN, key: f64::NAN, features: f64::NAN };
        }
        let both = [OLD, NEW];
        let mean = |sum: &dyn Fn(usize, usize) -> f64| {
            0.25 * both
                .iter()
                .flat_map(|&a| both.iter().map(move |&b| (a, b)))
                .map(|(a, b)| sum(a, b))
                .sum::<f64>()
        };
        GrowthParts {
            query: mean(&|x, k| v[x][NEW][k] - v[x][OLD][k]),
            key: mean(&|x, q| v[x][q][NEW] - v[x][q][OLD]),
            features: 0.5 * both.iter().map(|&w| v[NEW][w][w] - v[OLD][w][w]).sum::<f64>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn random() -> impl Strategy<Value = Corners> {
        prop::array::uniform8(-20.0..20.0f64).prop_map(|v| {
            Corners(std::array::from_fn(|x| {
                std::array::from_fn(|q| std::array::from_fn(|k| v[4 * x + 2 * q + k]))
            }))
        })
    }

    proptest! {
        /// (3.1): nothing is left over. Eight values of size 20 round at 1e-14.
        #[test]
        fn parts_add_up(c in random()) {
            prop_assert!((c.parts().total() - (c.end() - c.start())).abs() < 1e-13);
        }

        #[test]
        fn reversing_time_flips_every_sign(c in random()) {
            let reversed = Corners(std::array::from_fn(|x| {
                std::array::from_fn(|q| std::array::from_fn(|k| c.0[1 - x][1 - q][1 - k]))
            }));
            let (a, b) = (c.parts(), reversed.parts());
            for (a, b) in [(a.query, b.query), (a.key, b.key), (a.features, b.features)] {
                prop_assert!((a + b).abs() < 1e-13);
            }
        }

        /// What did not change has no part.
        #[test]
        fn what_stands_still_has_no_part(v in prop::array::uniform2(-5.0..5.0f64)) {
            let only_query = Corners(std::array::from_fn(|_| std::array::from_fn(|q| [v[q]; 2])));
            let parts = only_query.parts();
            prop_assert_eq!((parts.key, parts.features), (0.0, 0.0));
            prop_assert!((parts.query - (v[1] - v[0])).abs() < 1e-14);
        }
    }

    #[test]
    fn uniform_attention_at_any_corner_leaves_the_split_undefined() {
        let c = Corners::from_squares(|x, q, k| if (x, q, k) == (0, 1, 0) { 0.0 } else { 1.0 });
        let parts = c.parts();
        assert!(parts.query.is_nan() && parts.key.is_nan() && parts.features.is_nan());
    }
}
