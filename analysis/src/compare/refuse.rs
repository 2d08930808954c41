//! When two runs cannot be compared, and what weakens a comparison.

use growthpath_trace::{Run, Status};

use super::both::Both;
use super::differences;
use super::probes::run_names;
use crate::error::{Incomparable, Result};

/// Refuses runs of different shape, data or tokenizer.
pub(super) fn different(a: &Run, b: &Run) -> Result<()> {
    let (x, y) = (a.info(), b.info());
    let refuse = |what: &str, of_a: String, of_b: String, mend: &str| {
        if of_a == of_b {
            return Ok(());
        }
        let Both { a: run_a, b: run_b } = run_names(a, b);
        let (what, mend) = (what.to_owned(), mend.to_owned());
        Err(Box::new(Incomparable { what, run_a, a: of_a, run_b, b: of_b, mend }).into())
    };
    let shape = "train both at the same size";
    refuse("number of layers", x.layers.to_string(), y.layers.to_string(), shape)?;
    refuse("number of heads a layer", x.heads.to_string(), y.heads.to_string(), shape)?;
    let tokenizer = |t: &Option<String>| t.clone().unwrap_or_else(|| "not recorded".to_owned());
    refuse(
        "tokenizer (blake3)",
        tokenizer(&x.tokenizer_blake3),
        tokenizer(&y.tokenizer_blake3),
        "train both with the same tokenizer",
    )?;
    let data = |info: &growthpath_trace::RunInfo| match info.data_blake3.len() {
        0 => "not recorded".to_owned(),
        _ => info
            .data_blake3
            .iter()
            .map(|(role, hash)| format!("{role} {hash}"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    refuse("data (blake3)", data(x), data(y), "train both on the same text")
}

/// Differences that do not forbid a comparison but bear on what it means.
pub(super) fn notes(a: &Run, b: &Run) -> Vec<String> {
    let about = [
        ("seed", "the runs have different seeds: part of every difference is chance"),
        ("probe.sequences", "the probe batches differ in size: cells are not on the same text"),
        ("probe.length", "the probe batches differ in length: cells are not on the same text"),
        ("probe.maturity_lag", "maturity is taken over different lags"),
        ("batch", "the batches differ: the same step stands for different numbers of tokens"),
        ("model.context", "the contexts differ: the same step stands for different numbers of tokens"),
        ("eval_sequences", "validation losses are means over different numbers of sequences"),
        ("steps_planned", "the runs are planned for different lengths: their schedules differ"),
    ];
    let found = differences::between(a, b);
    let names = run_names(a, b);
    let ended = [(a, names.a), (b, names.b)].into_iter().filter_map(|(run, name)| {
        let how = match run.info().status {
            Status::Complete => return None,
            Status::Diverged => "diverged",
            Status::Running | Status::Interrupted => "did not finish",
        };
        Some(format!("{name} {how}: its last numbers are not a result"))
    });
    let differs = |key: &str| found.iter().any(|d| d.key == key);
    let noted = about.iter().filter(|(key, _)| differs(key)).map(|(_, note)| (*note).to_owned());
    ended.chain(noted).collect()
}
