//! What a declaration consists of, and what is generated from it.

/// How two partial values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// They are added.
    Sum,
    /// The larger one stays.
    Max,
}

/// One number of a partial row.
#[derive(Debug, Clone, Copy)]
pub struct Accumulator {
    /// Its name, in Rust and (with the pass's prefix) in CUDA.
    pub name: &'static str,
    /// How partial values are combined.
    pub combine: Combine,
    /// What it is.
    pub about: &'static str,
}

/// What the rounding of a statistic is relative to: how closely two computations of it agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Its own size.
    Own,
    /// Numbers of size one that it is made of: a cosine, or one minus an entropy.
    One,
    /// The largest logit.
    Logit,
    /// The largest value of an inner product whose terms cancel (Cauchy-Schwarz).
    Product,
    /// The row length: the choice between keys whose logits are level turns on rounding.
    Choice,
}

/// A finished statistic, one value a head.
#[derive(Debug, Clone, Copy)]
pub struct Statistic {
    /// Its name: the field and the column.
    pub name: &'static str,
    /// Its unit; "1" for plain numbers.
    pub unit: &'static str,
    /// What its rounding is relative to.
    pub scale: Scale,
    /// One line about it.
    pub about: &'static str,
}

/// What a head's totals run over.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// Sequences of the batch.
    pub sequences: usize,
    /// Their length.
    pub seq_len: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl Counted {
    /// Tokens, which are rows of the logits as well.
    pub fn tokens(self) -> f64 {
        self.sequences as f64 * self.seq_len as f64
    }

    /// Causal pairs.
    pub fn pairs(self) -> f64 {
        let t = self.seq_len as f64;
        self.sequences as f64 * t * (t + 1.0) / 2.0
    }

    /// Rows of at least `keys` keys; negative or zero where the sequences are shorter.
    pub fn rows_with(self, keys: usize) -> f64 {
        self.sequences as f64 * (self.seq_len as f64 + 1.0 - keys as f64)
    }

    /// [`Self::rows_with`], NaN where there are none.
    pub fn some_rows_with(self, keys: usize) -> f64 {
        let rows = self.rows_with(keys);
        if rows > 0.0 { rows } else { f64::NAN }
    }

    /// Cosine between queries and keys from the sum of their logits and their squares over the same pairs; NaN where a side
    /// is zero, or underflows.
    pub fn cosine(self, logits: f64, queries: f64, keys: f64) -> f64 {
        let cosine = logits * (self.head_dim as f64).sqrt() / (queries.sqrt() * keys.sqrt());
        if cosine.is_infinite() { f64::NAN } else { cosine }
    }
}

/// The [`Scale`] that a word of the declaration stands for.
macro_rules! scale {
    (own) => {
        Scale::Own
    };
    (one) => {
        Scale::One
    };
    (logit) => {
        Scale::Logit
    };
    (product) => {
        Scale::Product
    };
    (choice) => {
        Scale::Choice
    };
}
pub(crate) use scale;

/// The module of one pass's partial row.
macro_rules! partial_row {
    ($(#[$about:meta])* $pass:ident sums { $($sum:ident $sum_doc:literal;)* } maxima { $($max:ident $max_doc:literal;)* }) => {
        $(#[$about])*
        pub mod $pass {
            use super::{Accumulator, Combine};

            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum Place { $($sum,)* $($max,)* }

            $(#[doc = concat!("Place of the ", $sum_doc, ".")] pub const $sum: usize = Place::$sum as usize;)*
            $(#[doc = concat!("Place of the ", $max_doc, ".")] pub const $max: usize = Place::$max as usize;)*

            /// Every number, in order: the sums, then the maxima.
            pub const ALL: &[Accumulator] = &[
                $(Accumulator { name: stringify!($sum), combine: Combine::Sum, about: $sum_doc },)*
                $(Accumulator { name: stringify!($max), combine: Combine::Max, about: $max_doc },)*
            ];
            /// Length of a partial row.
            pub const COUNT: usize = ALL.len();
            /// How many of them are sums; the rest are maxima.
            pub const SUMS: usize = [$($sum_doc),*].len();
            /// The maxima as bits, for `reduce_partials`.
            pub const MAXIMA: u32 = ((1 << COUNT) - 1) & !((1 << SUMS) - 1);
            /// A row to which nothing was added yet.
            pub const EMPTY: [f64; COUNT] = {
                let mut row = [f64::NEG_INFINITY; COUNT];
                let mut i = 0;
                while i < SUMS {
                    row[i] = 0.0;
                    i += 1;
                }
                row
            };

            /// Add the partial row `part` to `total`.
            pub fn merge(total: &mut [f64; COUNT], part: &[f64; COUNT]) {
                let (sums, maxima) = total.split_at_mut(SUMS);
                sums.iter_mut().zip(part).for_each(|(t, p)| *t += p);
                maxima.iter_mut().zip(&part[SUMS..]).for_each(|(t, p)| *t = t.max(*p));
            }
        }
    };
}
pub(crate) use partial_row;

/// The struct of one pass's finished statistics.
macro_rules! statistics {
    ($(#[$about:meta])* $name:ident of $pass:ident {
        $($field:ident [$unit:literal] $scale:ident $doc:literal = $finish:expr;)+
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $name {
            $(#[doc = concat!($doc, " Unit: ", $unit, ".")] pub $field: f64,)+
        }

        impl $name {
            /// Every statistic, in order.
            pub const ALL: &'static [Statistic] = &[$(Statistic {
                name: stringify!($field),
                unit: $unit,
                scale: $crate::declare::scale!($scale),
                about: $doc,
            },)+];

            /// One head's statistics from its totals over the batch.
            pub fn finish(counted: Counted, totals: &[f64; $pass::COUNT]) -> Self {
                #[allow(unused_imports)]
                use $pass::*;
                $(
                    let finish: fn(&[f64; $pass::COUNT], Counted) -> f64 = $finish;
                    let $field = finish(totals, counted);
                )+
                Self { $($field),+ }
            }

            /// The values in the order of [`Self::ALL`].
            pub fn values(&self) -> [f64; Self::ALL.len()] {
                [$(self.$field),+]
            }
        }
    };
}
pub(crate) use statistics;

/// Everything that this crate makes of the declarations of both passes.
macro_rules! declare {
    (
        {}
        forward { sums $sums:tt maxima $maxima:tt statistics $statistics:tt }
        backward { sums $gradient_sums:tt maxima $gradient_maxima:tt statistics $gradient_statistics:tt }
    ) => {
        $crate::declare::partial_row! {
            /// The forward's partial row.
            forward sums $sums maxima $maxima
        }
        $crate::declare::partial_row! {
            /// The backward's partial row.
            backward sums $gradient_sums maxima $gradient_maxima
        }
        $crate::declare::statistics! {
            /// Statistics of one head's post-scale logits over all causal pairs of the batch.
            LogitStats of forward $statistics
        }
        $crate::declare::statistics! {
            /// Statistics of one head's logit gradient.
            LogitGradStats of backward $gradient_statistics
        }

        /// Every statistic of both passes.
        pub fn all() -> impl Iterator<Item = &'static Statistic> {
            LogitStats::ALL.iter().chain(LogitGradStats::ALL)
        }
    };
}
pub(crate) use declare;
