//! What the attention kernels leave behind for their statistics: each number declared once.
//!
//! From these lists come the partial rows of the CPU twin and of the CUDA kernels (`cuda/attention_stats.cuh` is
//! [`header`]'s text; a test keeps it so), the merge over sequences and tiles, and the second pass on a device.
//! [`super::LogitStats`] and [`super::LogitGradStats`] finish the totals. A new number is a line here, its accumulation
//! in the two kernels, and its finisher.

use std::fmt::Write as _;

/// Rows with fewer keys than this do not count towards sharpness (section 8).
pub const SHARP_KEYS: usize = 8;

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
    /// Its name, in Rust and (with the list's prefix) in CUDA.
    pub name: &'static str,
    /// How partial values are combined.
    pub combine: Combine,
    /// What it is.
    pub about: &'static str,
}

/// Declares one partial row; `Sum` lines come before `Max` lines.
macro_rules! accumulators {
    ($(#[$about:meta])* $list:ident { $($name:ident: $combine:ident $doc:literal;)+ }) => {
        $(#[$about])*
        pub mod $list {
            use super::{Accumulator, Combine};

            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum Place { $($name),+ }

            $(#[doc = concat!("Place of the ", $doc, ".")] pub const $name: usize = Place::$name as usize;)+

            /// Every number, in order.
            pub const ALL: &[Accumulator] =
                &[$(Accumulator { name: stringify!($name), combine: Combine::$combine, about: $doc }),+];
            /// Length of a partial row.
            pub const COUNT: usize = ALL.len();
            /// How many of them are sums; the rest are maxima.
            pub const SUMS: usize = super::sums(ALL);
            /// The maxima as bits, for `reduce_partials`.
            pub const MAXIMA: u32 = ((1 << COUNT) - 1) & !((1 << SUMS) - 1);
            /// A row to which nothing was added yet.
            pub const EMPTY: [f64; COUNT] = super::empty(ALL);

            /// Add the partial row `part` to `total`.
            pub fn merge(total: &mut [f64; COUNT], part: &[f64; COUNT]) {
                let (sums, maxima) = total.split_at_mut(SUMS);
                sums.iter_mut().zip(part).for_each(|(t, p)| *t += p);
                maxima.iter_mut().zip(&part[SUMS..]).for_each(|(t, p)| *t = t.max(*p));
            }
        }
    };
}

accumulators! {
    /// The forward's partial row, one a (head, sequence) or tile of queries; sums run over causal pairs, rows or tokens.
    forward {
        SQUARES: Sum "sum of S^2";
        CENTRED: Sum "sum of the squares of the row-centred S";
        ENTROPY: Sum "sum of H / ln(keys) over rows with at least 2 keys";
        TOP1: Sum "sum over rows of the largest weight";
        SHARPNESS: Sum "sum of 1 - H / ln(keys) over rows with at least 8 keys";
        DISTANCE: Sum "sum over rows i of i - j, j the key of the largest logit, the earliest of several";
        LOGITS: Sum "sum of S";
        QUERY: Sum "sum of |q|^2 over tokens";
        KEY: Sum "sum of |k|^2 over tokens";
        PAIRED_QUERY: Sum "sum of |q|^2 over causal pairs";
        PAIRED_KEY: Sum "sum of |k|^2 over causal pairs";
        TOP: Max "largest S";
        DEPTH: Max "largest -S";
        BRACKET: Max "worst violation of the bracket (2.5)";
    }
}

accumulators! {
    /// The backward's partial row; `G_S` is the gradient at the post-scale logits.
    backward {
        SQUARES: Sum "sum of G_S^2";
        PRODUCT: Sum "sum of (S - c) G_S, c = LSE - ln(keys) of the row";
    }
}

const fn sums(list: &[Accumulator]) -> usize {
    let (mut n, mut i) = (0, 0);
    while i < list.len() {
        if matches!(list[i].combine, Combine::Sum) {
            assert!(n == i, "sums are declared before maxima");
            n += 1;
        }
        i += 1;
    }
    n
}

const fn empty<const N: usize>(list: &[Accumulator]) -> [f64; N] {
    let mut row = [0.0; N];
    let mut i = sums(list);
    while i < N {
        row[i] = f64::NEG_INFINITY;
        i += 1;
    }
    row
}

/// The text of `cuda/attention_stats.cuh`.
pub fn header() -> String {
    let mut out = String::from(
        "// Partial rows of the attention kernels. Generated from ../src/attention/accumulators.rs, which declares them;\n\
         // its test compares this file and says how to write it anew.\n#pragma once\n",
    );
    let _ = write!(
        out,
        "\n#define SHARP_KEYS {SHARP_KEYS} // rows with fewer keys do not count towards sharpness\n"
    );
    for (prefix, list, sums) in
        [("FORWARD", forward::ALL, forward::SUMS), ("BACKWARD", backward::ALL, backward::SUMS)]
    {
        out += "\nenum {\n";
        for a in list {
            let _ = writeln!(out, "    {prefix}_{}, // {}", a.name, a.about);
        }
        let _ = writeln!(out, "    {prefix}_STATS, // numbers of a partial row");
        let _ = writeln!(
            out,
            "    {prefix}_SUMS = {sums} // of which so many, the first, are sums, the others maxima"
        );
        out += "};\n";
    }
    out
}
