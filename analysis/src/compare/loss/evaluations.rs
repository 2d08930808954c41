//! A run's evaluations with the losses of their sequences.

use std::collections::BTreeMap;

use growthpath_trace::{EvalLossRow, EvalRow, Run, RunInfo};
use serde_json::Value;

use super::pairing::Pairing;
use crate::error::Result;
use crate::statistics::estimate;

/// Largest relative difference between an evaluation's loss and the mean over its sequences at which they are the
/// same number: losses are sums of float32 terms, taken by whoever wrote the run in whatever order.
const SAME_MEAN: f64 = 1e-6;

/// The finite evaluations of a run, in order of steps.
#[derive(Debug, Clone)]
pub(in crate::compare) struct Evaluations {
    rows: Vec<EvalRow>,
    /// Losses by sequence, of the evaluations that have all of them.
    sequences: BTreeMap<u32, Vec<f64>>,
}

impl Evaluations {
    /// Reads both tables.
    pub fn read(run: &Run) -> Result<Self> {
        Ok(Self::new(run.evals()?, &run.read::<EvalLossRow>(..)?))
    }

    /// From the rows of both tables, in key order. Losses of sequences count only where every sequence of the
    /// evaluation has one and their mean is the evaluation's loss.
    pub fn new(rows: Vec<EvalRow>, losses: &[EvalLossRow]) -> Self {
        let rows: Vec<EvalRow> = rows.into_iter().filter(|e| e.loss.is_finite()).collect();
        let mut sequences = BTreeMap::new();
        for group in losses.chunk_by(|a, b| a.step == b.step) {
            let step = group[0].step;
            let Some(row) = rows.iter().find(|r| r.step == step) else { continue };
            let each: Vec<f64> = group.iter().map(|l| l.loss).collect();
            let whole = each.len() == row.sequences as usize
                && group.iter().enumerate().all(|(i, l)| l.sequence as usize == i && l.loss.is_finite());
            if whole && (estimate(&each).mean - row.loss).abs() <= SAME_MEAN * row.loss.abs() {
                sequences.insert(step, each);
            }
        }
        Self { rows, sequences }
    }

    /// Evaluations up to a step, that one included.
    pub fn until(&self, step: u32) -> &[EvalRow] {
        &self.rows[..self.rows.partition_point(|r| r.step <= step)]
    }

    /// Losses of the sequences of one evaluation; none where they were not recorded.
    pub fn sequences(&self, step: u32) -> Option<&[f64]> {
        self.sequences.get(&step).map(Vec::as_slice)
    }

    /// The rows of the last step at which both runs were evaluated.
    pub fn last_common<'a>(&'a self, other: &'a Self) -> Option<(&'a EvalRow, &'a EvalRow)> {
        let partner = |a: &EvalRow| other.rows.iter().find(|b| b.step == a.step);
        self.rows.iter().rev().find_map(|a| Some((a, partner(a)?)))
    }
}

/// Whether two runs take their evaluation sequences from the same text in the same way: their number aside, the
/// data, the tokenizer and the length fix them.
pub(super) fn same_text(a: &RunInfo, b: &RunInfo) -> Pairing {
    let length = |info: &RunInfo| info.config.pointer("/model/context").cloned().unwrap_or(Value::Null);
    if a.data_blake3.is_empty() || b.data_blake3.is_empty() {
        Pairing::TextNotRecorded
    } else if (&a.data_blake3, &a.tokenizer_blake3, length(a))
        == (&b.data_blake3, &b.tokenizer_blake3, length(b))
    {
        Pairing::Paired
    } else {
        Pairing::DifferentText
    }
}
