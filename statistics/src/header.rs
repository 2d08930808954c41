//! The partial rows as CUDA sees them.

use std::fmt::Write as _;

use crate::logits::{SHARP_KEYS, backward, forward};

/// The text of `attention_stats.cuh`, which the kernels include. Build scripts put it beside the sources; a build by hand
/// gets it from `cargo run -p growthpath-statistics --example cuda_header`.
pub fn cuda_header() -> String {
    let mut out = format!(
        "// Partial rows of the attention kernels, generated from statistics/src/logits.rs.\n#pragma once\n\n\
         #define SHARP_KEYS {SHARP_KEYS} // rows with fewer keys do not count towards sharpness\n"
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
